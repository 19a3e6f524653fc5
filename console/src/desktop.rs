//! Pure: no clock, no I/O, no async.
//!
//! The desktop: windows, and five workspaces of tiles and floats that hold them.

pub mod dialog;
pub mod field;
pub mod float;
pub mod tree;

use std::collections::BTreeMap;

use ratatui::layout::Rect;

use self::field::Field;
use self::float::Float;
use self::tree::{Axis, Layout, Tree};
use crate::view::{View, ViewKind};

/// Name of a window; never used twice in a run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WindowId(pub u32);

impl WindowId {
    /// Menu and status bar: no window, but they watch totals as well.
    pub const BARS: Self = Self(u32::MAX);
}

/// Workspaces; more do not fit the status bar of a narrow terminal.
pub const WORKSPACES: usize = 5;

/// Windows that can be open at once: a bound on subscriptions and drawing.
const WINDOWS_MAX: usize = 64;

/// A step of a window's history.
const HISTORY_MAX: usize = 32;

/// A window.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its name.
    pub id: WindowId,
    /// What it shows.
    pub view: View,
    /// What it showed before, newest last.
    pub back: Vec<View>,
    /// What it showed before going back.
    pub forward: Vec<View>,
    /// The filter being typed.
    pub filter_line: Option<Field>,
    /// Whether it floats, and where; set when it was minimised.
    restore: Option<Float>,
}

/// A desk with windows on it.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// Its name.
    pub name: &'static str,
    /// Tiles.
    pub tree: Option<Tree>,
    /// Floats, topmost last.
    pub floats: Vec<Float>,
    /// Put away.
    pub minimised: Vec<WindowId>,
    /// Has the keyboard.
    pub focus: Option<WindowId>,
    /// Takes the whole desktop.
    pub zoomed: Option<WindowId>,
    /// Order in which windows had the focus, newest last: decides which tab shows.
    recent: Vec<WindowId>,
}

/// All windows.
#[derive(Clone, Debug)]
pub struct Desktop {
    /// Every window of every workspace.
    pub windows: BTreeMap<WindowId, Window>,
    /// The desks.
    pub workspaces: [Workspace; WORKSPACES],
    /// The one that shows.
    pub active: usize,
    next: u32,
}

/// Where the windows of the active workspace lie.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// Tiles and the borders between them.
    pub layout: Layout,
    /// Floats from the lowest to the topmost.
    pub floats: Vec<Float>,
}

impl Default for Desktop {
    fn default() -> Self {
        Self::new()
    }
}

