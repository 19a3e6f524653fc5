//! What the console shows: golden screens of the made-up cluster, and scripts of keys and mouse against the pure core.
//!
//! `UPDATE_GOLDEN=1 cargo test -p console --test screens` writes the screens anew; read the difference before keeping it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::wildcard_enum_match_arm, reason = "scripts look at one kind of effect")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use common::wire::operator::{Topic, Verb};
use console::demo::{Hub, Size, World};
use console::effect::Effect;
use console::event::{Event, Key, KeyCode, Mouse, MouseKind, Target};
use console::frames::Frames;
use console::model::{Link, Message, Operated};
use console::shell::demo;
use console::shell::source::Request;
use console::state::{Settings, State};
use console::text::Clean;
use console::theme::{GlyphSet, Level, Theme};
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

const SIZE: Size = Size { nodes: 12, sessions: 180, seed: 7 };

/// A console without a terminal, on a made-up cluster and virtual time.
struct Desk {
    frames: Frames,
    hub: Hub,
    now: Duration,
    effects: Vec<Effect>,
}

impl Desk {
    fn open(size: (u16, u16), theme: Theme) -> Self {
        let settings = Settings { theme, read_only: false, demo: true };
        Self::with(Frames::new(State::new(settings, size, 1)))
    }

    fn with(frames: Frames) -> Self {
        let hub = Hub::new(SIZE, false);
        let greeting = hub.greeting();
        let mut desk = Self { frames, hub, now: Duration::from_secs(100), effects: Vec::new() };
        desk.event(Event::Message(greeting));
        desk.frames.draw();
        desk
    }

    /// Takes an event in; the made-up cluster answers at once.
    fn event(&mut self, event: Event) {
        let effects = self.frames.handle(self.now, event);
        for effect in effects {
            self.effects.push(effect.clone());
            let Ok(request) = Request::of(effect) else { continue };
            for message in demo::answer(&mut self.hub, request) {
                self.event(Event::Message(message));
            }
        }
    }

    /// Keys as characters; `<F10>` and the like by name.
    fn keys(&mut self, text: &str) -> &mut Self {
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let named = first == '<' && rest.contains('>');
            let end = if named { rest.find('>').unwrap() + 1 } else { first.len_utf8() };
            let (token, tail) = rest.split_at(end);
            rest = tail;
            let key =
                if named { named_key(&token[1..token.len() - 1]) } else { Key::plain(KeyCode::Char(first)) };
            self.event(Event::Key(key));
            self.frames.draw();
        }
        self
    }

    fn mouse(&mut self, kind: MouseKind, x: u16, y: u16) -> &mut Self {
        self.event(Event::Mouse(Mouse { kind, x, y, target: Target::Nothing }));
        self.frames.draw();
        self
    }

    fn seconds(&mut self, seconds: u32) -> &mut Self {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for message in self.hub.step() {
                self.event(Event::Message(message));
            }
        }
        self
    }

    fn text(&mut self) -> String {
        text_of(self.frames.draw())
    }

    fn state(&self) -> &State {
        &self.frames.state
    }

    fn expect(&mut self, text: &str) -> &mut Self {
        let shown = self.text();
        assert!(shown.contains(text), "no {text:?} in\n{shown}");
        self
    }

    fn expect_not(&mut self, text: &str) -> &mut Self {
        let shown = self.text();
        assert!(!shown.contains(text), "{text:?} in\n{shown}");
        self
    }

    /// Where a text stands.
    fn find(&mut self, text: &str) -> (u16, u16) {
        let shown = self.text();
        for (y, line) in shown.lines().enumerate() {
            if let Some(at) = line.find(text) {
                let x = line[..at].chars().count();
                return (u16::try_from(x).unwrap(), u16::try_from(y).unwrap());
            }
        }
        panic!("no {text:?} in\n{shown}");
    }
}

