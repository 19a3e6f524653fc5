//! Pure: no clock, no I/O, no async.
//!
//! The registry of everything that can be told to the console. Menus, palette, key table and help are made from it.

use crate::desktop::tree::Direction;
use crate::model::Action;
use crate::view::ViewKind;

/// Something that the user can tell the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Ask for an operation on what is selected.
    Act(Action),
    /// Back in the window's history.
    Back,
    /// Lay all windows of the workspace over each other.
    Cascade,
    /// No filter any more.
    ClearFilter,
    /// Close the window.
    Close,
    /// Open the menu for what is selected.
    ContextMenu,
    /// Name of what is selected to the clipboard.
    CopyName,
    /// Row of what is selected to the clipboard, as JSON.
    CopyRow,
    /// One row down.
    Down,
    /// Equal sizes.
    Equalise,
    /// Why is this so.
    Explain,
    /// Edit the filter.
    Filter,
    /// To the first row.
    First,
    /// Lift the window off the tiles, or put it back.
    Float,
    /// To another tile.
    Focus(Direction),
    /// Forward in the window's history.
    Forward,
    /// The keys.
    Help,
    /// Stop the order of rows, or follow the newest entry.
    Hold,
    /// To the last row.
    Last,
    /// To the left.
    Left,
    /// Open the menu bar.
    Menu,
    /// Another measure.
    Metric,
    /// Put the window away.
    Minimise,
    /// Less columns.
    Narrower,
    /// Open a view in a new window.
    New(ViewKind),
    /// To the next window.
    NextWindow,
    /// Close all other windows of the workspace.
    Only,
    /// Look into what is selected.
    Open,
    /// Look into what is selected, in a window of its own.
    OpenFloat,
    /// One step outward.
    Out,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// Open the palette.
    Palette,
    /// Keep a floating window on every workspace.
    Pin,
    /// To the window before.
    PreviousWindow,
    /// End.
    Quit,
    /// Draw everything again.
    Redraw,
    /// The built-in windows again.
    ResetLayout,
    /// Try the link at once.
    Retry,
    /// To the right.
    Right,
    /// Less rows.
    Shorter,
    /// Sort by the next column.
    Sort,
    /// Sort the other way round.
    SortReverse,
    /// Divide the window into an upper and a lower one.
    SplitDown,
    /// Divide the window into a left and a right one.
    SplitRight,
    /// Stop the process.
    Suspend,
    /// Exchange the window with its neighbour.
    Swap(Direction),
    /// More rows.
    Taller,
    /// Put all floating windows of the workspace into tiles.
    TileAll,
    /// Leave the mouse to the terminal, or take it back.
    ToggleMouse,
    /// One row up.
    Up,
    /// More columns.
    Wider,
    /// All windows of all workspaces.
    WindowList,
    /// To a workspace, from 0.
    Workspace(usize),
    /// The whole desktop for this window.
    Zoom,
}

/// Menus of the menu bar, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Menu {
    /// The program itself.
    Console,
    /// Nodes.
    Nodes,
    /// Sessions.
    Sessions,
    /// Recordings.
    Recordings,
    /// What a window shows.
    View,
    /// Windows.
    Window,
    /// Help.
    Help,
    /// In no menu: movements.
    None,
}

/// How much harm something can do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Harm {
    /// Only looks.
    Look,
    /// Small, can be taken back.
    Small,
    /// Hurts some participants.
    Some,
    /// Hurts the cluster.
    Cluster,
}

/// An entry of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// What it does.
    pub command: Command,
    /// Its name in the palette.
    pub name: &'static str,
    /// What it does, in words.
    pub title: &'static str,
    /// Where it is found.
    pub menu: Menu,
    /// How much harm it can do.
    pub harm: Harm,
}

impl Menu {
    /// Those of the menu bar.
    pub const BAR: [Self; 7] =
        [Self::Console, Self::Nodes, Self::Sessions, Self::Recordings, Self::View, Self::Window, Self::Help];

    /// Its title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Console => "Console",
            Self::Help => "Help",
            Self::Nodes => "Nodes",
            Self::None => "Move",
            Self::Recordings => "Rec",
            Self::Sessions => "Sessions",
            Self::View => "View",
            Self::Window => "Window",
        }
    }
}

const fn look(command: Command, name: &'static str, title: &'static str, menu: Menu) -> Verb {
    Verb { command, name, title, menu, harm: Harm::Look }
}

const fn act(action: Action, name: &'static str, title: &'static str, menu: Menu, harm: Harm) -> Verb {
    Verb { command: Command::Act(action), name, title, menu, harm }
}

