//! Pure: no clock, no I/O, no async.
//!
//! Which stream goes into which section of an endpoint that plays a whole session. A plan changes nothing; planning
//! again from its result gives the same result.
//!
//! - What is bound stays where it is, as long as it is published.
//! - Video: pinned streams have their slots, the others fill free ones in the order of publishing.
//! - Audio: as video while there is room; else the most recently loud streams displace the quiet ones.
//! - A stream's audio goes into the slot of its video where that is free, so that both are in step.

use std::collections::BTreeMap;

use common::id::StreamKey;

/// A stream that could be played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Playable {
    pub(crate) stream: StreamKey,
    pub(crate) audio: bool,
    pub(crate) video: bool,
}

/// What a plan starts from.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    /// Streams in the order of publishing, without the receiver's own.
    pub(crate) streams: &'a [Playable],
    pub(crate) pins: &'a BTreeMap<u16, StreamKey>,
    /// By how recently they were loud, newest first.
    pub(crate) loud: &'a [StreamKey],
}

/// What each audio and each video section carries.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Lineup {
    pub(crate) audio: Vec<Option<StreamKey>>,
    pub(crate) video: Vec<Option<StreamKey>>,
}

/// The line-up that follows from the present one.
pub(crate) fn plan(present: &Lineup, situation: &Situation<'_>) -> Lineup {
    let mut next = present.clone();
    for (sections, has) in [
        (&mut next.audio, (|playable: &Playable| playable.audio) as fn(&Playable) -> bool),
        (&mut next.video, |playable: &Playable| playable.video),
    ] {
        for section in sections {
            section.take_if(|stream| !situation.streams.iter().any(|it| it.stream == *stream && has(it)));
        }
    }
    apply_pins(&mut next.video, situation);
    fill_video(&mut next, situation);
    fill_audio(&mut next, situation);
    next
}

fn apply_pins(video: &mut [Option<StreamKey>], situation: &Situation<'_>) {
    for (slot, stream) in situation.pins {
        let slot = usize::from(*slot);
        if slot >= video.len() || !situation.streams.iter().any(|it| it.stream == *stream && it.video) {
            continue;
        }
        match video.iter().position(|bound| *bound == Some(*stream)) {
            Some(present) => video.swap(present, slot),
            None => video[slot] = Some(*stream),
        }
    }
}

fn fill_video(next: &mut Lineup, situation: &Situation<'_>) {
    for playable in situation.streams.iter().filter(|playable| playable.video) {
        let stream = Some(playable.stream);
        if next.video.contains(&stream) {
            continue;
        }
        let in_step =
            |slot: usize| next.audio.get(slot).is_none_or(|bound| bound.is_none() || *bound == stream);
        let mut free = (0..next.video.len()).filter(|slot| next.video[*slot].is_none());
        let Some(first) = free.clone().next() else { return };
        let slot = free.find(|slot| in_step(*slot)).unwrap_or(first);
        next.video[slot] = stream;
    }
}

fn fill_audio(next: &mut Lineup, situation: &Situation<'_>) {
    let audible = |stream: &StreamKey| situation.streams.iter().any(|it| it.stream == *stream && it.audio);
    let loudest: Vec<StreamKey> =
        situation.loud.iter().copied().filter(audible).take(next.audio.len()).collect();
    let others = situation.streams.iter().filter(|playable| playable.audio).map(|playable| playable.stream);
    for stream in loudest.iter().copied().chain(others) {
        if next.audio.contains(&Some(stream)) {
            continue;
        }
        let beside = next.video.iter().position(|bound| *bound == Some(stream));
        let slot = beside
            .filter(|slot| next.audio.get(*slot).is_some_and(Option::is_none))
            .or_else(|| next.audio.iter().position(Option::is_none))
            .or_else(|| {
                if loudest.contains(&stream) { quietest(&next.audio, &loudest, situation) } else { None }
            });
        let Some(slot) = slot else { continue };
        next.audio[slot] = Some(stream);
    }
}

