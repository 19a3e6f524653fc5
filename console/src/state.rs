//! Pure: no clock, no I/O, no async.
//!
//! Everything that the console holds. Only [`crate::update`] changes it.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{NodeKey, SessionKey};
use common::wire::operator::Verb as Doing;
use ratatui::layout::Rect;

use crate::desktop::dialog::Dialog;
use crate::desktop::field::Field;
use crate::desktop::tree::Axis;
use crate::desktop::{Desktop, WindowId};
use crate::event::{Key, Target};
use crate::model::{Action, Link, Wanted};
use crate::store::{Age, Store};
use crate::text::Clean;
use crate::theme::{Role, Theme};
use crate::verbs::{Command, Verb, search};
use crate::view::Facts;

/// Smallest screen that shows anything of use.
pub const WIDTH_MIN: u16 = 60;
/// Smallest screen that shows anything of use.
pub const HEIGHT_MIN: u16 = 16;

/// Rows keep their order for this long after a key or the mouse.
const ORDER_KEPT: Duration = Duration::from_secs(2);

/// Names that the palette finds besides commands.
const FOUND_MAX: usize = 8;

/// What stays as it was at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Characters and colours.
    pub theme: Theme,
    /// No operation is offered.
    pub read_only: bool,
    /// The cluster is made up.
    pub demo: bool,
}

/// Something that takes the keyboard from the windows.
#[derive(Clone, Debug)]
pub enum Modal {
    /// The menu of what is selected.
    Context {
        /// Where.
        at: (u16, u16),
        /// Its entries.
        commands: Vec<Command>,
        /// The one under the cursor.
        item: usize,
    },
    /// A question.
    Dialog(Box<Dialog>),
    /// An open menu of the bar.
    Menu {
        /// Which.
        menu: usize,
        /// The entry under the cursor.
        item: usize,
    },
    /// The palette.
    Palette {
        /// What was typed.
        field: Field,
        /// The entry under the cursor.
        item: usize,
    },
    /// All windows.
    Windows {
        /// The entry under the cursor.
        item: usize,
    },
}

/// Something that the palette offers.
#[derive(Clone, Copy, Debug)]
pub enum Offer {
    /// A node to look into.
    Node(NodeKey),
    /// A session to look into.
    Session(SessionKey),
    /// A command.
    Verb(&'static Verb),
}

/// A short message at the lower right.
#[derive(Clone, Debug)]
pub struct Toast {
    /// What.
    pub text: String,
    /// How it looks.
    pub role: Role,
    /// It goes by itself then.
    pub until: Duration,
}

/// What the mouse holds.
#[derive(Clone, Debug)]
pub enum Drag {
    /// A floating window, and where in its title.
    Move {
        /// Which.
        window: WindowId,
        /// Columns from its left edge.
        dx: u16,
    },
    /// The corner of a floating window.
    Resize(WindowId),
    /// A border between tiles.
    Split {
        /// Turns from the root.
        path: Vec<bool>,
        /// How the parts lie.
        axis: Axis,
        /// Both parts together.
        area: Rect,
    },
    /// The title of a tile, not moved yet.
    Tile {
        /// Which.
        window: WindowId,
        /// Where the button went down.
        from: (u16, u16),
    },
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Time of the last event.
    pub now: Duration,
    /// What stays.
    pub settings: Settings,
    /// What is known of the cluster.
    pub store: Store,
    /// Windows.
    pub desktop: Desktop,
    /// What takes the keyboard from them.
    pub modal: Option<Modal>,
    /// Short messages, newest last.
    pub toasts: Vec<Toast>,
    /// Keys of a sequence pressed so far.
    pub pressed: Vec<Key>,
    /// The mouse is the console's.
    pub mouse: bool,
    /// What the mouse holds.
    pub drag: Option<Drag>,
    /// What windows are subscribed to.
    pub subscribed: BTreeMap<WindowId, Wanted>,
    /// Operations without an answer yet.
    pub operations: BTreeMap<u64, (Action, Clean)>,
    pub(crate) next_op: u64,
    pub(crate) last_input: Option<Duration>,
    pub(crate) last_press: Option<(Duration, Target)>,
}

impl State {
    /// The built-in desktop on a screen of this size, knowing nothing yet. `first_op` starts the numbers of
    /// operations; it must not be that of another console of this operator.
    #[must_use]
    pub fn new(settings: Settings, size: (u16, u16), first_op: u64) -> Self {
        Self {
            size,
            now: Duration::ZERO,
            settings,
            store: Store::default(),
            desktop: Desktop::new(),
            modal: None,
            toasts: Vec::new(),
            pressed: Vec::new(),
            mouse: true,
            drag: None,
            subscribed: BTreeMap::new(),
            operations: BTreeMap::new(),
            next_op: first_op,
            last_input: None,
            last_press: None,
        }
    }

