//! Pure: no clock, no I/O, no async.
//!
//! Names of folders and files. masterd checks them too; a recorder believes nobody, as they become paths.
//!
//! A name of these types is one path component: it has no `/`, does not begin with a dot and is not longer than a
//! file system allows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of a name, with room for extensions and counters below the 255 that file systems allow.
const NAME_BYTES_MAX: usize = 200;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Another character than the allowed ones.
    #[error("a name may hold letters, digits, `_`, `-` and `~` only")]
    Characters,
    /// Nothing, or too much.
    #[error("a name has 1 to 200 characters")]
    Length,
}

/// Checks a name made of letters, digits, `_`, `-` and `~`.
///
/// # Errors
/// [`NameError`].
pub fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(NameError::Length);
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~');
    if name.bytes().all(is_allowed) { Ok(()) } else { Err(NameError::Characters) }
}

/// Public name of a recording: the name of its folder.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordingId(String);

impl RecordingId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RecordingId {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        check(&name).map(|()| Self(name))
    }
}

impl From<RecordingId> for String {
    fn from(id: RecordingId) -> Self {
        id.0
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a file of a recording may be handed out by its name: dot-files are the recorder's own.
#[must_use]
pub fn is_public(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'~' | b'.');
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.bytes().all(is_allowed)
}

/// A file name made of a stranger's text: what is not allowed becomes `_`.
#[must_use]
pub fn tamed(text: &str) -> String {
    let tame = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '~') { c } else { '_' };
    let name: String = text.chars().take(NAME_BYTES_MAX).map(tame).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_harmless_path_component() {
        for good in ["standup", "ses_Ab3X~12", "-", "a_b-c"] {
            assert_eq!(RecordingId::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in
            ["", ".", "..", "a/b", "../x", "a.mp4", ".recording", "a b", "ä", "a\0", "a\n", &"x".repeat(201)]
        {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<RecordingId>("\"../x\"").is_err());
    }

    #[test]
    fn dot_files_and_paths_are_not_public() {
        for good in ["standup.mp4", "a~1.jpg", "x"] {
            assert!(is_public(good), "{good}");
        }
        for bad in ["", ".", "..", ".recording.a", "a/b", "/etc/passwd", "a\0b", "ü.mp4", &"x".repeat(256)] {
            assert!(!is_public(bad), "{bad:?}");
        }
    }

    #[test]
    fn any_text_becomes_a_name() {
        assert_eq!(tamed("str_CAM_Ab3X_con_1"), "str_CAM_Ab3X_con_1");
        assert_eq!(tamed("../../etc/x.y"), "______etc_x_y");
        assert_eq!(tamed(""), "_");
        assert!(check(&tamed(&"é/".repeat(500))).is_ok());
    }
}
