//! Pure: no clock, no I/O, no async.
//!
//! The tiles of a workspace: a tree of splits. Where room runs out, a split becomes a stack of tabs, so that one
//! arrangement serves every size of terminal.

use ratatui::layout::Rect;

use super::WindowId;

/// Along which axis a split divides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Axis {
    /// Side by side.
    Horizontal,
    /// One above the other.
    Vertical,
}

/// A way to one side of a split.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// To the lower rows.
    Down,
    /// To the lower columns.
    Left,
    /// To the higher columns.
    Right,
    /// To the upper rows.
    Up,
}

/// Tiles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tree {
    /// One window.
    Leaf(WindowId),
    /// Two parts.
    Split {
        /// How they lie.
        axis: Axis,
        /// Share of the first part, in thousandths: proportions stay when the terminal changes its size.
        ratio: u16,
        /// Left or upper part.
        first: Box<Self>,
        /// Right or lower part.
        second: Box<Self>,
    },
}

/// Where everything lies.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Layout {
    /// Tiles that show.
    pub tiles: Vec<Tile>,
    /// Borders that can be dragged.
    pub bars: Vec<Bar>,
}

/// A place on the desktop with one window, or with several as tabs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tile {
    /// The window that shows.
    pub window: WindowId,
    /// All windows of the place, in order.
    pub tabs: Vec<WindowId>,
    /// The place, frame included.
    pub rect: Rect,
}

/// The border between the two parts of a split.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bar {
    /// Turns from the root: false is first.
    pub path: Vec<bool>,
    /// How the parts lie.
    pub axis: Axis,
    /// Both parts together.
    pub area: Rect,
    /// The two lines of frame that meet.
    pub rect: Rect,
}

/// Bounds of a share.
const RATIO_MIN: u16 = 100;
const RATIO_MAX: u16 = 900;

impl Tree {
    /// Two parts.
    #[must_use]
    pub fn split(axis: Axis, ratio: u16, first: Self, second: Self) -> Self {
        Self::Split { axis, ratio, first: Box::new(first), second: Box::new(second) }
    }

    /// Windows from left to right and from top to bottom.
    #[must_use]
    pub fn windows(&self) -> Vec<WindowId> {
        match self {
            Self::Leaf(window) => vec![*window],
            Self::Split { first, second, .. } => {
                let mut windows = first.windows();
                windows.extend(second.windows());
                windows
            }
        }
    }

    /// Divides the place of one window between it and a new one.
    pub fn insert(&mut self, beside: WindowId, axis: Axis, new: WindowId) -> bool {
        match self {
            Self::Leaf(window) if *window == beside => {
                *self = Self::split(axis, 500, Self::Leaf(beside), Self::Leaf(new));
                true
            }
            Self::Leaf(_) => false,
            Self::Split { first, second, .. } => {
                first.insert(beside, axis, new) || second.insert(beside, axis, new)
            }
        }
    }

    /// The tree without a window; its neighbour takes the room. Nothing is left of a single leaf.
    #[must_use]
    pub fn without(self, gone: WindowId) -> Option<Self> {
        match self {
            Self::Leaf(window) => (window != gone).then_some(Self::Leaf(window)),
            Self::Split { axis, ratio, first, second } => match (first.without(gone), second.without(gone)) {
                (Some(first), Some(second)) => Some(Self::split(axis, ratio, first, second)),
                (one, other) => one.or(other),
            },
        }
    }

    /// Exchanges two windows.
    pub fn swap(&mut self, a: WindowId, b: WindowId) {
        match self {
            Self::Leaf(window) => {
                if *window == a {
                    *window = b;
                } else if *window == b {
                    *window = a;
                }
            }
            Self::Split { first, second, .. } => {
                first.swap(a, b);
                second.swap(a, b);
            }
        }
    }

    /// Gives every window the same share along each axis.
    pub fn equalise(&mut self) {
        if let Self::Split { axis, ratio, first, second } = self {
            let (a, b) = (first.count_along(*axis), second.count_along(*axis));
            *ratio = clamp(u32::from(a) * 1000 / u32::from(a + b));
            first.equalise();
            second.equalise();
        }
    }

    fn count_along(&self, along: Axis) -> u16 {
        match self {
            Self::Leaf(_) => 1,
            Self::Split { axis, first, second, .. } => {
                let (a, b) = (first.count_along(along), second.count_along(along));
                if *axis == along { a + b } else { a.max(b) }
            }
        }
    }