    /// What views are drawn from.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let keep_order = self.last_input.is_some_and(|at| self.now.saturating_sub(at) < ORDER_KEPT);
        Facts { store: &self.store, now: self.now, theme: self.settings.theme, keep_order }
    }

    /// The part of the screen between menu bar and status bar.
    #[must_use]
    pub const fn desktop_area(&self) -> Rect {
        Rect { x: 0, y: 1, width: self.size.0, height: self.size.1.saturating_sub(2) }
    }

    /// Whether the screen is too small for anything.
    #[must_use]
    pub const fn too_small(&self) -> bool {
        self.size.0 < WIDTH_MIN || self.size.1 < HEIGHT_MIN
    }

    /// Says something for a while.
    pub fn toast(&mut self, text: impl Into<String>, role: Role) {
        let until = self.now + Duration::from_secs(if role == Role::Text { 4 } else { 8 });
        self.toasts.push(Toast { text: text.into(), role, until });
        if self.toasts.len() > 4 {
            self.toasts.remove(0);
        }
    }

    /// What an operation on what is selected would be, and what it is called.
    #[must_use]
    pub fn target_of(&self, action: Action) -> Option<(Doing, Clean)> {
        let window = self.desktop.focused()?;
        let (view, store, id) = (&window.view, &self.store, window.id);
        let session = || store.session(view.session(store, id)?).map(|session| session.name.clone());
        let node = || store.node(view.node(store, id)?).map(|entry| entry.node.name.clone());
        let text = |name: &Clean| name.to_string();
        let doing = match action {
            Action::CloseSession => {
                let session = session()?;
                (Doing::SessionClose { session: text(&session) }, session)
            }
            Action::StartRecording => {
                let session = session()?;
                (Doing::RecordingStart { session: text(&session), individual: false }, session)
            }
            Action::Drain => {
                let node = node()?;
                (Doing::NodeDrain { node: text(&node) }, node)
            }
            Action::RemoveNode => {
                let node = node()?;
                (Doing::NodeRemove { node: text(&node) }, node)
            }
            Action::Undrain => {
                let node = node()?;
                (Doing::NodeUndrain { node: text(&node) }, node)
            }
            Action::Evict => {
                let connection = view.connection(store, id)?;
                let verb =
                    Doing::ConnectionEvict { session: text(&session()?), connection: text(&connection) };
                (verb, connection)
            }
            Action::Unpublish => {
                let stream = view.stream(store, id)?;
                (Doing::StreamUnpublish { session: text(&session()?), stream: text(&stream) }, stream)
            }
            Action::StopRecording => {
                let (recording, _) = view.recording(store, id)?;
                (Doing::RecordingStop { recording: text(&recording) }, recording)
            }
            Action::DeleteRecording => {
                let (recording, _) = view.recording(store, id)?;
                (Doing::RecordingDelete { recording: text(&recording) }, recording)
            }
        };
        Some(doing)
    }