/// Everything, in the order of the menus.
pub const VERBS: &[Verb] = &[
    look(Command::Palette, "palette", "Find a command", Menu::Console),
    look(Command::Retry, "link retry", "Try the link again now", Menu::Console),
    look(Command::ToggleMouse, "mouse", "Mouse for the console or for the terminal", Menu::Console),
    look(Command::Redraw, "redraw", "Draw the screen again", Menu::Console),
    look(Command::Suspend, "suspend", "Back to the shell for a while", Menu::Console),
    look(Command::Quit, "quit", "Leave the console", Menu::Console),
    look(Command::New(ViewKind::Nodes), "view nodes", "Nodes in a new window", Menu::Nodes),
    look(Command::New(ViewKind::Load), "view load", "Load over time in a new window", Menu::Nodes),
    look(Command::New(ViewKind::Node), "view node", "The selected node in a new window", Menu::Nodes),
    look(Command::New(ViewKind::Recorders), "view recorders", "Recorders in a new window", Menu::Nodes),
    act(Action::Drain, "node drain", "Drain the node ...", Menu::Nodes, Harm::Cluster),
    act(Action::Undrain, "node undrain", "Take the node back ...", Menu::Nodes, Harm::Small),
    act(Action::RemoveNode, "node remove", "Remove the node ...", Menu::Nodes, Harm::Cluster),
    look(Command::New(ViewKind::Sessions), "view sessions", "Sessions in a new window", Menu::Sessions),
    look(
        Command::New(ViewKind::Session),
        "view session",
        "The selected session in a new window",
        Menu::Sessions,
    ),
    look(Command::Explain, "explain", "Why it runs where it runs", Menu::Sessions),
    act(Action::CloseSession, "session close", "Close the session ...", Menu::Sessions, Harm::Some),
    act(Action::Evict, "connection evict", "End the connection ...", Menu::Sessions, Harm::Some),
    act(Action::Unpublish, "stream unpublish", "End the stream ...", Menu::Sessions, Harm::Some),
    look(
        Command::New(ViewKind::Recordings),
        "view recordings",
        "Recordings in a new window",
        Menu::Recordings,
    ),
    act(Action::StartRecording, "record start", "Record the session ...", Menu::Recordings, Harm::Small),
    act(Action::StopRecording, "record stop", "End the recording ...", Menu::Recordings, Harm::Some),
    act(Action::DeleteRecording, "record delete", "Delete the recording ...", Menu::Recordings, Harm::Some),
    look(Command::Open, "open", "Look into what is selected", Menu::View),
    look(Command::OpenFloat, "open floating", "Look into it in a floating window", Menu::View),
    look(Command::Back, "back", "Back in this window", Menu::View),
    look(Command::Forward, "forward", "Forward in this window", Menu::View),
    look(Command::Filter, "filter", "Filter or search", Menu::View),
    look(Command::ClearFilter, "filter clear", "Clear the filter", Menu::View),
    look(Command::Sort, "sort", "Sort by the next column", Menu::View),
    look(Command::SortReverse, "sort reverse", "Sort the other way round", Menu::View),
    look(Command::Hold, "hold", "Hold the order of rows; follow the newest event", Menu::View),
    look(Command::Metric, "metric", "Another measure over time", Menu::View),
    look(Command::CopyName, "copy name", "Copy the name", Menu::View),
    look(Command::CopyRow, "copy row", "Copy the row as JSON", Menu::View),
    look(Command::New(ViewKind::Cluster), "view cluster", "Cluster figures in a new window", Menu::View),
    look(Command::New(ViewKind::Trends), "view trends", "Trends in a new window", Menu::View),
    look(Command::New(ViewKind::Events), "view events", "Events in a new window", Menu::View),
    look(Command::WindowList, "windows", "All windows", Menu::Window),
    look(Command::NextWindow, "window next", "Next window", Menu::Window),
    look(Command::PreviousWindow, "window previous", "Previous window", Menu::Window),
    look(Command::SplitRight, "window split right", "Split: left and right", Menu::Window),
    look(Command::SplitDown, "window split down", "Split: above and below", Menu::Window),
    look(Command::Float, "window float", "Float or dock", Menu::Window),
    look(Command::Pin, "window pin", "Keep on every workspace", Menu::Window),
    look(Command::Zoom, "window zoom", "Zoom or restore", Menu::Window),
    look(Command::Minimise, "window minimise", "Put away (All windows brings it back)", Menu::Window),
    look(Command::Only, "window only", "Close the others", Menu::Window),
    look(Command::Equalise, "window equal", "Equal sizes", Menu::Window),
    look(Command::TileAll, "window tile all", "Tile all", Menu::Window),
    look(Command::Cascade, "window cascade", "Cascade all", Menu::Window),
    look(Command::ResetLayout, "layout reset", "Built-in windows again", Menu::Window),
    look(Command::Close, "window close", "Close", Menu::Window),
    look(Command::Help, "help", "Keys and filter language", Menu::Help),
    look(Command::Menu, "menu", "Open the menu bar", Menu::Help),
    look(Command::ContextMenu, "context menu", "Menu for what is selected", Menu::Help),
    look(Command::Workspace(0), "workspace overview", "Workspace 1: overview", Menu::None),
    look(Command::Workspace(1), "workspace nodes", "Workspace 2: nodes", Menu::None),
    look(Command::Workspace(2), "workspace sessions", "Workspace 3: sessions", Menu::None),
    look(Command::Workspace(3), "workspace recordings", "Workspace 4: recorders and recordings", Menu::None),
    look(Command::Workspace(4), "workspace events", "Workspace 5: events", Menu::None),
    look(Command::Up, "up", "One row up", Menu::None),
    look(Command::Down, "down", "One row down", Menu::None),
    look(Command::Left, "left", "Left", Menu::None),
    look(Command::Right, "right", "Right", Menu::None),
    look(Command::PageUp, "page up", "A page up", Menu::None),
    look(Command::PageDown, "page down", "A page down", Menu::None),
    look(Command::First, "first", "To the first row", Menu::None),
    look(Command::Last, "last", "To the last row", Menu::None),
    look(Command::Out, "out", "One step outward: unzoom, back, clear the filter", Menu::None),
    look(Command::Focus(Direction::Left), "focus left", "To the window on the left", Menu::None),
    look(Command::Focus(Direction::Down), "focus down", "To the window below", Menu::None),
    look(Command::Focus(Direction::Up), "focus up", "To the window above", Menu::None),
    look(Command::Focus(Direction::Right), "focus right", "To the window on the right", Menu::None),
    look(Command::Swap(Direction::Left), "swap left", "Exchange with the left", Menu::None),
    look(Command::Swap(Direction::Down), "swap down", "Exchange with the one below", Menu::None),
    look(Command::Swap(Direction::Up), "swap up", "Exchange with the one above", Menu::None),
    look(Command::Swap(Direction::Right), "swap right", "Exchange with the right", Menu::None),
    look(Command::Wider, "window wider", "Wider", Menu::None),
    look(Command::Narrower, "window narrower", "Narrower", Menu::None),
    look(Command::Taller, "window taller", "Taller", Menu::None),
    look(Command::Shorter, "window shorter", "Shorter", Menu::None),
];

