//! Pure: no clock, no I/O, no async.
//!
//! Who is loudest in a session, from the audio level extension (RFC 6464).

use super::track::Loudness;

/// Streams that are named; nobody shows more speakers.
pub(super) const SPEAKERS_MAX: usize = 8;

/// Loudness of speech, 0 to 127: -50 dBov. Rooms are quieter.
const SPEECH: u32 = 77 << 8;

/// A louder newcomer must be this much louder than whom it displaces: 3 dB.
const HYSTERESIS: u32 = 3 << 8;

impl Loudness {
    /// Notes one packet's level byte.
    pub(super) fn note(&mut self, level: u8) {
        self.sum += u32::from(crate::codec::opus::loudness(level).1);
        self.count += 1;
    }

    /// Closes an interval: a third of the new mean, two thirds of the past; quick to rise, slow to fall.
    pub(super) fn close(&mut self) {
        let mean = (self.sum << 8).checked_div(self.count).unwrap_or(0);
        self.smooth =
            if mean > self.smooth { (self.smooth + mean) / 2 } else { (self.smooth * 3 + mean) / 4 };
        (self.sum, self.count) = (0, 0);
    }

    /// Whether the smoothed level is speech.
    pub(super) const fn speaks(&self) -> bool {
        self.smooth >= SPEECH
    }

    /// Order of loudness; whoever is in front already is preferred.
    pub(super) const fn score(&self, is_first: bool) -> u32 {
        self.smooth + if is_first { HYSTERESIS } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_noticed_at_once_and_forgotten_slowly() {
        let mut loudness = Loudness::default();
        for _ in 0..10 {
            loudness.note(20);
        }
        loudness.close();
        loudness.note(20);
        loudness.close();
        assert!(loudness.speaks());
        loudness.close();
        assert!(!loudness.speaks());
        assert!(loudness.score(true) > loudness.score(false));
    }
}
