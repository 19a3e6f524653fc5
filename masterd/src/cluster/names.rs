//! Pure: no clock, no I/O, no async; the generator is passed in.
//!
//! Public names by OpenVidu's rules. A token's 15 free places are 89 bits, a resource's 22 are 130: neither can be
//! guessed, provided that the generator is cryptographic and seeded by the operating system.

use common::id::Epoch;
use rand::Rng;
use rand::rngs::StdRng;

use super::op::PublishOptions;

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn pick(rng: &mut StdRng, alphabet: &[u8]) -> char {
    char::from(alphabet[rng.random_range(0..alphabet.len())])
}

fn random(rng: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| pick(rng, ALPHANUMERIC)).collect()
}

/// `prefix`, one upper-case letter, then letters and digits.
fn lettered(rng: &mut StdRng, prefix: &str, length: usize) -> String {
    let first = pick(rng, UPPER);
    format!("{prefix}{first}{}", random(rng, length - 1))
}

pub(crate) fn session(rng: &mut StdRng) -> String {
    lettered(rng, "ses_", 10)
}

pub(crate) fn token(rng: &mut StdRng) -> String {
    lettered(rng, "tok_", 16)
}

/// Names the signalling of a WebSocket client: 26 letters are 122 bits.
pub(crate) fn socket(rng: &mut StdRng) -> String {
    (0..26).map(|_| pick(rng, LOWER)).collect()
}

pub(crate) fn resource(rng: &mut StdRng) -> String {
    random(rng, 22)
}

pub(crate) fn node(rng: &mut StdRng) -> String {
    lettered(rng, "media_", 8)
}

/// A connection's name; the application may choose it by `openviduCustomConnectionId` in a JSON object as data.
pub(crate) fn connection(rng: &mut StdRng, server_data: &str, taken: impl Fn(&str) -> bool) -> String {
    if let Some(name) = custom_connection(server_data)
        && !taken(&name)
    {
        return name;
    }
    loop {
        let name = lettered(rng, "con_", 10);
        if !taken(&name) {
            return name;
        }
    }
}

/// The application's choice without anything but word characters, or none.
fn custom_connection(server_data: &str) -> Option<String> {
    if !server_data.contains("openviduCustomConnectionId") {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(server_data).ok()?;
    let asked = value.as_object()?.get("openviduCustomConnectionId")?.as_str()?;
    let word: String = asked.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(200).collect();
    let word = word.replace("con_", "");
    if word.is_empty() { None } else { Some(format!("con_{word}")) }
}

/// `str_<TYP>_<4 random>_<connection>`; `MIC` without a picture.
pub(crate) fn stream(
    rng: &mut StdRng,
    options: &PublishOptions,
    has_video: bool,
    connection: &str,
) -> String {
    let kind = match options.type_of_video.as_str() {
        _ if !has_video => "MIC",
        "SCREEN" => "SCR",
        "CUSTOM" => "CUS",
        "IPCAM" => "IPC",
        _ => "CAM",
    };
    format!("{}_{connection}", lettered(rng, &format!("str_{kind}_"), 4))
}

/// Makes keys that no earlier term has made: the term is in the upper 24 bits.
#[derive(Debug)]
pub(crate) struct Keys {
    base: u64,
    last: u64,
}

impl Keys {
    pub(crate) const fn new(epoch: Epoch) -> Self {
        Self { base: (epoch.0 & 0xff_ffff) << 40, last: 0 }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.last += 1;
        self.base | self.last
    }

    /// Where generations of this term begin: above those of every earlier term.
    pub(crate) const fn base(&self) -> u64 {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn names_follow_openvidus_rules() {
        let mut rng = StdRng::seed_from_u64(1);
        let options = PublishOptions { type_of_video: "SCREEN".to_owned(), ..PublishOptions::default() };
        for (name, prefix, length) in [
            (session(&mut rng), "ses_", 14),
            (token(&mut rng), "tok_", 20),
            (node(&mut rng), "media_", 14),
            (connection(&mut rng, "", |_| false), "con_", 14),
            (stream(&mut rng, &options, true, "con_A"), "str_SCR_", 18),
            (stream(&mut rng, &options, false, "con_A"), "str_MIC_", 18),
        ] {
            assert!(name.starts_with(prefix) && name.len() == length, "{name}");
        }
    }

    #[test]
    fn the_application_chooses_a_connections_name_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let data = r#"{"openviduCustomConnectionId": "con_al-i ce"}"#;
        assert_eq!(connection(&mut rng, data, |_| false), "con_alice");
        assert_ne!(connection(&mut rng, data, |name| name == "con_alice"), "con_alice");
        assert_eq!(custom_connection("[openviduCustomConnectionId"), None);
    }

    #[test]
    fn keys_of_a_later_term_are_higher() {
        let (mut first, mut second) = (Keys::new(Epoch(1)), Keys::new(Epoch(2)));
        assert!(first.next() < first.next());
        assert!(first.next() < second.next());
    }
}
