//! Pure: no clock, no I/O, no async.
//!
//! One session: who gets what of whom as a matrix of participants and streams, or the participants as a list.

use common::id::SessionKey;
use common::wire::operator::{Cell, Media, Topic, Window};
use ratatui::layout::Rect;

use super::{Facts, Motion, motion};
use crate::desktop::WindowId;
use crate::event::Target;
use crate::model::{Participant, SessionDetail, Stream, Wanted};
use crate::store::Store;
use crate::text::{self, Clean};
use crate::theme::Role;
use crate::verbs::Command;
use crate::widget::canvas::{Align, Canvas};

/// Loss above which a cell is marked, permille.
const LOSS_MARK: u16 = 20;

/// Participants that are asked for at least.
const PARTICIPANTS_MIN: usize = 16;

/// Cells of one column of the matrix with the blank after it.
const CELL_WIDTH: u16 = 7;

/// Cells before the first column of the matrix.
const NAME_WIDTH: u16 = 26;

/// Rows above the first participant.
const HEAD_ROWS: u16 = 4;

/// One session.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Which.
    pub session: Option<SessionKey>,
    /// It shows what is selected elsewhere on the workspace.
    pub follows: bool,
    /// Participants with their addresses instead of the matrix.
    listing: bool,
    row: usize,
    column: usize,
    top: usize,
    first: usize,
    height: usize,
    /// Place of the first participant that was asked for.
    base: usize,
    participants: usize,
    streams: usize,
}

impl SessionView {
    /// Shows what is selected elsewhere.
    #[must_use]
    pub const fn following() -> Self {
        Self {
            session: None,
            follows: true,
            listing: false,
            row: 0,
            column: 0,
            top: 0,
            first: 0,
            height: 1,
            base: 0,
            participants: 0,
            streams: 0,
        }
    }

    /// Shows one session.
    #[must_use]
    pub const fn of(session: SessionKey) -> Self {
        let mut view = Self::following();
        view.session = Some(session);
        view.follows = false;
        view
    }

    pub(super) fn title(&self, facts: &Facts<'_>) -> String {
        match self.session.and_then(|key| facts.store.session(key)) {
            Some(session) => format!("Session {}", session.name),
            None => "Session".to_owned(),
        }
    }

    pub(super) fn remark(&self, facts: &Facts<'_>) -> String {
        let node = self.session.and_then(|key| facts.store.session(key)).map(|it| it.node_name.to_string());
        let mut remark = node.unwrap_or_default();
        if self.participants > 0 {
            remark = format!("{remark}  {} part  {} streams", self.participants, self.streams);
        }
        remark
    }

    pub(super) fn wanted(&self) -> Option<Wanted> {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let count = number(self.height.max(PARTICIPANTS_MIN) * 2);
        let window = Window { first: number(self.base), count, from_end: false };
        self.session.map(|session| Wanted { window, ..Wanted::one(Topic::Session(session)) })
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, window: WindowId, area: Rect) {
        let (participants, streams) = match facts.store.session_detail(window) {
            Some(detail) => (detail.connections.max(detail.participants.len()), detail.streams.len()),
            None => (0, 0),
        };
        (self.participants, self.streams) = (participants, streams);
        self.row = self.row.min(participants.saturating_sub(1));
        self.column = self.column.min(streams.saturating_sub(1));
        let head = if self.listing { 1 } else { HEAD_ROWS };
        // The selected cell in words and the legend take the last rows of the matrix.
        let foot = if self.listing { 0 } else { 2 };
        self.height = usize::from(area.height.saturating_sub(head + foot)).max(1);
        let wide = usize::from(area.width.saturating_sub(NAME_WIDTH) / CELL_WIDTH).max(1);
        self.top = shown_from(self.top, self.row, self.height, participants);
        self.first = shown_from(self.first, self.column, wide, streams);
        let page = self.height.max(PARTICIPANTS_MIN);
        self.base = self.top / page * page;
    }

