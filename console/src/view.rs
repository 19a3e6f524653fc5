//! Pure: no clock, no I/O, no async.
//!
//! What windows show. A view reads the [`Store`], keeps where the user is in it, and owns what it asks the source for.
//! [`View::settle`] brings it up to date before each frame; [`View::draw`] changes nothing.

pub mod cluster;
pub mod help;
pub mod node;
pub mod placement;
pub mod session;
pub mod table;
pub mod trends;

use std::time::Duration;

use common::id::{NodeKey, SessionKey};
use common::wire::operator::Topic;
use ratatui::layout::Rect;

use self::node::NodeView;
use self::placement::PlacementView;
use self::session::SessionView;
use self::table::TableView;
use crate::desktop::WindowId;
use crate::model::Wanted;
use crate::store::{Age, Store};
use crate::text::Clean;
use crate::theme::{Role, Theme};
use crate::verbs::Command;
use crate::widget::canvas::Canvas;

/// The kinds of views.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ViewKind {
    /// Figures of the cluster.
    Cluster,
    /// Changes seen.
    Events,
    /// Keys and filter language.
    Help,
    /// Load of each node over time.
    Load,
    /// One node.
    Node,
    /// Nodes.
    Nodes,
    /// Why a session runs where it runs.
    Placement,
    /// Recorders.
    Recorders,
    /// Recordings.
    Recordings,
    /// One session.
    Session,
    /// Sessions.
    Sessions,
    /// Totals over time.
    Trends,
}

/// What a window shows, with where the user is in it.
#[derive(Clone, Debug)]
pub enum View {
    /// Figures of the cluster.
    Cluster(Scroll),
    /// Keys and filter language.
    Help(Scroll),
    /// One node.
    Node(NodeView),
    /// Why a session runs where it runs.
    Placement(PlacementView),
    /// One session.
    Session(SessionView),
    /// Rows of nodes, sessions or events.
    Table(Box<TableView>),
    /// Totals over time.
    Trends(Scroll),
}

/// What a view is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Everything known.
    pub store: &'a Store,
    /// Time of this frame.
    pub now: Duration,
    /// Characters and colours.
    pub theme: Theme,
    /// The user is at work: rows keep their order for now.
    pub keep_order: bool,
}

impl Facts<'_> {
    /// Time since the overview came; none goes by in a made-up cluster that stands still.
    #[must_use]
    pub fn since(&self) -> Duration {
        match self.store.received {
            Some(received) if !self.store.is_still() => self.now.saturating_sub(received),
            _ => Duration::ZERO,
        }
    }
}

/// A line of text in pieces.
pub type Line = Vec<(String, Role)>;

/// Where a text view is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Scroll {
    /// First line that shows.
    pub offset: usize,
    lines: usize,
    height: usize,
}

impl Scroll {
    /// Takes in how much there is and how much of it shows.
    pub fn settle(&mut self, lines: usize, height: u16) {
        self.lines = lines;
        self.height = usize::from(height);
        self.offset = self.offset.min(lines.saturating_sub(self.height));
    }

    /// Moves; false for other commands.
    pub fn handle(&mut self, command: Command) -> bool {
        let page = self.height.saturating_sub(1).max(1);
        let last = self.lines.saturating_sub(self.height);
        let to = match motion(command) {
            Some(Motion::By(by)) => self.offset.saturating_add_signed(by),
            Some(Motion::Pages(by)) => {
                self.offset.saturating_add_signed(by.saturating_mul(page.cast_signed()))
            }
            Some(Motion::First) => 0,
            Some(Motion::Last) => last,
            None => return false,
        };
        self.offset = to.min(last);
        true
    }
}

/// A movement along rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Motion {
    /// By rows.
    By(isize),
    /// To the first.
    First,
    /// To the last.
    Last,
    /// By pages.
    Pages(isize),
}

/// The movement along rows that a command means.
#[must_use]
pub fn motion(command: Command) -> Option<Motion> {
    const MOTIONS: [(Command, Motion); 6] = [
        (Command::Up, Motion::By(-1)),
        (Command::Down, Motion::By(1)),
        (Command::PageUp, Motion::Pages(-1)),
        (Command::PageDown, Motion::Pages(1)),
        (Command::First, Motion::First),
        (Command::Last, Motion::Last),
    ];
    MOTIONS.iter().find(|(known, _)| *known == command).map(|(_, motion)| *motion)
}

impl ViewKind {
    /// Columns and rows that a window needs to be of use, frame included.
    #[must_use]
    pub const fn smallest(self) -> (u16, u16) {
        match self {
            Self::Cluster => (37, 11),
            Self::Events => (60, 5),
            Self::Help => (40, 5),
            Self::Load => (40, 7),
            Self::Node => (40, 8),
            Self::Nodes | Self::Recorders => (44, 7),
            Self::Recordings => (48, 6),
            Self::Placement => (46, 7),
            Self::Session => (44, 7),
            Self::Sessions => (48, 7),
            Self::Trends => (40, 6),
        }
    }