fn named_key(name: &str) -> Key {
    let (ctrl, name) = name.strip_prefix("C-").map_or((false, name), |name| (true, name));
    let code = match name {
        "BackTab" => KeyCode::BackTab,
        "Backspace" => KeyCode::Backspace,
        "Down" => KeyCode::Down,
        "End" => KeyCode::End,
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "F10" => KeyCode::F(10),
        "F6" => KeyCode::F(6),
        "Home" => KeyCode::Home,
        "Left" => KeyCode::Left,
        "PageDown" => KeyCode::PageDown,
        "PageUp" => KeyCode::PageUp,
        "Right" => KeyCode::Right,
        "Tab" => KeyCode::Tab,
        "Up" => KeyCode::Up,
        "lt" => KeyCode::Char('<'),
        _ => KeyCode::Char(name.chars().next().unwrap()),
    };
    Key { ctrl, ..Key::plain(code) }
}

fn text_of(buffer: &Buffer) -> String {
    let area = *buffer.area();
    let mut text = String::new();
    for y in 0..area.height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..area.width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                line.push_str(symbol);
                skip = console::text::width(symbol).max(1);
            }
            skip -= 1;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Runs of cells that look alike: `columns foreground/background attributes`. Ordinary text is left out.
fn looks_of(buffer: &Buffer) -> String {
    let area = *buffer.area();
    let mut out = String::new();
    for y in 0..area.height {
        let mut runs: Vec<(u16, u16, String)> = Vec::new();
        for x in 0..area.width {
            let cell = &buffer[(x, y)];
            let look = look(cell.fg, cell.bg, cell.modifier);
            match runs.last_mut() {
                Some((_, end, same)) if *same == look => *end = x,
                _ => runs.push((x, x, look)),
            }
        }
        let runs: Vec<String> = runs
            .into_iter()
            .filter(|(_, _, look)| !look.is_empty())
            .map(|(start, end, look)| format!("{start}-{end} {look}"))
            .collect();
        writeln!(out, "{y:>2}: {}", runs.join("; ")).unwrap();
    }
    out
}

fn look(fg: Color, bg: Color, modifier: Modifier) -> String {
    let mut parts = Vec::new();
    if fg != Color::Reset {
        parts.push(fg.to_string());
    }
    if bg != Color::Reset {
        parts.push(format!("on {bg}"));
    }
    if !modifier.is_empty() {
        parts.push(format!("{modifier:?}"));
    }
    parts.join(" ")
}

fn golden(name: &str, shown: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, shown).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == shown, "{name} differs; now:\n{shown}\nkept:\n{kept}");
}

const PLAIN: Theme = Theme { level: Level::Mono, glyphs: GlyphSet::Ascii };
const COLOUR: Theme = Theme { level: Level::True, glyphs: GlyphSet::Full };

#[test]
fn every_workspace_shows_as_kept_at_both_sizes() {
    for (size, theme, kind) in [((80, 24), PLAIN, "ascii"), ((160, 50), COLOUR, "full")] {
        let mut desk = Desk::open(size, theme);
        desk.seconds(3);
        for workspace in ["1", "2", "3", "4", "5"] {
            desk.keys(workspace);
            let text = desk.text();
            golden(&format!("{kind}-{}x{}-workspace{workspace}.txt", size.0, size.1), &text);
            if kind == "ascii" {
                assert!(text.is_ascii(), "not ASCII:\n{text}");
            }
        }
    }
}

#[test]
fn colours_and_their_substitutes_show_as_kept() {
    for (theme, name) in [
        (COLOUR, "looks-true.txt"),
        (Theme { level: Level::Ansi16, glyphs: GlyphSet::Full }, "looks-16.txt"),
        (PLAIN, "looks-mono.txt"),
    ] {
        let mut desk = Desk::open((80, 24), theme);
        desk.keys("2<F10><Right>");
        let looks = looks_of(desk.frames.draw());
        golden(name, &looks);
    }
}