    pub(super) fn handle(&mut self, command: Command) -> bool {
        let (last_row, last_column) = (self.participants.saturating_sub(1), self.streams.saturating_sub(1));
        let page = self.height.saturating_sub(1).max(1).cast_signed();
        match motion(command) {
            Some(Motion::By(by)) => self.row = self.row.saturating_add_signed(by).min(last_row),
            Some(Motion::Pages(by)) => {
                self.row = self.row.saturating_add_signed(by.saturating_mul(page)).min(last_row);
            }
            Some(Motion::First) => self.row = 0,
            Some(Motion::Last) => self.row = last_row,
            None if command == Command::Left => self.column = self.column.saturating_sub(1),
            None if command == Command::Right => self.column = (self.column + 1).min(last_column),
            None if command == Command::Metric => self.listing = !self.listing,
            None => return false,
        }
        true
    }

    pub(super) fn click(&mut self, row: usize) {
        self.row = (self.top + row).min(self.participants.saturating_sub(1));
    }

    /// The selected participant, if it has come.
    fn selected<'a>(&self, detail: &'a SessionDetail) -> Option<&'a Participant> {
        detail.participants.get(self.row.checked_sub(self.base)?)
    }

    pub(super) fn connection(&self, store: &Store, window: WindowId) -> Option<Clean> {
        let detail = store.session_detail(window)?;
        self.selected(&detail).map(|participant| participant.connection.clone())
    }

    pub(super) fn stream(&self, store: &Store, window: WindowId) -> Option<Clean> {
        let detail = store.session_detail(window)?;
        detail.streams.get(self.column).map(|stream| stream.id.clone())
    }

    pub(super) fn draw(
        &self,
        facts: &Facts<'_>,
        canvas: &mut Canvas<'_>,
        area: Rect,
        window: WindowId,
        focused: bool,
    ) {
        let note = match (facts.store.error(window), facts.store.session_detail(window)) {
            (Some(why), _) => why.to_string(),
            (None, Some(detail)) if detail.participants.is_empty() => "nobody is in the session".to_owned(),
            (None, Some(detail)) => {
                if self.listing {
                    self.draw_list(canvas, area, &detail, window, focused);
                } else {
                    self.draw_matrix(canvas, area, &detail, window, focused);
                }
                return;
            }
            (None, None) if self.session.is_none() => "no session is selected".to_owned(),
            (None, None) => "asking ...".to_owned(),
        };
        for (row, line) in (0..area.height).zip(text::wrap(&note, area.width.saturating_sub(2))) {
            canvas.line(area, row, &[(" ", Role::Dim), (&line, Role::Dim)]);
        }
    }

    fn draw_matrix(
        &self,
        canvas: &mut Canvas<'_>,
        area: Rect,
        detail: &SessionDetail,
        window: WindowId,
        focused: bool,
    ) {
        let wide = usize::from(area.width.saturating_sub(NAME_WIDTH) / CELL_WIDTH).max(1);
        let columns: Vec<usize> = (self.first..detail.streams.len().min(self.first + wide)).collect();
        draw_stream_heads(canvas, area, detail, &columns);
        let shown = (self.top..self.participants).take(self.height);
        for (index, y) in shown.zip(area.y + HEAD_ROWS..area.bottom()) {
            let row = Rect::new(area.x, y, area.width, 1);
            canvas.hit(row, Target::Row(window, index - self.top));
            let Some(participant) = index.checked_sub(self.base).and_then(|at| detail.participants.get(at))
            else {
                canvas.text(area.x + 2, y, 3, "...", Role::Dim);
                continue;
            };
            canvas.text(area.x + 2, y, 12, name_of(participant), Role::Text);
            canvas.aligned(area.x + 14, y, 5, &millis(participant.rtt_us), Role::Dim, Align::Right);
            let estimate = participant.estimate_bps.map_or_else(|| "?".to_owned(), text::si);
            canvas.aligned(area.x + 19, y, 6, &estimate, Role::Dim, Align::Right);
            if index == self.row {
                canvas.restyle(Rect { width: NAME_WIDTH - 1, ..row }, selection(focused));
                canvas.text(area.x, y, 1, ">", selection(focused));
            }
            for (x, column) in (0_u16..).zip(&columns) {
                let cell = participant.cells.get(*column).copied().unwrap_or_default();
                let (text, role) = cell_text(cell);
                let x = area.x + NAME_WIDTH + x * CELL_WIDTH;
                let selected = index == self.row && *column == self.column;
                let role = if selected { selection(focused) } else { role };
                let text = if selected { format!("[{text:<5}]") } else { format!(" {text}") };
                canvas.text(x, y, CELL_WIDTH, &text, role);
            }
        }
        self.draw_foot(canvas, area, detail);
    }

    /// The selected cell in words, and what the letters mean.
    fn draw_foot(&self, canvas: &mut Canvas<'_>, area: Rect, detail: &SessionDetail) {
        let numbers = match detail.measured_age_ms {
            Some(age) => format!("numbers {} old", text::span(age)),
            None => "no numbers from the media node".to_owned(),
        };
        let cell = self.selected(detail).zip(detail.streams.get(self.column)).map(|(participant, stream)| {
            let cell = participant.cells.get(self.column).copied().unwrap_or_default();
            format!("{} < {}: {}", name_of(participant), &*stream.publisher, cell_words(cell))
        });
        let line = cell.unwrap_or_default();
        canvas.line(area, area.height.saturating_sub(2), &[("  ", Role::Dim), (&line, Role::Text)]);
        let legend = format!(
            "h m l v layer  a audio  || paused  . own  - not asked for  ! failed  * loss > 2 %   {numbers}"
        );
        canvas.line(area, area.height.saturating_sub(1), &[("  ", Role::Dim), (&legend, Role::Dim)]);
    }

    fn draw_list(
        &self,
        canvas: &mut Canvas<'_>,
        area: Rect,
        detail: &SessionDetail,
        window: WindowId,
        focused: bool,
    ) {
        let head = format!(
            "  {:<14} {:<20} {:<10} {:<18} {:>5} {:>8} {:>10}  {}",
            "NAME", "CONNECTION", "ROLE", "ADDRESS", "RTT", "ESTIMATE", "RECEIVES", "CLIENT"
        );
        canvas.line(area, 0, &[(&head, Role::Head)]);
        let shown = (self.top..self.participants).take(self.height);
        for (index, y) in shown.zip(area.y + 1..area.bottom()) {
            let row = Rect::new(area.x, y, area.width, 1);
            let participant = index.checked_sub(self.base).and_then(|at| detail.participants.get(at));
            let line = participant.map_or_else(|| "  ...".to_owned(), |it| list_line(it, canvas.theme.cut()));
            canvas.text(area.x, y, area.width, &line, Role::Text);
            if index == self.row {
                canvas.restyle(row, selection(focused));
                canvas.text(area.x, y, 1, ">", selection(focused));
            }
            canvas.hit(row, Target::Row(window, index - self.top));
        }
    }
}