    /// Makes a window wider or higher by moving the nearest border along the axis.
    pub fn grow(&mut self, window: WindowId, along: Axis, by: i16) -> bool {
        let Self::Split { axis, ratio, first, second } = self else { return false };
        if first.grow(window, along, by) || second.grow(window, along, by) {
            return true;
        }
        let (in_first, in_second) = (first.windows().contains(&window), second.windows().contains(&window));
        if *axis != along || !(in_first || in_second) {
            return false;
        }
        let by = if in_first { by } else { -by };
        *ratio = clamp(u32::from(ratio.saturating_add_signed(by)));
        true
    }

    /// Moves a border to a share.
    pub fn set_ratio(&mut self, path: &[bool], to: u16) {
        if let Self::Split { ratio, first, second, .. } = self {
            match path.split_first() {
                None => *ratio = clamp(to.into()),
                Some((false, rest)) => first.set_ratio(rest, to),
                Some((true, rest)) => second.set_ratio(rest, to),
            }
        }
    }

    /// Places every window. `smallest` says what a window needs; `front` decides which of several tabs shows.
    #[must_use]
    pub fn layout(
        &self,
        area: Rect,
        smallest: &dyn Fn(WindowId) -> (u16, u16),
        front: &dyn Fn(&[WindowId]) -> WindowId,
    ) -> Layout {
        let mut layout = Layout::default();
        self.place(area, &mut Vec::new(), smallest, front, &mut layout);
        layout
    }

    fn place(
        &self,
        area: Rect,
        path: &mut Vec<bool>,
        smallest: &dyn Fn(WindowId) -> (u16, u16),
        front: &dyn Fn(&[WindowId]) -> WindowId,
        layout: &mut Layout,
    ) {
        let (axis, ratio, first, second) = match self {
            Self::Leaf(window) => {
                layout.tiles.push(Tile { window: *window, tabs: vec![*window], rect: area });
                return;
            }
            Self::Split { axis, ratio, first, second } => (*axis, *ratio, first, second),
        };
        let along = |(width, height): (u16, u16)| if axis == Axis::Horizontal { width } else { height };
        let room = along((area.width, area.height));
        let (need_first, need_second) = (along(first.need(smallest)), along(second.need(smallest)));
        if need_first.saturating_add(need_second) > room {
            let tabs = self.windows();
            layout.tiles.push(Tile { window: front(&tabs), tabs, rect: area });
            return;
        }
        let wanted = u32::from(room) * u32::from(ratio) / 1000;
        let size = u16::try_from(wanted).unwrap_or(room).clamp(need_first, room - need_second);
        let (one, other, bar) = divide(area, axis, size);
        layout.bars.push(Bar { path: path.clone(), axis, area, rect: bar });
        path.push(false);
        first.place(one, path, smallest, front, layout);
        path.pop();
        path.push(true);
        second.place(other, path, smallest, front, layout);
        path.pop();
    }

    fn need(&self, smallest: &dyn Fn(WindowId) -> (u16, u16)) -> (u16, u16) {
        match self {
            Self::Leaf(window) => smallest(*window),
            Self::Split { axis, first, second, .. } => {
                let ((w1, h1), (w2, h2)) = (first.need(smallest), second.need(smallest));
                match axis {
                    Axis::Horizontal => (w1.saturating_add(w2), h1.max(h2)),
                    Axis::Vertical => (w1.max(w2), h1.saturating_add(h2)),
                }
            }
        }
    }
}

fn clamp(ratio: u32) -> u16 {
    u16::try_from(ratio).unwrap_or(RATIO_MAX).clamp(RATIO_MIN, RATIO_MAX)
}

/// The two parts of an area, and the two lines where their frames meet.
fn divide(area: Rect, axis: Axis, size: u16) -> (Rect, Rect, Rect) {
    let Rect { x, y, width, height } = area;
    match axis {
        Axis::Horizontal => (
            Rect::new(x, y, size, height),
            Rect::new(x + size, y, width - size, height),
            Rect::new((x + size).saturating_sub(1), y + 1, 2, height.saturating_sub(2)),
        ),
        Axis::Vertical => (
            Rect::new(x, y, width, size),
            Rect::new(x, y + size, width, height - size),
            // Not the lower frame: that is a title, by which windows are moved.
            Rect::new(x + 1, (y + size).saturating_sub(1), width.saturating_sub(2), 1),
        ),
    }
}

