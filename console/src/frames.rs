//! Pure: no clock, no I/O, no async.
//!
//! The console without a terminal: events in, effects and bytes out. The shell and the tests drive the same.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::draw::{Screen, draw};
use crate::effect::Effect;
use crate::event::Event;
use crate::paint::Painter;
use crate::state::State;
use crate::update::update;
use crate::widget::canvas::target_at;

/// State, the last frame, and what the terminal shows.
#[derive(Debug)]
pub struct Frames {
    /// Everything that the console holds.
    pub state: State,
    buffer: Buffer,
    screen: Screen,
    painter: Painter,
}

impl Frames {
    /// Nothing drawn yet.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state, buffer: Buffer::empty(Rect::ZERO), screen: Screen::default(), painter: Painter::new() }
    }

    /// Takes an event in. The mouse is resolved against the last frame: that is what the user saw.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        let event = match event {
            Event::Mouse(mut mouse) => {
                mouse.target = target_at(&self.screen.hits, Position::new(mouse.x, mouse.y));
                Event::Mouse(mouse)
            }
            other @ (Event::Key(_)
            | Event::Message(_)
            | Event::Paste(_)
            | Event::Resize { .. }
            | Event::Tick) => other,
        };
        update(&mut self.state, now, event)
    }

    /// Draws; gives the bytes that bring the terminal up to date, none when it is.
    pub fn paint(&mut self) -> Vec<u8> {
        self.draw();
        self.painter.paint(&self.buffer, self.screen.cursor)
    }

    /// Draws into memory.
    pub fn draw(&mut self) -> &Buffer {
        let (width, height) = self.state.size;
        let area = Rect::new(0, 0, width, height);
        if *self.buffer.area() == area {
            self.buffer.reset();
        } else {
            self.buffer = Buffer::empty(area);
        }
        self.screen = draw(&self.state, &mut self.buffer);
        &self.buffer
    }

    /// Forgets what the terminal shows.
    pub fn forget(&mut self) {
        self.painter.forget();
    }
}
