//! The operator console: a desktop in the terminal that shows a cluster's nodes and sessions live, and the same as
//! commands for scripts. It is a client; masterd alone decides.
//!
//! One direction: terminal input, messages of a source and time become one stream of [`event::Event`]s;
//! [`update::update`] is pure and gives [`effect::Effect`]s; [`draw::draw`] changes nothing. [`frames::Frames`] is the
//! whole without a terminal, [`app`] and `shell` add the terminal, threads and links.

pub mod app;
pub mod args;
pub mod cli;
pub mod context;
pub mod demo;
pub mod desktop;
pub mod draw;
pub mod effect;
pub mod event;
pub mod frames;
pub mod keys;
pub mod model;
pub mod output;
pub mod paint;
pub mod rows;
pub mod shell;
pub mod state;
pub mod store;
pub mod text;
pub mod theme;
pub mod update;
pub mod verbs;
pub mod view;
pub mod widget;
