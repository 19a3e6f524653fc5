//! Pure: no clock, no I/O, no async.
//!
//! Looks: views name roles; here alone a role becomes colours, and a sort of line becomes characters.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of the screen means.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Role {
    /// Ordinary text.
    #[default]
    Text,
    /// Less important text: units, labels, hints.
    Dim,
    /// Heads of columns and sections.
    Head,
    /// Frame of a window.
    Border,
    /// Frame of the window that has the focus.
    BorderFocus,
    /// Title of a window.
    Title,
    /// Title of the window that has the focus.
    TitleFocus,
    /// What a float or dialog covers beside itself.
    Shadow,
    /// The selected row of the window that has the focus.
    Selection,
    /// The selected row of another window.
    SelectionDim,
    /// Good.
    Ok,
    /// Worth a look.
    Warn,
    /// Bad.
    Crit,
    /// Old.
    Stale,
    /// Points of the user's attention: the cluster's name, the active workspace.
    Accent,
    /// Menu bar, status bar, open menus.
    Menu,
    /// Keys and hot letters in them.
    MenuKey,
    /// The open menu's title and the entry under the cursor.
    MenuActive,
    /// An entry that is off.
    MenuOff,
    /// Body of a dialog.
    Dialog,
    /// Its frame and title.
    DialogFrame,
    /// Bad news in it.
    DialogWarn,
    /// A text field.
    Field,
    /// The text field that has the focus.
    FieldFocus,
    /// A button.
    Button,
    /// The button that has the focus.
    ButtonFocus,
    /// Part of a name that a search found.
    Match,
    /// A load level, 0 idle to 4 full.
    Level(u8),
}

/// How many colours the terminal has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// None: bold, reverse and underline only.
    Mono,
    /// The terminal's own palette.
    #[default]
    Ansi16,
    /// The fixed palette of 256.
    Ansi256,
    /// 24 bits.
    True,
}

/// Which characters draw lines and bars.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GlyphSet {
    /// Double and single lines, eighth blocks.
    #[default]
    Full,
    /// Single lines, eighth blocks.
    Plain,
    /// Nothing but ASCII.
    Ascii,
}

/// Colours and characters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Theme {
    /// Colours.
    pub level: Level,
    /// Characters.
    pub glyphs: GlyphSet,
}

/// Characters of one frame: corners clockwise from top left, horizontal, vertical.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame {
    /// `┌`
    pub top_left: &'static str,
    /// `┐`
    pub top_right: &'static str,
    /// `┘`
    pub bottom_right: &'static str,
    /// `└`
    pub bottom_left: &'static str,
    /// `─`
    pub horizontal: &'static str,
    /// `│`
    pub vertical: &'static str,
}

const SINGLE: Frame = frame(["┌", "┐", "┘", "└", "─", "│"]);
const DOUBLE: Frame = frame(["╔", "╗", "╝", "╚", "═", "║"]);
const ASCII: Frame = frame(["+", "+", "+", "+", "-", "|"]);
const ASCII_BOLD: Frame = frame(["#", "#", "#", "#", "=", "|"]);

const fn frame(parts: [&'static str; 6]) -> Frame {
    let [top_left, top_right, bottom_right, bottom_left, horizontal, vertical] = parts;
    Frame { top_left, top_right, bottom_right, bottom_left, horizontal, vertical }
}

impl Theme {
    /// Colours and attributes of a role.
    #[must_use]
    pub fn style(&self, role: Role) -> Style {
        match self.level {
            Level::Mono => mono(role),
            Level::Ansi16 => ansi16(role),
            Level::Ansi256 => reduced(truecolor(role)),
            Level::True => truecolor(role),
        }
    }

    /// The frame of a window, heavier for the one that has the focus.
    #[must_use]
    pub const fn frame(&self, focused: bool) -> Frame {
        match (self.glyphs, focused) {
            (GlyphSet::Ascii, true) => ASCII_BOLD,
            (GlyphSet::Ascii, false) => ASCII,
            (GlyphSet::Full, true) => DOUBLE,
            (GlyphSet::Full | GlyphSet::Plain, _) => SINGLE,
        }
    }

    /// A bar of one cell for `eighths` of 0 to 8.
    #[must_use]
    pub fn bar(&self, eighths: usize) -> &'static str {
        const BLOCKS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
        const ASCII: [&str; 9] = [" ", ".", ".", "-", "-", "=", "=", "#", "#"];
        if self.is_ascii() { ASCII[eighths.min(8)] } else { BLOCKS[eighths.min(8)] }
    }

    /// Filled and empty cell of a gauge.
    #[must_use]
    pub const fn gauge(&self) -> (&'static str, &'static str) {
        if self.is_ascii() { ("#", "-") } else { ("█", "░") }
    }

    /// Marks that text was cut.
    #[must_use]
    pub const fn cut(&self) -> &'static str {
        if self.is_ascii() { "~" } else { "…" }
    }

    /// The given character, or its stand-in where only ASCII shows.
    #[must_use]
    pub const fn glyph(&self, full: &'static str, ascii: &'static str) -> &'static str {
        if self.is_ascii() { ascii } else { full }
    }

    /// Whether nothing but ASCII may be drawn.
    #[must_use]
    pub const fn is_ascii(&self) -> bool {
        matches!(self.glyphs, GlyphSet::Ascii)
    }
}