    /// Its name in titles and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Events => "Events",
            Self::Help => "Help",
            Self::Load => "Load over time",
            Self::Node => "Node",
            Self::Nodes => "Nodes",
            Self::Placement => "Placement",
            Self::Recorders => "Recorders",
            Self::Recordings => "Recordings",
            Self::Session => "Session",
            Self::Sessions => "Sessions",
            Self::Trends => "Trends",
        }
    }
}

impl View {
    /// A fresh view; those of one thing follow what is selected elsewhere on the workspace.
    #[must_use]
    pub fn new(kind: ViewKind) -> Self {
        match kind {
            ViewKind::Cluster => Self::Cluster(Scroll::default()),
            ViewKind::Help => Self::Help(Scroll::default()),
            ViewKind::Node => Self::Node(NodeView::following()),
            ViewKind::Placement => Self::Placement(PlacementView::following()),
            ViewKind::Session => Self::Session(SessionView::following()),
            ViewKind::Trends => Self::Trends(Scroll::default()),
            ViewKind::Events
            | ViewKind::Load
            | ViewKind::Nodes
            | ViewKind::Recorders
            | ViewKind::Recordings
            | ViewKind::Sessions => Self::Table(Box::new(TableView::new(kind))),
        }
    }

    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> ViewKind {
        match self {
            Self::Cluster(_) => ViewKind::Cluster,
            Self::Help(_) => ViewKind::Help,
            Self::Node(_) => ViewKind::Node,
            Self::Placement(_) => ViewKind::Placement,
            Self::Session(_) => ViewKind::Session,
            Self::Table(table) => table.kind,
            Self::Trends(_) => ViewKind::Trends,
        }
    }

    /// What the view watches while it shows.
    #[must_use]
    pub fn wanted(&self) -> Option<Wanted> {
        match self {
            Self::Cluster(_) | Self::Trends(_) => Some(Wanted::one(Topic::Head)),
            Self::Help(_) => None,
            Self::Node(view) => view.node.map(|node| Wanted::one(Topic::Node(node))),
            Self::Placement(view) => view.wanted(),
            Self::Session(view) => view.wanted(),
            Self::Table(table) => Some(table.wanted()),
        }
    }

    /// What stands in the title after the window's number.
    #[must_use]
    pub fn title(&self, facts: &Facts<'_>) -> String {
        match self {
            Self::Node(view) => view.title(facts),
            Self::Placement(view) => view.title(facts),
            Self::Session(view) => view.title(facts),
            Self::Table(table) => table.title(),
            Self::Cluster(_) | Self::Help(_) | Self::Trends(_) => self.kind().name().to_owned(),
        }
    }

    /// What stands at the right of the title: counts and order.
    #[must_use]
    pub fn remark(&self, facts: &Facts<'_>) -> String {
        match self {
            Self::Session(view) => view.remark(facts),
            Self::Table(table) => table.remark(),
            Self::Cluster(_) | Self::Help(_) | Self::Node(_) | Self::Placement(_) => String::new(),
            Self::Trends(_) => "last 5 min".to_owned(),
        }
    }

    /// Age of what is shown; none for what has no age.
    #[must_use]
    pub fn age(&self, facts: &Facts<'_>, window: WindowId) -> Option<Age> {
        self.wanted().map(|_| facts.store.age_of(facts.now, window))
    }

    /// Brings the view up to date with what is known and with the room that it has.
    pub fn settle(&mut self, facts: &Facts<'_>, window: WindowId, area: Rect) {
        match self {
            Self::Cluster(scroll) => scroll.settle(cluster::lines(facts).len(), area.height),
            Self::Help(scroll) => scroll.settle(help::lines().len(), area.height),
            Self::Node(view) => view.settle(facts, window, area),
            Self::Placement(view) => view.settle(facts, window, area),
            Self::Session(view) => view.settle(facts, window, area),
            Self::Table(table) => table.settle(facts, window, area),
            Self::Trends(scroll) => scroll.settle(trends::ROWS, area.height),
        }
    }

    /// Draws the body of the window.
    pub fn draw(
        &self,
        facts: &Facts<'_>,
        canvas: &mut Canvas<'_>,
        area: Rect,
        window: WindowId,
        focused: bool,
    ) {
        match self {
            Self::Cluster(scroll) => draw_lines(canvas, area, &cluster::lines(facts), scroll.offset),
            Self::Help(scroll) => draw_lines(canvas, area, &help::lines(), scroll.offset),
            Self::Node(view) => view.draw(facts, canvas, area, window),
            Self::Placement(view) => view.draw(facts, canvas, area, window),
            Self::Session(view) => view.draw(facts, canvas, area, window, focused),
            Self::Table(table) => table.draw(facts, canvas, area, window, focused),
            Self::Trends(scroll) => trends::draw(facts, canvas, area, scroll.offset),
        }
    }

    /// Moves within the view and changes how it shows; false when the command is not the view's.
    pub fn handle(&mut self, command: Command) -> bool {
        match self {
            Self::Cluster(scroll) | Self::Help(scroll) | Self::Trends(scroll) => scroll.handle(command),
            Self::Node(view) => view.scroll.handle(command),
            Self::Placement(view) => view.scroll.handle(command),
            Self::Session(view) => view.handle(command),
            Self::Table(table) => table.handle(command),
        }
    }