    /// Why a command is off now; none when it is on.
    #[must_use]
    pub fn unavailable(&self, command: Command) -> Option<String> {
        if let Command::Act(action) = command {
            return self.action_unavailable(action);
        }
        let window = self.desktop.focused();
        let view = window.map(|window| &window.view);
        let off = |why: &str| Some(why.to_owned());
        let needs_table =
            [Command::Filter, Command::ClearFilter, Command::Sort, Command::SortReverse, Command::Hold];
        if needs_table.contains(&command) && view.is_none_or(|view| view.table().is_none()) {
            return off("this window has no rows");
        }
        if command == Command::Back && window.is_none_or(|window| window.back.is_empty()) {
            return off("nothing before this");
        }
        if command == Command::Forward && window.is_none_or(|window| window.forward.is_empty()) {
            return off("nothing after this");
        }
        if matches!(command, Command::Open | Command::OpenFloat)
            && window.is_none_or(|window| window.view.opened(&self.store, window.id).is_none())
        {
            return off("nothing to look into");
        }
        if command == Command::Explain
            && window.is_none_or(|window| window.view.session(&self.store, window.id).is_none())
        {
            return off("no session is selected");
        }
        if command == Command::Pin {
            let floats = window.is_some_and(|window| self.desktop.workspace().float(window.id).is_some());
            return if floats { None } else { off("only floating windows stay on every workspace") };
        }
        if command == Command::Retry && matches!(self.store.link, Some(Link::Up(_))) {
            return off("the link is up");
        }
        let opens = matches!(command, Command::New(_) | Command::SplitDown | Command::SplitRight);
        if opens && !self.desktop.has_room() {
            return off("too many windows are open");
        }
        None
    }

    fn action_unavailable(&self, action: Action) -> Option<String> {
        let off = |why: &str| Some(why.to_owned());
        if self.settings.read_only {
            return off("started with --read-only");
        }
        let Some(Link::Up(welcome)) = &self.store.link else { return off("the link is down") };
        if !matches!(self.store.age(self.now), Age::Live | Age::Late(_)) {
            return off("what is shown is stale");
        }
        if !welcome.may_act {
            return Some(format!("{} may only look", welcome.operator));
        }
        if action.needs_admin() && !welcome.may_admin {
            return Some(format!("{} may not change the cluster itself", welcome.operator));
        }
        let Some((_, target)) = self.target_of(action) else { return off("nothing for it is selected") };
        let busy = self.operations.values().any(|(_, other)| *other == target);
        if busy { off("an operation on it is under way") } else { None }
    }

    /// What the palette offers for a text: commands, then nodes and sessions of that name.
    #[must_use]
    pub fn offers(&self, text: &str) -> Vec<Offer> {
        let mut offers: Vec<Offer> = search(text).into_iter().map(Offer::Verb).collect();
        let wanted = text.trim().to_lowercase();
        if wanted.len() >= 2 {
            let nodes =
                self.store.nodes.iter().filter(|entry| entry.node.name.to_lowercase().contains(&wanted));
            let sessions = self.store.sessions.iter().filter(|s| s.name.to_lowercase().contains(&wanted));
            offers.extend(nodes.take(FOUND_MAX).map(|entry| Offer::Node(entry.node.key)));
            offers.extend(sessions.take(FOUND_MAX).map(|session| Offer::Session(session.key)));
        }
        offers
    }

    /// All windows with the number of their workspace, in the order of the list.
    #[must_use]
    pub fn window_list(&self) -> Vec<(usize, WindowId)> {
        let mut list = Vec::new();
        for (index, workspace) in self.desktop.workspaces.iter().enumerate() {
            list.extend(workspace.windows().into_iter().map(|id| (index, id)));
            list.extend(workspace.minimised.iter().map(|id| (index, *id)));
        }
        list
    }

    /// When something that shows changes by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let toast = self.toasts.iter().map(|toast| toast.until).min();
        let aging = self.store.received.and_then(|received| {
            let next = |age: Duration| {
                self.now + (Duration::from_secs(1) - Duration::from_nanos(age.subsec_nanos().into()))
            };
            match self.store.age(self.now) {
                Age::Live => Some(received + 2 * crate::store::INTERVAL + Duration::from_millis(1)),
                Age::Late(_) | Age::Stale(_) => Some(next(self.now.saturating_sub(received))),
                Age::Unknown => None,
            }
        });
        // Made-up clusters that stand still do not age.
        let aging = if self.store.is_still() { None } else { aging };
        [toast, aging].into_iter().flatten().min()
    }
}
