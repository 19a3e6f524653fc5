//! Pure: no clock, no I/O, no async.
//!
//! One session: who gets what of whom as a matrix of participants and streams, or the participants as a list.

use common::id::SessionKey;
use ratatui::layout::Rect;

use super::{Facts, Motion, motion};
use crate::desktop::WindowId;
use crate::event::Target;
use crate::model::{Cell, Participant, SessionDetail, Stream, Topic};
use crate::store::{Detail, Store};
use crate::text::{self, Clean};
use crate::theme::Role;
use crate::verbs::Command;
use crate::widget::canvas::{Align, Canvas};

/// Loss above which a cell is marked, permille.
const LOSS_MARK: u32 = 20;

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
        let node = self
            .session
            .and_then(|key| facts.store.session(key)?.node)
            .and_then(|key| facts.store.node(key))
            .map(|entry| entry.node.name.to_string());
        let mut remark = node.unwrap_or_default();
        if self.participants > 0 {
            remark = format!("{remark}  {} part  {} streams", self.participants, self.streams);
        }
        remark
    }

    fn detail<'a>(&self, store: &'a Store) -> Option<Result<&'a SessionDetail, &'a Clean>> {
        match store.detail(Topic::Session(self.session?))?.1 {
            Detail::Session(detail) => Some(detail.as_deref()),
            Detail::Placement(_) => None,
        }
    }

    pub(super) fn settle(&mut self, facts: &Facts<'_>, area: Rect) {
        let (participants, streams) = match self.detail(facts.store) {
            Some(Ok(detail)) => (detail.participants.len(), detail.streams.len()),
            Some(Err(_)) | None => (0, 0),
        };
        (self.participants, self.streams) = (participants, streams);
        self.row = self.row.min(participants.saturating_sub(1));
        self.column = self.column.min(streams.saturating_sub(1));
        let head = if self.listing { 1 } else { HEAD_ROWS };
        // The legend takes the last row of the matrix.
        let foot = u16::from(!self.listing);
        self.height = usize::from(area.height.saturating_sub(head + foot)).max(1);
        let wide = usize::from(area.width.saturating_sub(NAME_WIDTH) / CELL_WIDTH).max(1);
        self.top = window(self.top, self.row, self.height, participants);
        self.first = window(self.first, self.column, wide, streams);
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

    pub(super) fn connection(&self, store: &Store) -> Option<Clean> {
        let detail = self.detail(store)?.ok()?;
        detail.participants.get(self.row).map(|participant| participant.connection.clone())
    }

    pub(super) fn draw(
        &self,
        facts: &Facts<'_>,
        canvas: &mut Canvas<'_>,
        area: Rect,
        window: WindowId,
        focused: bool,
    ) {
        let note = match self.detail(facts.store) {
            Some(Ok(detail)) if detail.participants.is_empty() => "nobody is in the session".to_owned(),
            Some(Ok(detail)) => {
                if self.listing {
                    self.draw_list(canvas, area, detail, window, focused);
                } else {
                    self.draw_matrix(canvas, area, detail, window, focused);
                }
                return;
            }
            Some(Err(why)) => why.to_string(),
            None if self.session.is_none() => "no session is selected".to_owned(),
            None => "asking ...".to_owned(),
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
        let shown = (self.top..detail.participants.len()).take(self.height);
        for (index, y) in shown.zip(area.y + HEAD_ROWS..area.bottom()) {
            let participant = &detail.participants[index];
            let row = Rect::new(area.x, y, area.width, 1);
            canvas.hit(row, Target::Row(window, index - self.top));
            let rtt = participant.rtt_ms.map_or_else(|| "?".to_owned(), |rtt| rtt.to_string());
            canvas.text(area.x + 2, y, 12, name_of(participant), Role::Text);
            canvas.aligned(area.x + 14, y, 5, &rtt, Role::Dim, Align::Right);
            let estimate = participant.estimate_bps.map_or_else(|| "?".to_owned(), short_rate);
            canvas.aligned(area.x + 19, y, 6, &estimate, Role::Dim, Align::Right);
            if index == self.row {
                canvas.restyle(Rect { width: NAME_WIDTH - 1, ..row }, selection(focused));
                canvas.text(area.x, y, 1, ">", selection(focused));
            }
            for (x, column) in (0_u16..).zip(&columns) {
                let cell =
                    detail.cells.get(index * detail.streams.len() + column).copied().unwrap_or_default();
                let (text, role) = cell_text(cell);
                let x = area.x + NAME_WIDTH + x * CELL_WIDTH;
                let selected = index == self.row && *column == self.column;
                let role = if selected { selection(focused) } else { role };
                let text = if selected { format!("[{text:<5}]") } else { format!(" {text}") };
                canvas.text(x, y, CELL_WIDTH, &text, role);
            }
        }
        let legend = "h m l layer  a audio  || paused  . own  - not subscribed  ! failed  * loss > 2 %";
        canvas.line(area, area.height - 1, &[("  ", Role::Dim), (legend, Role::Dim)]);
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
            "  {:<14} {:<20} {:<22} {:<6} {:>5} {:>8} {:>10}",
            "NAME", "CONNECTION", "ADDRESS", "VIA", "RTT", "ESTIMATE", "RECEIVES"
        );
        canvas.line(area, 0, &[(&head, Role::Head)]);
        let shown = (self.top..detail.participants.len()).take(self.height);
        for (index, y) in shown.zip(area.y + 1..area.bottom()) {
            let participant = &detail.participants[index];
            let row = Rect::new(area.x, y, area.width, 1);
            let cut = canvas.theme.cut();
            let line = format!(
                "  {:<14} {:<20} {:<22} {:<6} {:>5} {:>8} {:>10}",
                text::fit(name_of(participant), 14, cut),
                text::fit(&participant.connection, 20, cut),
                text::fit(&participant.address, 22, cut),
                text::fit(&participant.transport, 6, cut),
                participant.rtt_ms.map_or_else(|| "?".to_owned(), |rtt| rtt.to_string()),
                participant.estimate_bps.map_or_else(|| "?".to_owned(), short_rate),
                text::bitrate(participant.receives_bps),
            );
            canvas.text(area.x, y, area.width, &line, Role::Text);
            if index == self.row {
                canvas.restyle(row, selection(focused));
                canvas.text(area.x, y, 1, ">", selection(focused));
            }
            canvas.hit(row, Target::Row(window, index - self.top));
        }
    }
}