/// The section whose stream was loud the longest ago; of those that never were, the one published last.
fn quietest(audio: &[Option<StreamKey>], loudest: &[StreamKey], situation: &Situation<'_>) -> Option<usize> {
    let place = |stream: &StreamKey| situation.streams.iter().position(|it| it.stream == *stream);
    let quiet = |stream: &StreamKey| situation.loud.iter().position(|it| it == stream).unwrap_or(usize::MAX);
    audio
        .iter()
        .enumerate()
        .filter_map(|(slot, bound)| bound.as_ref().map(|stream| (slot, stream)))
        .filter(|(_, stream)| !loudest.contains(stream))
        .max_by_key(|(_, stream)| (quiet(stream), place(stream)))
        .map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams as letters: `a` has both tracks, `a.` only audio, `a:` only video. Sections as a string, `-` is free.
    fn check(streams: &str, pins: &[(u16, char)], loud: &str, audio: &str, video: &str) -> (String, String) {
        let key = |c: char| StreamKey(u64::from(u32::from(c)));
        let mut playables: Vec<Playable> = Vec::new();
        for c in streams.chars() {
            match (c, playables.last_mut()) {
                ('.', Some(last)) => last.video = false,
                (':', Some(last)) => last.audio = false,
                _ => playables.push(Playable { stream: key(c), audio: true, video: true }),
            }
        }
        let parse = |text: &str| text.chars().map(|c| (c != '-').then(|| key(c))).collect();
        let show = |sections: &[Option<StreamKey>]| {
            sections
                .iter()
                .map(|it| it.map_or('-', |it| char::from_u32(u32::try_from(it.0).unwrap()).unwrap()))
                .collect::<String>()
        };
        let pins = pins.iter().map(|(slot, c)| (*slot, key(*c))).collect();
        let loud: Vec<_> = loud.chars().map(key).collect();
        let situation = Situation { streams: &playables, pins: &pins, loud: &loud };
        let next = plan(&Lineup { audio: parse(audio), video: parse(video) }, &situation);
        assert_eq!(plan(&next, &situation), next, "a plan is stable");
        (show(&next.audio), show(&next.video))
    }

    fn lineup(audio: &str, video: &str) -> (String, String) {
        (audio.to_owned(), video.to_owned())
    }

    #[test]
    fn streams_fill_slots_in_the_order_of_publishing_and_in_step() {
        assert_eq!(check("abc", &[], "", "---", "---"), lineup("abc", "abc"));
        assert_eq!(check("a.b", &[], "", "---", "---"), lineup("ab-", "b--"));
        assert_eq!(check("a.b", &[], "", "a--", "---"), lineup("ab-", "-b-"));
        assert_eq!(check("ab", &[], "", "-", "---"), lineup("a", "ab-"));
        assert_eq!(check("ab", &[], "", "", ""), lineup("", ""));
    }

    #[test]
    fn a_freed_slot_goes_to_the_first_that_waits_and_nothing_else_moves() {
        assert_eq!(check("acd", &[], "", "ab", "ab"), lineup("ac", "ac"));
        assert_eq!(check("bcd", &[], "", "dc-", "dc-"), lineup("dcb", "dcb"));
    }

    #[test]
    fn pins_displace_and_swap() {
        assert_eq!(check("abc", &[(0, 'c')], "", "ab", "ab"), lineup("ab", "cb"));
        assert_eq!(check("abc", &[(0, 'b')], "", "ab", "ab"), lineup("ab", "ba"));
        assert_eq!(check("abc", &[(9, 'b'), (0, 'z')], "", "ab", "ab"), lineup("ab", "ab"));
    }

    #[test]
    fn loud_streams_displace_quiet_ones() {
        assert_eq!(check("abcd", &[], "d", "ab", "ab"), lineup("ad", "ab"));
        assert_eq!(check("abcd", &[], "dcab", "ab", "ab"), lineup("cd", "ab"));
        assert_eq!(check("abcd", &[], "ba", "ab", "ab"), lineup("ab", "ab"));
    }
}