#[test]
fn menus_palette_dialogs_and_floats_show_as_kept() {
    let mut desk = Desk::open((80, 24), PLAIN);
    desk.keys("2<F10><Right>");
    golden("menu-80x24.txt", &desk.text());
    desk.keys("<Esc>:drain");
    golden("palette-80x24.txt", &desk.text());
    desk.keys("<Enter>");
    golden("drain-80x24.txt", &desk.text());
    desk.keys("<Esc>?");
    golden("help-80x24.txt", &desk.text());
    desk.keys("q.");
    golden("context-80x24.txt", &desk.text());
    desk.keys("<Esc><F6>");
    golden("windows-80x24.txt", &desk.text());
    desk.keys("<Esc>3/conn>8");
    golden("filter-80x24.txt", &desk.text());
}

#[test]
fn a_drain_says_what_it_affects_asks_for_the_name_and_reports() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("2/name=media-011<Enter>d");
    desk.expect("Drain media-011?").expect("sessions,").expect("they move to");
    desk.keys("<Tab><Tab><Tab><Enter>");
    desk.expect("reason is missing");
    desk.keys("kernel<Tab>media-0<Tab><Tab><Enter>").expect("type media-011 to go on");
    desk.keys("11<Tab><Tab><Enter>");
    let operated: Vec<_> = desk
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Operate(operate) => Some(operate.clone()),
            _ => None,
        })
        .collect();
    let [dry, wet] = operated.as_slice() else { panic!("first dry, then wet: {operated:?}") };
    let verb = Verb::NodeDrain { node: "media-011".to_owned() };
    assert_eq!((&dry.verb, dry.dry_run, dry.expected), (&verb, true, None));
    assert_eq!((&wet.verb, wet.dry_run, wet.reason.as_str()), (&verb, false, "kernel"));
    assert!(wet.expected.is_some() && wet.op != dry.op);
    desk.expect("drain media-011: draining");
    desk.seconds(30).expect("draining");
    desk.keys("5/severity=audit<Enter>").expect("1 of").expect("you (admin) from here: node.drain draining");
}

#[test]
fn a_stray_enter_in_a_dialog_changes_nothing() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("3x<Enter><Enter><Enter>");
    let did = |effect: &Effect| matches!(effect, Effect::Operate(operate) if !operate.dry_run);
    assert!(!desk.effects.iter().any(did));
    assert!(desk.state().modal.is_none());
}

#[test]
fn what_cannot_be_done_says_why() {
    let settings = Settings { theme: COLOUR, read_only: true, demo: true };
    let mut desk = Desk::with(Frames::new(State::new(settings, (160, 50), 1)));
    desk.keys("2d").expect("started with --read-only");

    let mut desk = Desk::open((160, 50), COLOUR);
    let mut welcome = World::welcome(false);
    welcome.may_admin = false;
    desk.event(Event::Message(Message::Link(Link::Up(welcome.clone()))));
    desk.keys("2d").expect("may not change the cluster itself");
    desk.keys("<F10><Right><Down><Down><Down><Down>").expect("off: you (admin) may not change the cluster");
    desk.keys("<Enter>").expect("Drain the node");
    desk.keys("<Esc>3x").expect("Close session");
    desk.keys("<Esc>");
    welcome.may_act = false;
    desk.event(Event::Message(Message::Link(Link::Up(welcome))));
    desk.now += Duration::from_secs(20);
    desk.event(Event::Tick);
    desk.seconds(1).keys("x").expect("may only look");
}

#[test]
fn a_cut_link_shows_age_and_turns_actions_off() {
    let mut desk = Desk::open((160, 50), COLOUR);
    let down = Link::Down { why: Clean::new("no answer from 10.0.0.1:7443"), retry_ms: Some(5_000) };
    desk.event(Event::Message(Message::Link(down)));
    desk.expect("LINK DOWN, retry in 5s").expect("no answer from 10.0.0.1:7").expect("link.lost");
    let due = desk.state().deadline().expect("ages are shown in seconds");
    assert!(due <= desk.now + Duration::from_millis(1_001));
    desk.now += Duration::from_secs(31);
    desk.event(Event::Tick);
    desk.expect("stale 31s");
    desk.keys("2d").expect("the link is down");
    desk.event(Event::Message(Message::Link(Link::Up(World::welcome(false)))));
    desk.seconds(1).expect("live").expect_not("stale");
}