/// First of a number of things that show, so that one of them shows.
fn window(first: usize, wanted: usize, shown: usize, total: usize) -> usize {
    first.min(wanted).max((wanted + 1).saturating_sub(shown)).min(total.saturating_sub(shown))
}

const fn selection(focused: bool) -> Role {
    if focused { Role::Selection } else { Role::SelectionDim }
}

fn name_of(participant: &Participant) -> &str {
    if participant.data.is_empty() { &participant.connection } else { &participant.data }
}

/// A rate in five cells: `12.0M`, `820k`.
fn short_rate(bps: u64) -> String {
    text::si(bps)
}

fn draw_stream_heads(canvas: &mut Canvas<'_>, area: Rect, detail: &SessionDetail, columns: &[usize]) {
    let labels = ["stream of", "layers up", "b/s up", "loss up %"];
    for (label, y) in labels.iter().zip(area.y..) {
        canvas.text(area.x + 2, y, NAME_WIDTH - 3, label, Role::Dim);
    }
    canvas.aligned(area.x + 14, area.y + 3, 5, "rtt", Role::Head, Align::Right);
    canvas.aligned(area.x + 19, area.y + 3, 6, "est", Role::Head, Align::Right);
    for (x, column) in (0_u16..).zip(columns) {
        let stream: &Stream = &detail.streams[*column];
        let x = area.x + NAME_WIDTH + x * CELL_WIDTH + 1;
        let name = detail.participants.get(stream.publisher).map_or("?", name_of);
        let name =
            if &*stream.kind == "screen" { format!("{}/", text::fit(name, 5, "")) } else { name.to_owned() };
        let loss = if stream.loss_permille > LOSS_MARK { Role::Warn } else { Role::Dim };
        canvas.text(x, area.y, CELL_WIDTH - 1, &name, Role::Head);
        canvas.text(x, area.y + 1, CELL_WIDTH - 1, &stream.layers, Role::Dim);
        canvas.text(x, area.y + 2, CELL_WIDTH - 1, &short_rate(stream.bitrate_bps), Role::Text);
        canvas.text(x, area.y + 3, CELL_WIDTH - 1, &text::percent(stream.loss_permille), loss);
    }
}

fn cell_text(cell: Cell) -> (String, Role) {
    match cell {
        Cell::Failed => ("!".to_owned(), Role::Crit),
        Cell::Forwarded { layer, audio, loss_permille } => {
            let lossy = loss_permille > LOSS_MARK;
            let text = format!("{layer} {}{}", if audio { "a" } else { " " }, if lossy { "*" } else { "" });
            (text.trim().to_owned(), if lossy { Role::Warn } else { Role::Text })
        }
        Cell::None => ("-".to_owned(), Role::Dim),
        Cell::Own => (".".to_owned(), Role::Dim),
        Cell::Paused { audio } => (if audio { "|| a" } else { "||" }.to_owned(), Role::Warn),
    }
}
