//! Pure: no clock, no I/O, no async.
//!
//! Windows above the tiles: kept where their title can be reached, snapped at edges and corners.

use ratatui::layout::Rect;

use super::WindowId;

/// A window above the tiles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Float {
    /// Which.
    pub window: WindowId,
    /// Where, frame included; may stick out of the desktop until placed.
    pub rect: Rect,
    /// Shows on every workspace, above the others.
    pub pinned: bool,
}

/// Smallest floating window.
const WIDTH_MIN: u16 = 24;
const HEIGHT_MIN: u16 = 5;

/// The rectangle inside the desktop: at most its size, with its title on it.
#[must_use]
pub fn clamp(rect: Rect, desktop: Rect) -> Rect {
    let width = rect.width.max(WIDTH_MIN).min(desktop.width);
    let height = rect.height.max(HEIGHT_MIN).min(desktop.height);
    Rect {
        x: rect.x.clamp(desktop.x, desktop.right().saturating_sub(width).max(desktop.x)),
        y: rect.y.clamp(desktop.y, desktop.bottom().saturating_sub(height).max(desktop.y)),
        width,
        height,
    }
}

/// Where a window lands that is dropped with the mouse at an edge: a half or, in a corner, a quarter.
#[must_use]
pub const fn snap(x: u16, y: u16, desktop: Rect) -> Option<Rect> {
    let left = x <= desktop.x;
    let right = x + 1 >= desktop.x + desktop.width;
    let bottom = y + 1 >= desktop.y + desktop.height;
    let (half_width, half_height) = (desktop.width / 2, desktop.height / 2);
    if !(left || right) {
        return None;
    }
    let column = if left { desktop.x } else { desktop.x + half_width };
    let width = if left { half_width } else { desktop.width - half_width };
    // The top corner is two rows high: the title row itself is the usual place to drag along an edge.
    if y <= desktop.y + 1 {
        return Some(Rect { x: column, y: desktop.y, width, height: half_height });
    }
    if bottom {
        let height = desktop.height - half_height;
        return Some(Rect { x: column, y: desktop.y + half_height, width, height });
    }
    Some(Rect { x: column, y: desktop.y, width, height: desktop.height })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESKTOP: Rect = Rect::new(0, 1, 80, 22);

    proptest::proptest! {
        #[test]
        fn titles_stay_on_the_desktop(x: u16, y: u16, w: u16, h: u16, dw in 1_u16..300, dh in 1_u16..100) {
            let desktop = Rect::new(0, 1, dw, dh);
            let rect = clamp(Rect { x, y, width: w, height: h }, desktop);
            assert_eq!(rect.intersection(desktop), rect);
            assert!(rect.width > 0 && rect.height > 0);
        }
    }

    #[test]
    fn edges_snap_to_halves_and_corners_to_quarters() {
        assert_eq!(snap(0, 10, DESKTOP), Some(Rect::new(0, 1, 40, 22)));
        assert_eq!(snap(79, 22, DESKTOP), Some(Rect::new(40, 12, 40, 11)));
        assert_eq!(snap(0, 1, DESKTOP), Some(Rect::new(0, 1, 40, 11)));
        assert_eq!(snap(40, 10, DESKTOP), None);
    }
}