#[test]
fn a_screen_without_news_needs_no_byte_and_no_wake_up_before_it_is_late() {
    let mut desk = Desk::open((160, 50), COLOUR);
    assert!(!desk.frames.paint().is_empty());
    let due = desk.state().deadline().expect("late data will have to be shown");
    assert!(due >= desk.now + Duration::from_secs(2));
    desk.now = due - Duration::from_millis(10);
    desk.event(Event::Tick);
    assert!(desk.frames.paint().is_empty());
}

#[test]
fn windows_own_their_subscriptions() {
    let mut desk = Desk::open((160, 50), COLOUR);
    let topics = |desk: &Desk| -> Vec<Topic> {
        desk.state().subscribed.values().map(|wanted| wanted.topic.clone()).collect()
    };
    assert!(topics(&desk).iter().all(|it| matches!(it, Topic::Head | Topic::Nodes | Topic::Events)));
    desk.keys("3");
    assert!(topics(&desk).iter().any(|topic| matches!(topic, Topic::Session(_))));
    assert!(topics(&desk).iter().any(|topic| matches!(topic, Topic::Decisions(Some(_)))));
    let before = topics(&desk);
    desk.keys("<Down>");
    assert_ne!(topics(&desk), before, "the session below is asked for instead");
    desk.effects.clear();
    desk.keys("1");
    let dropped = desk.effects.iter().filter(|effect| matches!(effect, Effect::Unsubscribe { .. })).count();
    assert_eq!(dropped, 3, "{:?}", desk.effects);
    assert!(topics(&desk).iter().all(|it| matches!(it, Topic::Head | Topic::Nodes | Topic::Events)));
}

#[test]
fn a_table_asks_only_for_what_shows_and_a_screen_on_each_side() {
    let mut desk = Desk::open((80, 24), PLAIN);
    desk.keys("3z");
    let asked = |desk: &Desk| {
        let of = |topic: &Topic| *topic == Topic::Sessions;
        desk.state().subscribed.values().find(|wanted| of(&wanted.topic)).unwrap().window
    };
    assert!(asked(&desk).count < 100, "{:?}", asked(&desk));
    desk.keys("G");
    let far = asked(&desk);
    assert!(far.first > 80, "{far:?}");
    desk.expect(">").expect_not("...");
    desk.keys("gg").expect_not("...");
    assert_eq!(asked(&desk).first, 0);
}

#[test]
fn an_operation_that_was_cut_off_is_asked_for_when_the_link_is_back() {
    let mut desk = Desk::open((160, 50), COLOUR);
    let first = desk.effects.len();
    desk.keys("3");
    // The last key presses the button; the answer does not come back.
    desk.keys("x<Tab>");
    let asked = desk.effects[first..].iter().rev().find_map(|effect| match effect {
        Effect::Operate(operate) if operate.dry_run => Some(operate.op),
        _ => None,
    });
    assert!(asked.is_some());
    let reason = Event::Paste("why".to_owned());
    desk.keys("<BackTab>");
    desk.event(reason);
    desk.keys("<Tab><Tab>");
    let enter = Event::Key(Key::plain(KeyCode::Enter));
    let effects = desk.frames.handle(desk.now, enter);
    let op = effects.iter().find_map(|effect| match effect {
        Effect::Operate(operate) => Some(operate.op),
        _ => None,
    });
    let op = op.expect("the button was pressed");
    let down = Link::Down { why: Clean::new("timed out"), retry_ms: None };
    desk.event(Event::Message(Message::Link(down)));
    desk.expect("the link was cut in the middle of an operation");
    let effects =
        desk.frames.handle(desk.now, Event::Message(Message::Link(Link::Up(World::welcome(false)))));
    assert!(effects.contains(&Effect::Recall(op)), "{effects:?}");
    let told = Message::Operated { op, state: Operated::Unknown };
    desk.event(Event::Message(told));
    desk.expect("it never reached the master, nothing has changed");
}

