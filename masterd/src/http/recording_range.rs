//! Pure: no clock, no I/O, no async.
//!
//! Which bytes of a file a request wants (RFC 9110, sections 13 and 14), and the validators of a file.

use axum::http::{HeaderMap, header};

/// What of a file is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Nothing: the client has this version (304).
    Nothing,
    /// These bytes, the last one included (206).
    Part {
        /// First.
        first: u64,
        /// Last.
        last: u64,
    },
    /// None of the file's bytes is in the range (416).
    Unsatisfiable,
    /// All of it (200).
    Whole,
}

/// A version of a file, as a recorder tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    /// With quotes. Strong: another size or time is another content.
    pub etag: String,
    /// An HTTP date.
    pub last_modified: String,
}

impl Version {
    /// From the file's facts.
    #[must_use]
    pub fn new(size: u64, modified_ms: u64) -> Self {
        Self {
            size,
            etag: format!("\"{size:x}-{modified_ms:x}\""),
            last_modified: http_date(modified_ms / 1000),
        }
    }

    /// What a request wants of this version. Several ranges are answered with the whole file, as is a range that
    /// cannot be read (both allowed by section 14.2).
    #[must_use]
    pub fn wanted(&self, headers: &HeaderMap) -> Wanted {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let is_this = |list: &str| {
            list.split(',').any(|it| it.trim() == "*" || it.trim().trim_start_matches("W/") == self.etag)
        };
        let has_it = match (text(header::IF_NONE_MATCH), text(header::IF_MODIFIED_SINCE)) {
            (Some(tags), _) => is_this(tags),
            // Only the date that we gave out: clients send it back as it was.
            (None, Some(date)) => date == self.last_modified,
            (None, None) => false,
        };
        if has_it {
            return Wanted::Nothing;
        }
        let still_valid = text(header::IF_RANGE).is_none_or(|it| it == self.etag || it == self.last_modified);
        match text(header::RANGE) {
            Some(range) if still_valid => part(range, self.size),
            Some(_) | None => Wanted::Whole,
        }
    }
}

/// One range of a file of this size.
fn part(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range
        .split_once('=')
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"))
        .and_then(|(_, range)| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok());
    let (Some(first), Some(last)) = (number(first.trim()), number(last.trim())) else { return Wanted::Whole };
    let end = size.saturating_sub(1);
    match (first, last) {
        (None, None) => Wanted::Whole,
        (Some(first), Some(last)) if first > last => Wanted::Whole,
        (Some(first), _) if first >= size => Wanted::Unsatisfiable,
        (Some(first), last) => Wanted::Part { first, last: last.unwrap_or(end).min(end) },
        (None, Some(0)) => Wanted::Unsatisfiable,
        (None, Some(_)) if size == 0 => Wanted::Unsatisfiable,
        (None, Some(suffix)) => Wanted::Part { first: size.saturating_sub(suffix), last: end },
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (section 5.6.7).
#[must_use]
pub fn http_date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // Beyond the year 9999 there is no such text.
    let seconds = unix_seconds.min(253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let name =
        |names: &[&'static str], at: u64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7).unwrap_or_default(),
        name(&MONTHS, month - 1).unwrap_or_default(),
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of a day since 1970 (Howard Hinnant's algorithm, which counts years from March).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Media type by the file's extension.
#[must_use]
pub fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "json" => "application/json",
        "mkv" => "video/x-matroska",
        "mp4" => "video/mp4",
        "png" => "image/png",
        "webm" => "video/webm",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wanted(size: u64, headers: &[(&'static str, &str)]) -> Wanted {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Version::new(size, 784_111_777_000).wanted(&map)
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        let range = |size, text: &str| wanted(size, &[("range", text)]);
        assert_eq!(range(100, "bytes=0-9"), Wanted::Part { first: 0, last: 9 });
        assert_eq!(range(100, "bytes=90-"), Wanted::Part { first: 90, last: 99 });
        assert_eq!(range(100, "bytes=90-1000"), Wanted::Part { first: 90, last: 99 });
        assert_eq!(range(100, "bytes=-10"), Wanted::Part { first: 90, last: 99 });
        assert_eq!(range(100, "bytes=-1000"), Wanted::Part { first: 0, last: 99 });
        for text in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(range(100, text), Wanted::Unsatisfiable, "{text}");
        }
        assert_eq!(range(0, "bytes=0-"), Wanted::Unsatisfiable);
        for text in ["bytes=9-1", "bytes=0-1,5-6", "bytes=-", "bytes=x-1", "items=0-1", "bytes", "bytes=1-+2"]
        {
            assert_eq!(range(100, text), Wanted::Whole, "{text}");
        }
    }

    #[test]
    fn validators_are_honoured() {
        let version = Version::new(100, 784_111_777_000);
        assert_eq!(version.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
        let (etag, date) = (version.etag.as_str(), version.last_modified.as_str());
        let range = ("range", "bytes=0-9");
        let part = Wanted::Part { first: 0, last: 9 };
        assert_eq!(wanted(100, &[range, ("if-range", etag)]), part);
        assert_eq!(wanted(100, &[range, ("if-range", date)]), part);
        assert_eq!(wanted(100, &[range, ("if-range", "\"other\"")]), Wanted::Whole);
        assert_eq!(wanted(100, &[("if-none-match", etag)]), Wanted::Nothing);
        assert_eq!(wanted(100, &[("if-none-match", &format!("\"x\", W/{etag}"))]), Wanted::Nothing);
        assert_eq!(wanted(100, &[("if-none-match", "\"x\""), ("if-modified-since", date)]), Wanted::Whole);
        assert_eq!(wanted(100, &[("if-modified-since", date), range]), Wanted::Nothing);
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(1_700_000_000), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(media_type("a.b.MP4"), "video/mp4");
        assert_eq!(media_type("a"), "application/octet-stream");
    }
}
