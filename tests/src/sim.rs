//! Shell: The seeded simulator of the cluster core: the real [`masterd::cluster::Core`], a store with delayed commits, nodes
//! that do what mediad's control does, clients, and faults, all on virtual time from one seed.
//!
//! - [`world`] is the scheduler: one queue of happenings, the links with their delays, the store.
//! - `link` carries messages between master and nodes.
//! - `node` models a media node's handling of commands.
//! - `recorder` models a recorder: jobs, their files across restarts, facts.
//! - `client` is the workload: participants that join, publish, play, watch, leave, vanish.
//! - `fault` breaks things.
//! - `checker` asserts: nothing that was not stored is seen; every viewer sees each event once and in order; what
//!   begins ends, in OpenVidu's order; the restored core equals the stored one; when everything heals, the nodes run
//!   exactly what the core intends.
//!
//! A failing run panics with its seed and its trace, one line per event; the same seed replays it.

#![expect(clippy::wildcard_enum_match_arm, reason = "a model follows what concerns it")]

mod checker;
mod client;
mod fault;
mod link;
mod node;
mod recorder;
mod trace;
pub mod world;

use std::time::Duration;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Media nodes.
    pub nodes: u64,
    /// Recorders.
    pub recorders: u64,
    /// Participants; each one comes back under a new token when it is out.
    pub clients: usize,
    /// Session names that they share.
    pub sessions: usize,
    /// Time with faults and work.
    pub chaos: Duration,
    /// Time after everything has healed, in which the system must settle.
    pub settle: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 3,
            recorders: 2,
            clients: 14,
            sessions: 4,
            chaos: Duration::from_secs(90),
            settle: Duration::from_secs(60),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Inputs to the core.
    pub steps: u64,
    /// Events that were stored.
    pub events: u64,
    /// Media resources that were opened.
    pub opened: u64,
    /// Recordings that began.
    pub recorded: u64,
    /// Recordings that were completed.
    pub completed: u64,
    /// Restarts of the master.
    pub restarts: u64,
    /// Faults by name.
    pub faults: std::collections::BTreeMap<&'static str, u64>,
    /// Hash of the whole trace: equal for equal seeds.
    pub digest: u64,
}

/// Runs one seed.
///
/// # Panics
/// When an invariant is broken or the system does not settle; prints seed and trace.
#[must_use]
pub fn run(seed: u64, plan: &Plan) -> Report {
    let mut world = world::World::new(seed, plan.clone());
    world.run()
}