#[test]
fn recordings_are_started_ended_and_deleted() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("3R").expect("Record ").expect("connections begins");
    desk.keys("<Tab><Enter>").expect(": recording ").expect(" started");
    desk.seconds(3).keys("4").expect("started").expect("composed");
    desk.keys("x").expect("the recording is under way: end it first").keys("<Esc>");
    desk.keys("R").expect("End recording").keys("done<Tab><Tab><Enter>").expect("recording stopped");
    desk.seconds(3).expect("ready");
}

#[test]
fn windows_float_dock_zoom_split_move_and_close() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("2<C-w>f");
    assert_eq!(desk.state().desktop.workspace().floats.len(), 1);
    let (x, y) = desk.find("1 Node media");
    desk.mouse(MouseKind::Press, x, y);
    desk.keys("<C-w>v<C-w>=");
    assert_eq!(desk.state().desktop.workspace().windows().len(), 3);
    desk.keys("z").expect_not("LAST MINUTE");
    desk.keys("z<C-w>t");
    assert!(desk.state().desktop.workspace().floats.is_empty());
    desk.keys("<C-w>o");
    assert_eq!(desk.state().desktop.workspace().windows().len(), 1);
    desk.keys("q").expect("Close the last window?");
    desk.keys("<Right><Enter>").expect("no window here");
    desk.keys(":layout reset<Enter>");
    assert_eq!(desk.state().desktop.workspace().windows().len(), 2);
    desk.keys("<C-w>m");
    assert_eq!(desk.state().desktop.workspace().windows().len(), 1);
    desk.keys("<F6>").expect("put away");
}

#[test]
fn the_mouse_drags_windows_and_borders_sorts_and_opens() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("2");
    // A border between tiles.
    let (_, y) = desk.find("2 Node media");
    desk.mouse(MouseKind::Press, 40, y - 1).mouse(MouseKind::Drag, 40, y - 8).mouse(
        MouseKind::Release,
        40,
        y - 8,
    );
    let (_, moved) = desk.find("2 Node media");
    assert_eq!(moved, y - 7);
    // A head.
    let (x, y) = desk.find("SESS");
    desk.mouse(MouseKind::Press, x, y).expect("sessions v");
    desk.mouse(MouseKind::Press, x, y).expect("sessions ^");
    // A title lifts its tile; the left edge makes it a half.
    let (x, y) = desk.find("1 Nodes");
    desk.mouse(MouseKind::Press, x, y).mouse(MouseKind::Drag, x + 9, y + 5);
    let float = desk.state().desktop.workspace().floats[0];
    assert_eq!(float.rect.y, y + 5);
    desk.mouse(MouseKind::Drag, 0, y + 9).mouse(MouseKind::Release, 0, y + 9);
    assert_eq!(desk.state().desktop.workspace().floats[0].rect.width, 80);
    // A row, twice.
    let (x, y) = desk.find("media-004");
    desk.now += Duration::from_secs(3);
    desk.mouse(MouseKind::Press, x, y).mouse(MouseKind::Press, x, y);
    desk.expect(" Node media-004 ═");
    desk.keys("<Backspace>").expect("2 Nodes");
    // The other button.
    let (x, y) = desk.find("media-004");
    desk.mouse(MouseKind::RightPress, x, y).expect("Drain the node ...");
    let (x, y) = desk.find("Copy the name");
    desk.mouse(MouseKind::Press, x, y);
    assert!(desk.effects.contains(&Effect::Copy("media-004".to_owned())));
}

#[test]
fn a_filter_holds_while_typed_and_points_at_mistakes() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("3/connections>10 name~standup").expect("/connections>10 name~standup").expect("of 1");
    desk.keys(" cpu>3").expect("column 29: no field `cpu`");
    desk.keys("<Backspace><Backspace><Backspace><Backspace><Backspace><Enter>").expect("/connections>10");
    desk.keys("\\").expect_not("/connections");
}

