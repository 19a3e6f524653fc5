//! Pure: no clock, no I/O, no async.
//!
//! Where tiles go: OpenVidu's best fit. All that are not big share a grid whose cells have a ratio of height to width
//! between 9/16 and 3/2; shared screens are big and take four fifths of the picture, the others a strip beside or below.
//! As soon as there is a screen, tiles keep their own ratio.

mod grid;

use grid::{Cell, Ratio, grid};

/// A stream that has a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tile {
    /// Gets a big tile.
    pub big: bool,
    /// Height divided by width of its picture; `None` is not known.
    pub ratio: Option<f64>,
}

/// Pixels of the picture; all even.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Area {
    /// From the left.
    pub x: u16,
    /// From the top.
    pub y: u16,
    /// Size.
    pub width: u16,
    /// Size.
    pub height: u16,
}

/// Share of the big tiles.
const BIG_SHARE: f64 = 0.8;

/// Places for the tiles, in their order, on a picture of this size.
#[must_use]
pub fn best_fit(width: u16, height: u16, tiles: &[Tile]) -> Vec<Area> {
    let (full_width, full_height) = (f64::from(width), f64::from(height));
    let fixed = tiles.iter().any(|tile| tile.big);
    let group = |big: bool| -> Vec<Option<f64>> {
        tiles.iter().filter(|tile| tile.big == big).map(|tile| tile.ratio).collect()
    };
    let (big, small) = (group(true), group(false));
    let ratio =
        |tiles: &[Option<f64>]| if fixed { Ratio::Fixed(tiles.to_vec()) } else { Ratio::Free(tiles.len()) };
    let (big_cells, small_cells) = match (big.first(), small.is_empty()) {
        (None, _) => (Vec::new(), grid(full_width, full_height, &ratio(&small))),
        (Some(_), true) => (grid(full_width, full_height, &ratio(&big)), Vec::new()),
        (Some(first), false) => {
            let on_top = full_height / full_width > first.unwrap_or(grid::UNKNOWN_RATIO);
            if on_top {
                let share = (full_height * BIG_SHARE).floor();
                let below = grid(full_width, full_height - share, &ratio(&small));
                (grid(full_width, share, &ratio(&big)), moved(below, 0.0, share))
            } else {
                let share = (full_width * BIG_SHARE).floor();
                let beside = grid(full_width - share, full_height, &ratio(&small));
                (grid(share, full_height, &ratio(&big)), moved(beside, share, 0.0))
            }
        }
    };
    let (mut big_cells, mut small_cells) = (big_cells.into_iter(), small_cells.into_iter());
    let cells = tiles.iter().map(|tile| if tile.big { big_cells.next() } else { small_cells.next() });
    cells.map(|cell| cell.map_or_else(Area::default, |cell| even(cell, width, height))).collect()
}

fn moved(cells: Vec<Cell>, x: f64, y: f64) -> Vec<Cell> {
    cells.into_iter().map(|cell| Cell { x: cell.x + x, y: cell.y + y, ..cell }).collect()
}

/// To even pixels inside the picture: edges are rounded, so neighbours still touch.
fn even(cell: Cell, width: u16, height: u16) -> Area {
    let edges = |from: f64, length: f64, limit: u16| {
        let at = |edge: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the picture"
            )]
            let pixels = (edge / 2.0).round().clamp(0.0, f64::from(limit / 2)) as u16;
            pixels * 2
        };
        let (start, end) = (at(from), at(from + length));
        (start, end - start)
    };
    let ((x, width), (y, height)) = (edges(cell.x, cell.width, width), edges(cell.y, cell.height, height));
    Area { x, y, width, height }
}

/// What to cut off a picture so that the rest fills a tile without being distorted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Crop {
    /// Pixels of the source, at the left and the same at the right.
    pub sides: u16,
    /// Pixels of the source, at the top and the same at the bottom.
    pub ends: u16,
}