fn list_line(participant: &Participant, cut: &str) -> String {
    format!(
        "  {:<14} {:<20} {:<10} {:<18} {:>5} {:>8} {:>10}  {}",
        text::fit(name_of(participant), 14, cut),
        text::fit(&participant.connection, 20, cut),
        text::fit(&participant.role.to_lowercase(), 10, cut),
        text::fit(&participant.address, 18, cut),
        millis(participant.rtt_us),
        participant.estimate_bps.map_or_else(|| "?".to_owned(), text::si),
        text::bitrate(participant.receives_bps),
        &*participant.platform,
    )
}

/// A round trip in milliseconds.
fn millis(us: Option<u32>) -> String {
    match us {
        None => "?".to_owned(),
        Some(us) if us < 9_950 => format!("{:.1}", f64::from(us) / 1000.0),
        Some(us) => (us / 1000).to_string(),
    }
}

/// First of a number of things that show, so that one of them shows.
fn shown_from(first: usize, wanted: usize, shown: usize, total: usize) -> usize {
    first.min(wanted).max((wanted + 1).saturating_sub(shown)).min(total.saturating_sub(shown))
}

const fn selection(focused: bool) -> Role {
    if focused { Role::Selection } else { Role::SelectionDim }
}

fn name_of(participant: &Participant) -> &str {
    if participant.data.is_empty() { &participant.connection } else { &participant.data }
}

