//! Pure: no clock, no I/O, no async.
//!
//! Windows of rows, both ends. A [`Board`] holds what a cluster looks like now; a [`View`] is one subscription to it and
//! says what changed in its window; a [`Mirror`] at the other end takes that in and holds the same window. masterd and the
//! console's made-up cluster have the first two, consoles the third.
//!
//! ```
//! use common::operator::{Board, Mirror, Source, View};
//! use common::wire::operator::{Order, Subscribe, Topic, Window};
//!
//! let board = Board::default();
//! let window = Window { first: 0, count: 20, from_end: false };
//! let (filter, order) = ("cpu>80".to_owned(), Order::default());
//! let mut view =
//!     View::new(Subscribe { sub: 1, topic: Topic::Nodes, filter, order, window, interval_ms: 1000, ext: Vec::new() });
//! let mut mirror = Mirror::default();
//! let delta = view.next(0, &Source::Board(&board)).unwrap();
//! mirror.apply(delta);
//! assert_eq!(mirror.total, 0);
//! ```

mod board;
mod fields;
pub mod filter;
mod mirror;
mod view;

pub use self::board::{Board, EVENTS_MAX, Listing, SAMPLES_MAX};
pub use self::fields::{InTime, field_names, own_order, state_word};
pub use self::mirror::Mirror;
pub use self::view::{Source, View};

#[cfg(test)]
mod tests;