/// Cut for a source of this size in a tile of that size. Even numbers; less than two pixels are not worth it.
#[must_use]
pub fn cover(source: (u16, u16), tile: (u16, u16)) -> Crop {
    let [width, height] = [u32::from(source.0), u32::from(source.1)];
    let [tile_width, tile_height] = [u32::from(tile.0), u32::from(tile.1)];
    if [width, height, tile_width, tile_height].contains(&0) {
        return Crop::default();
    }
    let half =
        |whole: u32, wanted: u32| u16::try_from(whole.saturating_sub(wanted) / 4 * 2).unwrap_or_default();
    if width * tile_height > height * tile_width {
        Crop { sides: half(width, (height * tile_width).div_ceil(tile_height).max(2)), ends: 0 }
    } else {
        Crop { sides: 0, ends: half(height, (width * tile_height).div_ceil(tile_width).max(2)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cameras(count: usize) -> Vec<Tile> {
        vec![Tile { big: false, ratio: Some(0.5625) }; count]
    }

    fn areas(tiles: &[Tile]) -> Vec<(u16, u16, u16, u16)> {
        best_fit(1280, 720, tiles).iter().map(|area| (area.x, area.y, area.width, area.height)).collect()
    }

    #[test]
    fn a_few_cameras_are_where_openvidu_puts_them() {
        assert_eq!(areas(&[]), []);
        assert_eq!(areas(&cameras(1)), [(0, 0, 1280, 720)]);
        assert_eq!(areas(&cameras(2)), [(0, 0, 640, 720), (640, 0, 640, 720)]);
        let four = [(0, 0, 640, 360), (640, 0, 640, 360), (0, 360, 640, 360), (640, 360, 640, 360)];
        assert_eq!(areas(&cameras(4)), four);
        let nine = areas(&cameras(9));
        assert_eq!((nine[0], nine[4], nine[8].3), ((2, 0, 426, 240), (428, 240, 426, 240), 240));
    }

    /// Columns, rows, and size of the first tile, for 1 to 25 cameras on 1280 x 720.
    #[test]
    fn the_grid_of_one_to_twenty_five() {
        let table: Vec<String> = (1..=25)
            .map(|count| {
                let all = areas(&cameras(count));
                let columns = all.iter().filter(|area| area.1 == all[0].1).count();
                format!("{count}:{columns}x{} {}x{}", count.div_ceil(columns), all[0].2, all[0].3)
            })
            .collect();
        assert_eq!(table.join(" "), GOLDEN);
    }

    const GOLDEN: &str = "1:1x1 1280x720 2:2x1 640x720 3:3x1 426x640 4:2x2 640x360 5:3x2 426x360 \
        6:3x2 426x360 7:4x2 320x360 8:4x2 320x360 9:3x3 426x240 10:5x2 256x360 \
        11:4x3 320x240 12:4x3 320x240 13:5x3 256x240 14:5x3 256x240 15:5x3 256x240 \
        16:4x4 320x180 17:6x3 212x240 18:6x3 212x240 19:5x4 256x180 20:5x4 256x180 \
        21:7x3 182x240 22:8x3 160x240 23:8x3 160x240 24:8x3 160x240 25:5x5 256x144";

    #[test]
    fn a_screen_is_big_and_the_cameras_are_a_strip() {
        let screen = Tile { big: true, ratio: Some(0.5625) };
        assert_eq!(areas(&[screen]), [(0, 0, 1280, 720)]);
        let all = areas(&[cameras(1)[0], screen, cameras(1)[0]]);
        // The screen keeps its ratio in the left four fifths; the cameras share the right fifth.
        assert_eq!(all[1], (0, 72, 1024, 576));
        assert!(all[0].0 >= 1024 && all[2].0 >= 1024 && all[0].2 <= 256, "{all:?}");
    }

    #[test]
    fn a_picture_is_cut_to_fill_its_tile() {
        assert_eq!(cover((1280, 720), (640, 360)), Crop::default());
        assert_eq!(cover((1280, 720), (640, 720)), Crop { sides: 320, ends: 0 });
        assert_eq!(cover((640, 480), (640, 360)), Crop { sides: 0, ends: 60 });
        assert_eq!(cover((2, 2), (1280, 2)), Crop::default());
        assert_eq!(cover((0, 9), (1, 1)), Crop::default());
    }

    proptest! {
        #[test]
        fn tiles_are_inside_even_and_do_not_overlap(
            width in 50_u16..1000, height in 50_u16..1000,
            tiles in prop::collection::vec((prop::bool::weighted(0.2), prop::option::of(0.3_f64..2.5)), 0..40),
        ) {
            let (width, height) = (width * 2, height * 2);
            let tiles: Vec<Tile> = tiles.into_iter().map(|(big, ratio)| Tile { big, ratio }).collect();
            let areas = best_fit(width, height, &tiles);
            prop_assert_eq!(areas.len(), tiles.len());
            for (index, a) in areas.iter().enumerate() {
                prop_assert!(a.x % 2 == 0 && a.y % 2 == 0 && a.width % 2 == 0 && a.height % 2 == 0);
                prop_assert!(a.x + a.width <= width && a.y + a.height <= height);
                for b in &areas[..index] {
                    let apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
                    prop_assert!(apart, "{:?} {:?}", a, b);
                }
            }
        }

        #[test]
        fn a_cut_leaves_something(source in (1_u16..4000, 1_u16..4000), tile in (1_u16..2000, 1_u16..2000)) {
            let crop = cover(source, tile);
            prop_assert!(u32::from(crop.sides) * 2 < u32::from(source.0) && u32::from(crop.ends) * 2 < u32::from(source.1));
        }
    }
}