/// Bold, reverse, underline and dim tell apart what colours would.
fn mono(role: Role) -> Style {
    let plain = Style::new();
    match role {
        Role::Text | Role::Border | Role::Dialog | Role::Ok | Role::Title => plain,
        Role::Dim | Role::Shadow | Role::MenuOff | Role::Stale => plain.add_modifier(Modifier::DIM),
        Role::Head | Role::Field | Role::Button => plain.add_modifier(Modifier::UNDERLINED),
        Role::BorderFocus | Role::DialogFrame | Role::TitleFocus | Role::Accent | Role::MenuKey => {
            plain.add_modifier(Modifier::BOLD)
        }
        Role::Warn | Role::DialogWarn | Role::Match => plain.add_modifier(Modifier::BOLD),
        Role::Crit => plain.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        Role::Selection | Role::MenuActive | Role::FieldFocus | Role::ButtonFocus => {
            plain.add_modifier(Modifier::REVERSED)
        }
        Role::SelectionDim => plain.add_modifier(Modifier::UNDERLINED),
        Role::Menu => plain,
        Role::Level(level) => {
            if level >= 4 {
                plain.add_modifier(Modifier::BOLD)
            } else {
                plain
            }
        }
    }
}

/// Only names of the terminal's palette, so that light and dark follow the user.
fn ansi16(role: Role) -> Style {
    let plain = Style::new();
    match role {
        Role::Text | Role::Title => plain,
        Role::Dim | Role::Shadow | Role::Stale | Role::Border => plain.fg(Color::DarkGray),
        Role::Head => plain.fg(Color::Cyan),
        Role::BorderFocus => plain.fg(Color::Cyan),
        Role::TitleFocus => plain.add_modifier(Modifier::BOLD),
        Role::Selection => plain.add_modifier(Modifier::REVERSED),
        Role::SelectionDim => plain.add_modifier(Modifier::UNDERLINED),
        Role::Ok => plain.fg(Color::Green),
        Role::Warn => plain.fg(Color::Yellow),
        Role::Crit => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
        Role::Accent => plain.fg(Color::Cyan).add_modifier(Modifier::BOLD),
        Role::Menu => plain.fg(Color::Black).bg(Color::Gray),
        Role::MenuKey => plain.fg(Color::Red).bg(Color::Gray),
        Role::MenuActive => plain.fg(Color::White).bg(Color::Blue).add_modifier(Modifier::BOLD),
        Role::MenuOff => plain.fg(Color::DarkGray).bg(Color::Gray),
        Role::Dialog => plain.fg(Color::Black).bg(Color::Gray),
        Role::DialogFrame => plain.fg(Color::Blue).bg(Color::Gray).add_modifier(Modifier::BOLD),
        Role::DialogWarn => plain.fg(Color::Red).bg(Color::Gray).add_modifier(Modifier::BOLD),
        Role::Field => plain.fg(Color::White).bg(Color::DarkGray),
        Role::FieldFocus => plain.fg(Color::White).bg(Color::Blue),
        Role::Button => plain.fg(Color::White).bg(Color::DarkGray),
        Role::ButtonFocus => plain.fg(Color::White).bg(Color::Blue).add_modifier(Modifier::BOLD),
        Role::Match => plain.fg(Color::Magenta).add_modifier(Modifier::BOLD),
        Role::Level(level) => plain.fg(match level {
            0 => Color::Blue,
            1 => Color::Cyan,
            2 => Color::Green,
            3 => Color::Yellow,
            _ => Color::Red,
        }),
    }
}