impl Desktop {
    /// The built-in windows.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(1)
    }

    fn starting_at(next: u32) -> Self {
        let mut desktop = Self { windows: BTreeMap::new(), workspaces: Default::default(), active: 0, next };
        let mut leaf = |kind: ViewKind| Tree::Leaf(desktop.create(View::new(kind)));
        let overview = Tree::split(
            Axis::Vertical,
            430,
            Tree::split(Axis::Horizontal, 330, leaf(ViewKind::Cluster), leaf(ViewKind::Load)),
            Tree::split(Axis::Horizontal, 500, leaf(ViewKind::Trends), leaf(ViewKind::Events)),
        );
        let nodes = Tree::split(Axis::Vertical, 580, leaf(ViewKind::Nodes), leaf(ViewKind::Node));
        let sessions = Tree::split(
            Axis::Vertical,
            480,
            leaf(ViewKind::Sessions),
            Tree::split(Axis::Horizontal, 620, leaf(ViewKind::Session), leaf(ViewKind::Placement)),
        );
        let recordings =
            Tree::split(Axis::Vertical, 700, leaf(ViewKind::Recordings), leaf(ViewKind::Recorders));
        let events = Tree::split(Axis::Vertical, 300, leaf(ViewKind::Trends), leaf(ViewKind::Events));
        let trees = [
            ("overview", overview, 1),
            ("nodes", nodes, 0),
            ("sessions", sessions, 0),
            ("rec", recordings, 0),
            ("events", events, 1),
        ];
        for (workspace, (name, tree, focus)) in desktop.workspaces.iter_mut().zip(trees) {
            workspace.name = name;
            let window = tree.windows()[focus];
            workspace.tree = Some(tree);
            workspace.set_focus(window);
        }
        desktop
    }

    /// The built-in windows again, on the given workspace.
    pub fn reset(&mut self, active: usize) {
        // Numbers go on: a subscription of an old window must not be taken for that of a new one.
        let next = self.next;
        *self = Self::starting_at(next);
        self.active = active;
    }

    /// The active workspace.
    #[must_use]
    pub fn workspace(&self) -> &Workspace {
        &self.workspaces[self.active]
    }

    /// The active workspace.
    pub fn workspace_mut(&mut self) -> &mut Workspace {
        &mut self.workspaces[self.active]
    }

    /// The window that has the keyboard.
    #[must_use]
    pub fn focused(&self) -> Option<&Window> {
        self.windows.get(&self.workspace().focus?)
    }

    /// The window that has the keyboard.
    pub fn focused_mut(&mut self) -> Option<&mut Window> {
        let focus = self.workspace().focus?;
        self.windows.get_mut(&focus)
    }

    fn create(&mut self, view: View) -> WindowId {
        let id = WindowId(self.next);
        self.next += 1;
        let window = Window { id, view, back: vec![], forward: vec![], filter_line: None, restore: None };
        self.windows.insert(id, window);
        id
    }

    /// Whether another window may be opened.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.windows.len() < WINDOWS_MAX
    }

    /// Opens a window that floats in the middle, a bit lower for each float that is there.
    pub fn open_float(&mut self, view: View, desktop: Rect) -> WindowId {
        let id = self.create(view);
        let shift = u16::try_from(self.workspace().floats.len() % 5).unwrap_or(0);
        let (width, height) = (desktop.width * 7 / 10, desktop.height * 7 / 10);
        let rect = Rect {
            x: desktop.x + (desktop.width - width) / 2 + shift * 2,
            y: desktop.y + (desktop.height - height) / 2 + shift,
            width,
            height,
        };
        let rect = float::clamp(rect, desktop);
        let workspace = self.workspace_mut();
        workspace.floats.push(Float { window: id, rect, pinned: false });
        workspace.zoomed = None;
        workspace.set_focus(id);
        id
    }

    /// Divides the focused window's place; the new window shows the same.
    pub fn split(&mut self, axis: Axis, view: View) {
        let id = self.create(view);
        let workspace = self.workspace_mut();
        workspace.zoomed = None;
        workspace.add_tile(id, axis);
        workspace.set_focus(id);
    }

    /// Closes a window for good.
    pub fn close(&mut self, id: WindowId) {
        for workspace in &mut self.workspaces {
            workspace.remove(id);
        }
        self.windows.remove(&id);
    }

    /// Lifts a tile or docks a float.
    pub fn toggle_float(&mut self, id: WindowId, rect: Rect, desktop: Rect) {
        let workspace = self.workspace_mut();
        if workspace.float(id).is_some() {
            workspace.floats.retain(|float| float.window != id);
            workspace.add_tile(id, Axis::Horizontal);
        } else {
            workspace.detach_tile(id);
            let inset = Rect {
                x: rect.x + 3,
                y: rect.y + 1,
                width: rect.width.saturating_sub(6),
                height: rect.height.saturating_sub(2),
            };
            let rect = float::clamp(inset, desktop);
            workspace.floats.push(Float { window: id, rect, pinned: false });
        }
        workspace.zoomed = None;
        workspace.set_focus(id);
    }

    /// Puts a window away.
    pub fn minimise(&mut self, id: WindowId) {
        let workspace = self.workspace_mut();
        let restore = workspace.float(id).copied();
        workspace.remove(id);
        workspace.minimised.push(id);
        if let Some(window) = self.windows.get_mut(&id) {
            window.restore = restore;
        }
    }

    /// Goes to a window, wherever it is.
    pub fn show(&mut self, id: WindowId) {
        let Some(at) = self.workspaces.iter().position(|workspace| workspace.contains(id)) else { return };
        self.active = at;
        let restore = self.windows.get_mut(&id).and_then(|window| window.restore.take());
        let workspace = self.workspace_mut();
        if workspace.minimised.contains(&id) {
            workspace.minimised.retain(|other| *other != id);
            match restore {
                Some(float) => workspace.floats.push(float),
                None => workspace.add_tile(id, Axis::Horizontal),
            }
        }
        if workspace.zoomed.is_some_and(|zoomed| zoomed != id) {
            workspace.zoomed = None;
        }
        workspace.set_focus(id);
    }

    /// Lays every window of the workspace over the others.
    pub fn cascade(&mut self, desktop: Rect) {
        let workspace = self.workspace_mut();
        let windows = workspace.windows();
        workspace.tree = None;
        workspace.zoomed = None;
        workspace.floats.clear();
        for (index, window) in windows.into_iter().enumerate() {
            let shift = u16::try_from(index % 8).unwrap_or(0);
            let rect = Rect {
                x: desktop.x + 4 * shift,
                y: desktop.y + 2 * shift,
                width: desktop.width * 2 / 3,
                height: desktop.height * 2 / 3,
            };
            workspace.floats.push(Float { window, rect: float::clamp(rect, desktop), pinned: false });
        }
        if let Some(focus) = workspace.focus {
            workspace.raise(focus);
        }
    }

    /// Puts every float of the workspace into a tile.
    pub fn tile_all(&mut self) {
        let workspace = self.workspace_mut();
        workspace.zoomed = None;
        for (index, float) in std::mem::take(&mut workspace.floats).into_iter().enumerate() {
            let axis = if index % 2 == 0 { Axis::Horizontal } else { Axis::Vertical };
            workspace.add_tile(float.window, axis);
        }
        if let Some(tree) = &mut workspace.tree {
            tree.equalise();
        }
    }

    /// Where the windows of the active workspace lie on the given part of the screen.
    #[must_use]
    pub fn place(&self, desktop: Rect) -> Placed {
        let workspace = self.workspace();
        let mut placed = Placed::default();
        if let Some(window) = workspace.zoomed {
            placed.layout.tiles.push(tree::Tile { window, tabs: vec![window], rect: desktop });
        } else if let Some(tree) = &workspace.tree {
            let smallest =
                |id: WindowId| self.windows.get(&id).map_or((1, 1), |window| window.view.kind().smallest());
            let front = |tabs: &[WindowId]| workspace.newest(tabs);
            placed.layout = tree.layout(desktop, &smallest, &front);
        }
        let pinned = self.workspaces.iter().enumerate().filter(|(index, _)| *index != self.active);
        let pinned = pinned.flat_map(|(_, other)| other.floats.iter().filter(|float| float.pinned));
        if workspace.zoomed.is_none() {
            placed.floats = workspace.floats.iter().filter(|float| !float.pinned).copied().collect();
        }
        placed.floats.extend(workspace.floats.iter().filter(|float| float.pinned));
        placed.floats.extend(pinned);
        for float in &mut placed.floats {
            float.rect = float::clamp(float.rect, desktop);
        }
        placed
    }
}

