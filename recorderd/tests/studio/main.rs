//! The studio as a recorder runs it: the real child process, fed with real RTP, and its files decoded again.

#![expect(clippy::unwrap_used, reason = "a test's material that cannot be made is a failed test")]

mod clip;
mod composed;
mod eye;
mod individual;
mod process;
