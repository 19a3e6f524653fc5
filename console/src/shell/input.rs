//! Shell: owns the thread that reads the terminal.
//!
//! Translates what the terminal sends into the console's own events.

use std::io;
use std::thread;

use crossterm::event as term;
use tokio::sync::mpsc;

use crate::event::{Event, Key, KeyCode, Mouse, MouseKind, Target};

/// Events that may wait; a paste is one. The thread waits when they are more.
const WAITING_MAX: usize = 256;

/// Starts reading. The channel ends when the terminal is gone.
///
/// # Errors
/// When the system gives no thread.
pub fn start() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        while let Ok(event) = term::read() {
            if let Some(event) = translate(event)
                && sender.blocking_send(event).is_err()
            {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// The console's event; none for what it has no use for.
fn translate(event: term::Event) -> Option<Event> {
    match event {
        term::Event::FocusGained | term::Event::FocusLost => None,
        term::Event::Key(key) => translate_key(key).map(Event::Key),
        term::Event::Mouse(mouse) => translate_mouse(mouse).map(Event::Mouse),
        term::Event::Paste(text) => Some(Event::Paste(text)),
        term::Event::Resize(width, height) => Some(Event::Resize { width, height }),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "foreign enum: the console binds no other keys")]
fn translate_key(key: term::KeyEvent) -> Option<Key> {
    if key.kind == term::KeyEventKind::Release {
        return None;
    }
    let code = match key.code {
        term::KeyCode::BackTab => KeyCode::BackTab,
        term::KeyCode::Backspace => KeyCode::Backspace,
        term::KeyCode::Char(c) => KeyCode::Char(c),
        term::KeyCode::Delete => KeyCode::Delete,
        term::KeyCode::Down => KeyCode::Down,
        term::KeyCode::End => KeyCode::End,
        term::KeyCode::Enter => KeyCode::Enter,
        term::KeyCode::Esc => KeyCode::Esc,
        term::KeyCode::F(number) => KeyCode::F(number),
        term::KeyCode::Home => KeyCode::Home,
        term::KeyCode::Left => KeyCode::Left,
        term::KeyCode::PageDown => KeyCode::PageDown,
        term::KeyCode::PageUp => KeyCode::PageUp,
        term::KeyCode::Right => KeyCode::Right,
        term::KeyCode::Tab => KeyCode::Tab,
        term::KeyCode::Up => KeyCode::Up,
        _ => return None,
    };
    let shift = key.modifiers.contains(term::KeyModifiers::SHIFT);
    let carries_shift = matches!(code, KeyCode::Char(_) | KeyCode::BackTab);
    Some(Key {
        code,
        ctrl: key.modifiers.contains(term::KeyModifiers::CONTROL),
        alt: key.modifiers.contains(term::KeyModifiers::ALT),
        shift: shift && !carries_shift,
    })
}

fn translate_mouse(mouse: term::MouseEvent) -> Option<Mouse> {
    let kind = match mouse.kind {
        term::MouseEventKind::Down(term::MouseButton::Left) => MouseKind::Press,
        term::MouseEventKind::Down(term::MouseButton::Right) => MouseKind::RightPress,
        term::MouseEventKind::Drag(term::MouseButton::Left) => MouseKind::Drag,
        term::MouseEventKind::ScrollDown => MouseKind::WheelDown,
        term::MouseEventKind::ScrollUp => MouseKind::WheelUp,
        term::MouseEventKind::Up(term::MouseButton::Left) => MouseKind::Release,
        term::MouseEventKind::Down(term::MouseButton::Middle)
        | term::MouseEventKind::Drag(term::MouseButton::Middle | term::MouseButton::Right)
        | term::MouseEventKind::Moved
        | term::MouseEventKind::ScrollLeft
        | term::MouseEventKind::ScrollRight
        | term::MouseEventKind::Up(term::MouseButton::Middle | term::MouseButton::Right) => return None,
    };
    Some(Mouse { kind, x: mouse.column, y: mouse.row, target: Target::Nothing })
}