impl Window {
    /// Shows something else; what was shown is one step back.
    pub fn navigate(&mut self, view: View) {
        let before = std::mem::replace(&mut self.view, view);
        if self.back.len() >= HISTORY_MAX {
            self.back.remove(0);
        }
        self.back.push(before);
        self.forward.clear();
        self.filter_line = None;
    }

    /// One step back; false at the beginning.
    pub fn go_back(&mut self) -> bool {
        let Some(view) = self.back.pop() else { return false };
        self.forward.push(std::mem::replace(&mut self.view, view));
        self.filter_line = None;
        true
    }

    /// One step forward; false at the end.
    pub fn go_forward(&mut self) -> bool {
        let Some(view) = self.forward.pop() else { return false };
        self.back.push(std::mem::replace(&mut self.view, view));
        self.filter_line = None;
        true
    }
}

impl Workspace {
    /// Every window that is not put away, tiles first.
    #[must_use]
    pub fn windows(&self) -> Vec<WindowId> {
        let mut windows = self.tree.as_ref().map(Tree::windows).unwrap_or_default();
        windows.extend(self.floats.iter().map(|float| float.window));
        windows
    }

    /// Gives a window the keyboard and lifts it above the other floats.
    pub fn set_focus(&mut self, id: WindowId) {
        self.focus = Some(id);
        self.recent.retain(|other| *other != id);
        self.recent.push(id);
        self.raise(id);
        if self.zoomed.is_some_and(|zoomed| zoomed != id) && self.float(id).is_none() {
            self.zoomed = Some(id);
        }
    }

    /// A float of this workspace.
    #[must_use]
    pub fn float(&self, id: WindowId) -> Option<&Float> {
        self.floats.iter().find(|float| float.window == id)
    }

    /// A float of this workspace.
    pub fn float_mut(&mut self, id: WindowId) -> Option<&mut Float> {
        self.floats.iter_mut().find(|float| float.window == id)
    }

    /// Whether the window is here, shown or put away.
    #[must_use]
    pub fn contains(&self, id: WindowId) -> bool {
        self.windows().contains(&id) || self.minimised.contains(&id)
    }

    fn raise(&mut self, id: WindowId) {
        if let Some(at) = self.floats.iter().position(|float| float.window == id) {
            let float = self.floats.remove(at);
            self.floats.push(float);
        }
    }

    fn newest(&self, of: &[WindowId]) -> WindowId {
        let newest = self.recent.iter().rev().find(|id| of.contains(id));
        *newest.unwrap_or(&of[0])
    }

    fn add_tile(&mut self, id: WindowId, axis: Axis) {
        let beside = self.focus.filter(|focus| *focus != id);
        self.tree = Some(match self.tree.take() {
            None => Tree::Leaf(id),
            Some(mut tree) => {
                let windows = tree.windows();
                let beside = beside.filter(|b| windows.contains(b)).unwrap_or(windows[windows.len() - 1]);
                tree.insert(beside, axis, id);
                tree
            }
        });
    }

    fn detach_tile(&mut self, id: WindowId) {
        self.tree = self.tree.take().and_then(|tree| tree.without(id));
    }

    fn remove(&mut self, id: WindowId) {
        self.detach_tile(id);
        self.floats.retain(|float| float.window != id);
        self.minimised.retain(|other| *other != id);
        self.recent.retain(|other| *other != id);
        if self.zoomed == Some(id) {
            self.zoomed = None;
        }
        if self.focus == Some(id) {
            let windows = self.windows();
            self.focus = (!windows.is_empty()).then(|| self.newest(&windows));
        }
    }
}
