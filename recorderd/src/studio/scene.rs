//! Pure: no clock, no I/O, no async.
//!
//! Who has a tile: streams with a picture that is on, and, if wanted, those without one.

use super::protocol::RosterStream;
use crate::layout::{Area, Tile, best_fit};

/// A picture track.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Picture {
    pub(super) track: u32,
    pub(super) stream: u64,
    /// Size of its last picture; zero while there is none.
    pub(super) size: (u16, u16),
    /// It can be decoded here.
    pub(super) decodable: bool,
}

/// What fills a tile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    Picture { track: u32 },
    Avatar,
}

/// A tile.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) stream: u64,
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) area: Area,
}

/// What is to be seen, and how large each picture would be once all have come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scene {
    pub(super) placed: Vec<Placed>,
    pub(super) planned: Vec<(u32, Area)>,
}

/// What is not known of a stream before the roster names it.
fn unnamed(stream: u64) -> RosterStream {
    RosterStream {
        stream,
        name: String::new(),
        screen: false,
        has_audio: true,
        has_video: true,
        audio_active: true,
        video_active: true,
    }
}

/// Decides. Tiles are in the roster's order; tracks of streams that it does not name come last.
pub(super) fn scene(
    width: u16,
    height: u16,
    roster: &[RosterStream],
    pictures: &[Picture],
    audio_tiles: bool,
) -> Scene {
    let mut streams = roster.to_vec();
    for picture in pictures {
        if !streams.iter().any(|stream| stream.stream == picture.stream) {
            streams.push(unnamed(picture.stream));
        }
    }
    let of = |stream: &RosterStream| {
        let mut own = pictures.iter().rev().filter(|picture| picture.stream == stream.stream);
        own.find(|picture| picture.decodable).filter(|_| stream.video_active)
    };
    let ratio = |picture: &Picture| {
        let (width, height) = picture.size;
        (width > 0 && height > 0).then(|| f64::from(height) / f64::from(width))
    };
    let mut shown: Vec<(&RosterStream, Content, Tile)> = Vec::new();
    let mut planned: Vec<(u32, Tile)> = Vec::new();
    for stream in &streams {
        let picture = of(stream);
        if let Some(picture) = picture {
            planned.push((picture.track, Tile { big: stream.screen, ratio: ratio(picture) }));
        }
        match picture.and_then(|picture| ratio(picture).map(|ratio| (picture, ratio))) {
            Some((picture, ratio)) => {
                let tile = Tile { big: stream.screen, ratio: Some(ratio) };
                shown.push((stream, Content::Picture { track: picture.track }, tile));
            }
            None if audio_tiles => {
                shown.push((stream, Content::Avatar, Tile { big: false, ratio: Some(AVATAR_RATIO) }));
            }
            None => {}
        }
    }
    let tiles: Vec<Tile> = shown.iter().map(|(_, _, tile)| *tile).collect();
    let areas = best_fit(width, height, &tiles);
    let placed = shown.into_iter().zip(areas).map(|((stream, content, _), area)| Placed {
        stream: stream.stream,
        name: stream.name.clone(),
        content,
        area,
    });
    let plan: Vec<Tile> = planned.iter().map(|(_, tile)| *tile).collect();
    let areas = best_fit(width, height, &plan);
    Scene { placed: placed.collect(), planned: planned.iter().map(|(track, _)| *track).zip(areas).collect() }
}

const AVATAR_RATIO: f64 = 9.0 / 16.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(track: u32, stream: u64, seen: bool) -> Picture {
        Picture { track, stream, size: if seen { (640, 360) } else { (0, 0) }, decodable: true }
    }

    fn contents(scene: &Scene) -> Vec<(u64, Content, u16)> {
        scene.placed.iter().map(|placed| (placed.stream, placed.content, placed.area.width)).collect()
    }

    #[test]
    fn pictures_get_a_tile_when_they_have_come_and_their_layer_before() {
        let roster = [unnamed(1), unnamed(2)];
        let scene = scene(1280, 720, &roster, &[picture(12, 2, true), picture(11, 1, false)], false);
        assert_eq!(contents(&scene), [(2, Content::Picture { track: 12 }, 1280)]);
        let planned: Vec<(u32, u16)> =
            scene.planned.iter().map(|(track, area)| (*track, area.width)).collect();
        assert_eq!(planned, [(11, 640), (12, 640)]);
    }

    #[test]
    fn muted_and_undecodable_pictures_have_no_tile_or_an_avatar() {
        let mut muted = unnamed(1);
        muted.video_active = false;
        let roster = [muted, unnamed(2), unnamed(3)];
        let broken = Picture { decodable: false, ..picture(12, 2, true) };
        let pictures = [picture(11, 1, true), broken, picture(13, 3, true)];
        assert_eq!(
            contents(&scene(1280, 720, &roster, &pictures, false)),
            [(3, Content::Picture { track: 13 }, 1280)]
        );
        let all = contents(&scene(1280, 720, &roster, &pictures, true));
        assert_eq!(
            all.iter().map(|tile| tile.1).collect::<Vec<_>>(),
            [Content::Avatar, Content::Avatar, Content::Picture { track: 13 }]
        );
    }

    #[test]
    fn a_screen_is_big_and_a_new_codec_replaces_the_old_track() {
        let mut screen = unnamed(2);
        screen.screen = true;
        let roster = [unnamed(1), screen];
        let scene = scene(
            1280,
            720,
            &roster,
            &[picture(1, 1, true), picture(2, 2, true), picture(3, 2, true)],
            false,
        );
        let all = contents(&scene);
        assert_eq!(all[1].1, Content::Picture { track: 3 });
        assert!(all[1].2 > 3 * all[0].2);
    }
}