fn draw_stream_heads(canvas: &mut Canvas<'_>, area: Rect, detail: &SessionDetail, columns: &[usize]) {
    let labels = ["stream of", "codec layers", "b/s up", "loss up %"];
    for (label, y) in labels.iter().zip(area.y..) {
        canvas.text(area.x + 2, y, NAME_WIDTH - 3, label, Role::Dim);
    }
    canvas.aligned(area.x + 14, area.y + 3, 5, "rtt", Role::Head, Align::Right);
    canvas.aligned(area.x + 19, area.y + 3, 6, "est", Role::Head, Align::Right);
    for (x, column) in (0_u16..).zip(columns) {
        let stream: &Stream = &detail.streams[*column];
        let x = area.x + NAME_WIDTH + x * CELL_WIDTH + 1;
        let name = &*stream.publisher;
        let name = if stream.screen { format!("{}/", text::fit(name, 5, "")) } else { name.to_owned() };
        let loss = if stream.loss_permille.is_some_and(|it| it > LOSS_MARK) { Role::Warn } else { Role::Dim };
        canvas.text(x, area.y, CELL_WIDTH - 1, &name, Role::Head);
        let codec = match (stream.codec.is_empty(), stream.video) {
            (true, _) => "?".to_owned(),
            (false, true) => format!("{}{}", &*stream.codec, stream.encodings),
            (false, false) => stream.codec.to_lowercase(),
        };
        canvas.text(x, area.y + 1, CELL_WIDTH - 1, &codec, Role::Dim);
        canvas.text(x, area.y + 2, CELL_WIDTH - 1, &text::si(stream.rate_bps), Role::Text);
        let lost = stream.loss_permille.map_or_else(|| "?".to_owned(), |it| text::percent(it.into()));
        canvas.text(x, area.y + 3, CELL_WIDTH - 1, &lost, loss);
    }
}

/// One letter for an encoding among so many.
const fn layer_of(encoding: u8, encodings: u8) -> char {
    match (encoding, encodings) {
        (_, 0 | 1) => 'v',
        (0, _) => 'l',
        (1, 2) => 'h',
        (1, _) => 'm',
        _ => 'h',
    }
}

fn cell_text(cell: Cell) -> (String, Role) {
    let (audio, video) = match cell {
        Cell::Failed => return ("!".to_owned(), Role::Crit),
        Cell::None => return ("-".to_owned(), Role::Dim),
        Cell::Own => return (".".to_owned(), Role::Dim),
        Cell::Receives { audio, video } => (audio, video),
    };
    let lossy = [audio, video].into_iter().flatten().any(|media| media.loss_permille > LOSS_MARK);
    let sound = if audio.is_some() { " a" } else { "" };
    let mark = if lossy { "*" } else { "" };
    let (picture, paused) = match video {
        None => (String::new(), false),
        Some(Media { measured: false, .. }) => ("?".to_owned(), false),
        Some(Media { encoding: None, .. }) => ("||".to_owned(), true),
        Some(Media { encoding: Some(at), encodings, .. }) => (layer_of(at, encodings).to_string(), false),
    };
    let text = format!("{picture}{sound}{mark}");
    (text.trim().to_owned(), if lossy || paused { Role::Warn } else { Role::Text })
}

fn cell_words(cell: Cell) -> String {
    let words = |what: &str, media: Option<Media>| match media {
        None => format!("no {what}"),
        Some(media) if !media.measured => format!("{what} meant to flow"),
        Some(media) if media.encoding.is_none() => format!("{what} paused"),
        Some(media) => {
            let layer = match (what, media.encoding) {
                ("video", Some(at)) => format!(" layer {} of {}", at + 1, media.encodings.max(1)),
                _ => String::new(),
            };
            let loss = text::percent(media.loss_permille.into());
            format!("{what}{layer} {}  loss {loss} %", text::bitrate(media.rate_bps.into()))
        }
    };
    match cell {
        Cell::Failed => "cannot be forwarded to it".to_owned(),
        Cell::None => "not asked for".to_owned(),
        Cell::Own => "its own".to_owned(),
        Cell::Receives { audio, video } => format!("{}   {}", words("video", video), words("audio", audio)),
    }
}
