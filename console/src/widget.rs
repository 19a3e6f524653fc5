//! Pure: no clock, no I/O, no async.
//!
//! What views are drawn with. Nothing here gets more rows than it shows.

pub mod canvas;
pub mod spark;