/// The tile next to another in a direction, nearest by its centre.
#[must_use]
pub fn neighbour(tiles: &[Tile], from: WindowId, direction: Direction) -> Option<WindowId> {
    let here = tiles.iter().find(|tile| tile.window == from)?.rect;
    let overlaps = |a: u16, b: u16, c: u16, d: u16| a < d && c < b;
    tiles
        .iter()
        .filter(|tile| tile.window != from)
        .filter(|tile| {
            let there = tile.rect;
            let beside = overlaps(here.y, here.bottom(), there.y, there.bottom());
            let above = overlaps(here.x, here.right(), there.x, there.right());
            match direction {
                Direction::Left => beside && there.right() <= here.x,
                Direction::Right => beside && there.x >= here.right(),
                Direction::Up => above && there.bottom() <= here.y,
                Direction::Down => above && there.y >= here.bottom(),
            }
        })
        .min_by_key(|tile| {
            let there = tile.rect;
            match direction {
                Direction::Left => (here.x - there.right(), there.y),
                Direction::Right => (there.x - here.right(), there.y),
                Direction::Up => (here.y - there.bottom(), there.x),
                Direction::Down => (there.y - here.bottom(), there.x),
            }
        })
        .map(|tile| tile.window)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(id: u32) -> Tree {
        Tree::Leaf(WindowId(id))
    }

    fn sample() -> Tree {
        Tree::split(
            Axis::Vertical,
            500,
            Tree::split(Axis::Horizontal, 300, leaf(1), leaf(2)),
            Tree::split(Axis::Horizontal, 600, leaf(3), leaf(4)),
        )
    }

    fn layout(tree: &Tree, width: u16, height: u16) -> Layout {
        tree.layout(Rect::new(0, 1, width, height), &|_| (20, 5), &|tabs| tabs[0])
    }

    #[test]
    fn a_split_without_room_becomes_tabs() {
        let tree = sample();
        assert_eq!(layout(&tree, 80, 20).tiles.len(), 4);
        let narrow = layout(&tree, 39, 20);
        assert_eq!(narrow.tiles.len(), 2);
        assert_eq!(narrow.tiles[0].tabs, [WindowId(1), WindowId(2)]);
        let tiny = layout(&tree, 10, 3);
        assert_eq!(tiny.tiles.len(), 1);
        assert_eq!(tiny.tiles[0].tabs.len(), 4);
    }

    #[test]
    fn windows_find_their_neighbours() {
        let tiles = layout(&sample(), 80, 20).tiles;
        assert_eq!(neighbour(&tiles, WindowId(1), Direction::Right), Some(WindowId(2)));
        assert_eq!(neighbour(&tiles, WindowId(1), Direction::Down), Some(WindowId(3)));
        assert_eq!(neighbour(&tiles, WindowId(4), Direction::Up), Some(WindowId(2)));
        assert_eq!(neighbour(&tiles, WindowId(1), Direction::Left), None);
    }

    #[test]
    fn the_neighbour_takes_the_room_of_a_closed_window() {
        let tree = sample().without(WindowId(2)).unwrap();
        assert_eq!(tree.windows(), [WindowId(1), WindowId(3), WindowId(4)]);
        assert!(leaf(1).without(WindowId(1)).is_none());
    }

    proptest! {
        #[test]
        fn tiles_fill_the_area_without_overlap(
            steps in prop::collection::vec((0_u32..12, any::<bool>(), any::<bool>(), 0_u16..1000), 0..30),
            width in 1_u16..300,
            height in 1_u16..100,
        ) {
            let mut tree = leaf(0);
            let mut next = 1;
            for (pick, horizontal, insert, ratio) in steps {
                let windows = tree.windows();
                let at = windows[pick as usize % windows.len()];
                let axis = if horizontal { Axis::Horizontal } else { Axis::Vertical };
                if insert {
                    tree.insert(at, axis, WindowId(next));
                    next += 1;
                } else if windows.len() > 1 {
                    tree = tree.without(at).unwrap();
                }
                tree.set_ratio(&[horizontal], ratio);
                tree.grow(at, axis, 70);
            }
            let layout = layout(&tree, width, height);
            let mut shown: Vec<WindowId> = layout.tiles.iter().flat_map(|tile| tile.tabs.clone()).collect();
            shown.sort();
            let mut all = tree.windows();
            all.sort();
            prop_assert_eq!(shown, all);
            let cells: u32 = layout.tiles.iter().map(|tile| tile.rect.area()).sum();
            prop_assert_eq!(cells, u32::from(width) * u32::from(height));
            for (i, a) in layout.tiles.iter().enumerate() {
                for b in &layout.tiles[i + 1..] {
                    prop_assert!(!a.rect.intersects(b.rect));
                }
            }
        }
    }
}