/// The built-in dark palette.
fn truecolor(role: Role) -> Style {
    const BAR: Color = Color::Rgb(0x2b, 0x34, 0x46);
    const PANEL: Color = Color::Rgb(0x24, 0x2c, 0x3b);
    const BLUE: Color = Color::Rgb(0x7a, 0xa9, 0xf7);
    const SOFT: Color = Color::Rgb(0x8b, 0x94, 0xa7);
    const BRIGHT: Color = Color::Rgb(0xe6, 0xea, 0xf2);
    const RED: Color = Color::Rgb(0xf4, 0x6d, 0x6d);
    const AMBER: Color = Color::Rgb(0xe8, 0xb3, 0x4f);
    let plain = Style::new();
    match role {
        Role::Text | Role::Title => plain,
        Role::Dim => plain.fg(SOFT),
        Role::Head => plain.fg(Color::Rgb(0x6f, 0xc3, 0xc9)),
        Role::Border => plain.fg(Color::Rgb(0x55, 0x5f, 0x73)),
        Role::BorderFocus => plain.fg(BLUE),
        Role::TitleFocus => plain.fg(BLUE).add_modifier(Modifier::BOLD),
        Role::Shadow => plain.fg(Color::Rgb(0x4a, 0x50, 0x5c)),
        Role::Selection => plain.fg(BRIGHT).bg(Color::Rgb(0x2f, 0x4b, 0x7c)),
        Role::SelectionDim => plain.bg(Color::Rgb(0x2e, 0x33, 0x3f)),
        Role::Ok => plain.fg(Color::Rgb(0x7f, 0xc8, 0x7f)),
        Role::Warn => plain.fg(AMBER),
        Role::Crit => plain.fg(RED).add_modifier(Modifier::BOLD),
        Role::Stale => plain.fg(Color::Rgb(0x77, 0x7d, 0x8a)),
        Role::Accent => plain.fg(BLUE).add_modifier(Modifier::BOLD),
        Role::Menu => plain.fg(BRIGHT).bg(BAR),
        Role::MenuKey => plain.fg(AMBER).bg(BAR),
        Role::MenuActive => plain.fg(Color::Rgb(0x11, 0x16, 0x20)).bg(BLUE).add_modifier(Modifier::BOLD),
        Role::MenuOff => plain.fg(SOFT).bg(BAR),
        Role::Dialog => plain.fg(BRIGHT).bg(PANEL),
        Role::DialogFrame => plain.fg(BLUE).bg(PANEL).add_modifier(Modifier::BOLD),
        Role::DialogWarn => plain.fg(AMBER).bg(PANEL).add_modifier(Modifier::BOLD),
        Role::Field => plain.fg(BRIGHT).bg(Color::Rgb(0x3a, 0x42, 0x54)),
        Role::FieldFocus => plain.fg(Color::Rgb(0xff, 0xff, 0xff)).bg(Color::Rgb(0x2f, 0x4b, 0x7c)),
        Role::Button => plain.fg(BRIGHT).bg(Color::Rgb(0x3a, 0x42, 0x54)),
        Role::ButtonFocus => plain.fg(Color::Rgb(0x11, 0x16, 0x20)).bg(BLUE).add_modifier(Modifier::BOLD),
        Role::Match => plain.fg(AMBER).add_modifier(Modifier::BOLD),
        Role::Level(level) => plain.fg(match level {
            0 => Color::Rgb(0x5b, 0x7f, 0xb5),
            1 => Color::Rgb(0x5a, 0xb0, 0xa8),
            2 => Color::Rgb(0x7f, 0xc8, 0x7f),
            3 => AMBER,
            _ => RED,
        }),
    }
}

/// The nearest entries of the fixed palette of 256.
fn reduced(style: Style) -> Style {
    let nearest = |color: Option<Color>| match color {
        Some(Color::Rgb(r, g, b)) => Some(Color::Indexed(index_of(r, g, b))),
        other => other,
    };
    Style { fg: nearest(style.fg), bg: nearest(style.bg), ..style }
}

/// Index of the nearest colour in the cube of 6x6x6 or in the ramp of 24 greys.
fn index_of(r: u8, g: u8, b: u8) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let step = |v: u8| (0..6_u8).min_by_key(|i| STEPS[usize::from(*i)].abs_diff(v)).unwrap_or(0);
    let (cr, cg, cb) = (step(r), step(g), step(b));
    let apart = |x: u8, y: u8, z: u8| {
        [(x, r), (y, g), (z, b)].iter().map(|(p, q)| u32::from(p.abs_diff(*q)).pow(2)).sum::<u32>()
    };
    let at = |i: u8| STEPS[usize::from(i)];
    let grey = u8::try_from((u16::from(r) + u16::from(g) + u16::from(b)) / 3).unwrap_or(u8::MAX);
    let ramp = grey.saturating_sub(8).saturating_add(5) / 10;
    let ramp = ramp.min(23);
    let ramp_value = 8 + 10 * ramp;
    if apart(ramp_value, ramp_value, ramp_value) < apart(at(cr), at(cg), at(cb)) {
        232 + ramp
    } else {
        16 + 36 * cr + 6 * cg + cb
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_what_matters_still_looks_different() {
        let theme = Theme { level: Level::Mono, glyphs: GlyphSet::Ascii };
        for role in [Role::Selection, Role::Crit, Role::MenuActive, Role::ButtonFocus, Role::FieldFocus] {
            let style = theme.style(role);
            assert_eq!((style.fg, style.bg), (None, None));
            assert_ne!(style.add_modifier, Modifier::empty(), "{role:?}");
        }
        assert_ne!(theme.frame(true), theme.frame(false));
    }

    #[test]
    fn colours_are_reduced_to_near_ones() {
        assert_eq!(index_of(255, 0, 0), 196);
        assert_eq!(index_of(0, 0, 0), 16);
        assert_eq!(index_of(128, 128, 128), 244);
    }
}
