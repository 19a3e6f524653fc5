//! Shell: what the child does to itself before it touches a stranger's byte.

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// Why the child does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    /// The kernel refuses.
    #[error("cannot tie the studio to its recorder")]
    Tie(#[source] rustix::io::Errno),
    /// Nobody is there to talk to.
    #[error("the recorder is gone")]
    Orphan,
}

/// Dies with the recorder, and leaves no core file of other people's conversations.
pub(super) fn enter(parent: u32) -> Result<(), SandboxError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(SandboxError::Tie)?;
    // It may have died before that.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent != 0 && now != Some(parent) {
        return Err(SandboxError::Orphan);
    }
    limit(Resource::Core, 0);
    Ok(())
}

/// At most so much memory. Stacks of threads count whole here though they are hardly used, so the kernel's limit is
/// wide; [`resident_bytes`] is held against the true one.
pub(super) fn limit_memory(bytes: u64) {
    if bytes > 0 {
        limit(Resource::Data, bytes.saturating_mul(4).max(2 << 30));
    }
}

/// Memory in use.
pub(super) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    crate::load::parse_resident_bytes(&text).unwrap_or_default()
}

fn limit(resource: Resource, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: getrlimit(resource).maximum };
    if let Err(error) = setrlimit(resource, limit) {
        tracing::warn!(%error, "a limit cannot be set");
    }
}