/// The registry's entry for a command; `New(Placement)` and such that have none are not offered anywhere.
#[must_use]
pub fn verb(command: Command) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.command == command)
}

/// Entries of a menu.
#[must_use]
pub fn entries(menu: Menu) -> Vec<&'static Verb> {
    VERBS.iter().filter(|verb| verb.menu == menu).collect()
}

/// Verbs whose name or title fits what was typed, best first.
#[must_use]
pub fn search(text: &str) -> Vec<&'static Verb> {
    let wanted = text.to_lowercase();
    let mut found: Vec<(u32, &'static Verb)> = VERBS
        .iter()
        .filter_map(|verb| {
            let by_name = score(&wanted, verb.name).map(|s| s + 10);
            let by_title = score(&wanted, &verb.title.to_lowercase());
            Some((by_name.max(by_title)?, verb))
        })
        .collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, verb)| verb).collect()
}

/// How well a text holds the wanted characters in order; none when it does not. Beginnings of words and runs count
/// more.
fn score(wanted: &str, text: &str) -> Option<u32> {
    let mut score = 0;
    let mut last = None;
    let mut chars = text.chars().enumerate();
    let starts: Vec<bool> = std::iter::once(true).chain(text.chars().map(|c| c == ' ')).collect();
    for c in wanted.chars().filter(|c| *c != ' ') {
        let (at, _) = chars.find(|(_, other)| *other == c)?;
        score += 1;
        if starts.get(at).copied().unwrap_or(false) {
            score += 8;
        }
        if last.is_some_and(|last| last + 1 == at) {
            score += 4;
        }
        last = Some(at);
    }
    Some(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_menu_has_entries() {
        for (index, verb) in VERBS.iter().enumerate() {
            assert!(VERBS[index + 1..].iter().all(|other| other.name != verb.name), "{}", verb.name);
        }
        for menu in Menu::BAR {
            assert!(!entries(menu).is_empty(), "{menu:?}");
        }
    }

    #[test]
    fn a_few_letters_find_a_command() {
        assert_eq!(search("drain")[0].name, "node drain");
        assert_eq!(search("wsr")[0].name, "window split right");
        assert_eq!(search("view sess")[0].name, "view sessions");
        assert!(search("zzzz").is_empty());
    }
}
