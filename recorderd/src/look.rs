//! Pure: no clock, no I/O, no async.
//!
//! How films look, from the configuration.

/// What films show besides pictures. Both are off by default: OpenVidu shows neither.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// Names on tiles.
    pub labels: bool,
    /// Tiles for streams without a picture.
    pub audio_tiles: bool,
}