    /// Selects the row that was clicked, counted from the first that shows.
    pub fn click(&mut self, row: usize) {
        match self {
            Self::Table(table) => table.click(row),
            Self::Session(view) => view.click(row),
            Self::Cluster(_) | Self::Help(_) | Self::Node(_) | Self::Placement(_) | Self::Trends(_) => {}
        }
    }

    /// The node that is selected or shown.
    #[must_use]
    pub fn node(&self, store: &Store, window: WindowId) -> Option<NodeKey> {
        match self {
            Self::Node(view) => view.node,
            Self::Table(table) => table.selected_node(store, window),
            Self::Session(_) | Self::Placement(_) => self
                .session(store, window)
                .and_then(|key| store.session(key))
                .and_then(|session| session.node),
            Self::Cluster(_) | Self::Help(_) | Self::Trends(_) => None,
        }
    }

    /// The session that is selected or shown.
    #[must_use]
    pub fn session(&self, store: &Store, window: WindowId) -> Option<SessionKey> {
        match self {
            Self::Placement(view) => view.session,
            Self::Session(view) => view.session,
            Self::Table(table) => table.selected_session(store, window),
            Self::Cluster(_) | Self::Help(_) | Self::Node(_) | Self::Trends(_) => None,
        }
    }

    /// The connection that is selected.
    #[must_use]
    pub fn connection(&self, store: &Store, window: WindowId) -> Option<Clean> {
        match self {
            Self::Session(view) => view.connection(store, window),
            Self::Cluster(_)
            | Self::Help(_)
            | Self::Node(_)
            | Self::Placement(_)
            | Self::Table(_)
            | Self::Trends(_) => None,
        }
    }

    /// Shows what is selected elsewhere, if the view follows.
    pub fn follow(&mut self, node: Option<NodeKey>, session: Option<SessionKey>) {
        match self {
            Self::Node(view) if view.follows && node.is_some() => view.node = node,
            Self::Placement(view) if view.follows && session.is_some() => view.session = session,
            Self::Session(view) if view.follows && session.is_some() => view.session = session,
            Self::Cluster(_)
            | Self::Help(_)
            | Self::Node(_)
            | Self::Placement(_)
            | Self::Session(_)
            | Self::Table(_)
            | Self::Trends(_) => {}
        }
    }

    /// The stream that is selected: its public name.
    #[must_use]
    pub fn stream(&self, store: &Store, window: WindowId) -> Option<Clean> {
        if let Self::Session(view) = self { view.stream(store, window) } else { None }
    }

    /// The recording that is selected: its public name and that of its session.
    #[must_use]
    pub fn recording(&self, store: &Store, window: WindowId) -> Option<(Clean, Clean)> {
        self.table().and_then(|table| table.selected_recording(store, window))
    }

    /// The view that opens on what is selected.
    #[must_use]
    pub fn opened(&self, store: &Store, window: WindowId) -> Option<Self> {
        let (session, node) = (self.session(store, window), self.node(store, window));
        match self {
            Self::Table(table) if matches!(table.kind, ViewKind::Sessions) => {
                session.map(|key| Self::Session(SessionView::of(key)))
            }
            Self::Table(_) => match (session, node) {
                (Some(session), _) => Some(Self::Session(SessionView::of(session))),
                (None, Some(node)) => Some(Self::Node(NodeView::of(node))),
                (None, None) => None,
            },
            Self::Placement(_) => session.map(|key| Self::Session(SessionView::of(key))),
            Self::Session(_) => node.map(|key| Self::Node(NodeView::of(key))),
            Self::Node(view) => {
                let node = view.node.and_then(|key| store.node(key))?;
                let mut table = TableView::new(ViewKind::Sessions);
                table.set_filter(&format!("node={}", &*node.node.name));
                Some(Self::Table(Box::new(table)))
            }
            Self::Cluster(_) => Some(Self::new(ViewKind::Nodes)),
            Self::Help(_) | Self::Trends(_) => None,
        }
    }

    /// The table in it, if it is one.
    pub fn table_mut(&mut self) -> Option<&mut TableView> {
        match self {
            Self::Table(table) => Some(table),
            Self::Cluster(_)
            | Self::Help(_)
            | Self::Node(_)
            | Self::Placement(_)
            | Self::Session(_)
            | Self::Trends(_) => None,
        }
    }

    /// The table in it, if it is one.
    #[must_use]
    pub fn table(&self) -> Option<&TableView> {
        match self {
            Self::Table(table) => Some(table),
            Self::Cluster(_)
            | Self::Help(_)
            | Self::Node(_)
            | Self::Placement(_)
            | Self::Session(_)
            | Self::Trends(_) => None,
        }
    }
}

/// Draws the lines that fit.
pub fn draw_lines(canvas: &mut Canvas<'_>, area: Rect, lines: &[Line], offset: usize) {
    for (row, line) in (0..area.height).zip(lines.iter().skip(offset)) {
        let parts: Vec<(&str, Role)> = line.iter().map(|(text, role)| (text.as_str(), *role)).collect();
        canvas.line(area, row, &parts);
    }
}
