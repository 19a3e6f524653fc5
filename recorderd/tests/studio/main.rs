//! The studio as a recorder runs it: the real child process, fed with real RTP, and its files decoded again.

mod clip;
mod composed;
mod eye;
mod individual;
mod process;