#[test]
fn hostile_names_are_shown_as_text() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("3/title<Enter>");
    desk.expect("·]0;title·zoë");
    let bytes = desk.frames.paint();
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("\u{1b}]0;"), "a title sequence reached the terminal");
    assert!(!text.contains('\u{202e}'), "a direction override reached the terminal");
}

#[test]
fn the_selection_stays_on_its_row_while_rows_move() {
    let mut desk = Desk::open((160, 50), COLOUR);
    desk.keys("3<Down><Down><Down>");
    let selected = |desk: &Desk| desk.state().desktop.focused().unwrap().view.table().unwrap().selected;
    let before = selected(&desk);
    desk.seconds(40);
    assert_eq!(selected(&desk), before);
}

#[test]
fn a_terminal_that_is_too_small_says_so_and_recovers() {
    let mut desk = Desk::open((160, 50), COLOUR);
    for (width, height) in [(1, 1), (20, 5), (59, 24), (80, 15)] {
        desk.event(Event::Resize { width, height });
        desk.text();
    }
    desk.expect("80x15 is too small").expect("needs 60x16");
    desk.event(Event::Resize { width: 60, height: 16 });
    desk.expect("Console").expect_not("too small");
}

#[test]
fn the_manual_shows_the_key_table_and_a_kept_screen() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let manual = std::fs::read_to_string(root.join("../docs/console.md")).unwrap();
    let keys = console::view::help::text();
    assert!(manual.contains(keys.trim_end()), "put this into docs/console.md:\n{keys}");
    let kept = std::fs::read_to_string(root.join("tests/golden/ascii-80x24-workspace2.txt")).unwrap();
    assert!(manual.contains(kept.trim_end()), "put this into docs/console.md:\n{kept}");
}

#[test]
fn anything_typed_clicked_and_resized_at_random_never_breaks_it() {
    const CHARS: &[u8] = b"123456789jkhlgGsSfmeyYdux./\\:?zqw[]vr<>+-=HJKLtaopc";
    for seed in 0..4_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut desk = Desk::open((80, 24), PLAIN);
        for step in 0..400 {
            let key = |code| Event::Key(Key::plain(code));
            let event = match next(14) {
                0 => key(KeyCode::Enter),
                1 => key(KeyCode::Esc),
                2 => key(KeyCode::Tab),
                3 => key(KeyCode::F(10)),
                4 => Event::Key(Key { ctrl: true, ..Key::plain(KeyCode::Char('w')) }),
                5 if step % 50 == 0 => {
                    let width = u16::try_from(next(200)).unwrap() + 1;
                    let height = u16::try_from(next(70)).unwrap() + 1;
                    Event::Resize { width, height }
                }
                6..=8 => {
                    let kinds = [
                        MouseKind::Press,
                        MouseKind::Drag,
                        MouseKind::Release,
                        MouseKind::RightPress,
                        MouseKind::WheelDown,
                    ];
                    let (width, height) = desk.state().size;
                    let kind = kinds[usize::try_from(next(5)).unwrap()];
                    let x = u16::try_from(next(width.into())).unwrap();
                    let y = u16::try_from(next(height.into())).unwrap();
                    Event::Mouse(Mouse { kind, x, y, target: Target::Nothing })
                }
                9 => {
                    desk.seconds(1);
                    Event::Tick
                }
                _ => {
                    key(KeyCode::Char(char::from(CHARS[usize::try_from(next(CHARS.len() as u64)).unwrap()])))
                }
            };
            desk.event(event);
            desk.frames.draw();
            let workspace = desk.state().desktop.workspace();
            let windows = workspace.windows();
            assert!(workspace.focus.is_none_or(|focus| windows.contains(&focus)), "seed {seed} step {step}");
            assert!(workspace.focus.is_some() || windows.is_empty(), "seed {seed} step {step}");
            assert!(desk.state().desktop.windows.len() <= 64);
        }
    }
}
