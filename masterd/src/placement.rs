//! Pure: no clock, no I/O, no async.
//!
//! Which node a session goes to: filter, then the lowest of stress plus reservations; on a tie the node that was
//! chosen the longest ago. A plan changes nothing and carries its reasons.

pub mod learn;
pub mod score;

use std::time::Duration;

use common::id::NodeKey;
use common::wire::node::Load;

use crate::cluster::op::NodeStatus;

/// A node as placement sees it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The node.
    pub node: NodeKey,
    /// `media_...`.
    pub name: &'a str,
    /// Its state.
    pub status: NodeStatus,
    /// Its link stands.
    pub connected: bool,
    /// Nothing was heard for the suspect time.
    pub suspect: bool,
    /// It hosts no sessions at all.
    pub recorder: bool,
    /// Newest report.
    pub load: &'a Load,
    /// Age of the newest report; none before the first.
    pub load_age: Option<Duration>,
    /// Stress that was promised to it and has not shown yet.
    pub reserved: f64,
    /// Sessions (of a recorder: recordings) now, and at most (0 is no limit).
    pub sessions: (usize, u32),
    /// Counts placements; lower was chosen longer ago.
    pub placed: u64,
    /// The join was tried here already.
    pub tried: bool,
}

/// One node's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// `media_...`.
    pub name: String,
    /// Stress with reservations, 1 is full; none when refused.
    pub score: Option<f64>,
    /// How the score came about, or why it was refused.
    pub why: String,
}

/// A decision that is not carried out yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The node, unless none can take it.
    pub chosen: Option<NodeKey>,
    /// Best first, refused ones last.
    pub verdicts: Vec<Verdict>,
}

/// Reports older than this say nothing; a node that has never reported counts as idle.
pub const LOAD_AGE_MAX: Duration = Duration::from_secs(3);

/// What a node is chosen for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// A recording: by a recorder.
    Recording,
    /// A session: by a media node.
    Session,
}

/// Chooses a node; `wanted` is the only one (public id) that is accepted. For a recording only recorders are looked at.
#[must_use]
pub fn plan(candidates: &[Candidate<'_>], work: Work, wanted: Option<&str>) -> Plan {
    let mut judged: Vec<(&Candidate<'_>, Verdict)> = candidates
        .iter()
        .filter(|candidate| work == Work::Session || candidate.recorder)
        .map(|candidate| (candidate, judge(candidate, work, wanted)))
        .collect();
    judged.sort_by(|(a, one), (b, other)| {
        let rank = |verdict: &Verdict| verdict.score.unwrap_or(f64::INFINITY);
        rank(one).total_cmp(&rank(other)).then(a.placed.cmp(&b.placed)).then(a.node.cmp(&b.node))
    });
    let chosen = judged.first().filter(|(_, verdict)| verdict.score.is_some()).map(|(it, _)| it.node);
    Plan { chosen, verdicts: judged.into_iter().map(|(_, verdict)| verdict).collect() }
}

/// A plan without a node, in a sentence: none is there, or why each is refused.
#[must_use]
pub fn refusal(plan: &Plan, what: &str) -> String {
    if plan.verdicts.is_empty() {
        return format!("the cluster has no {what}");
    }
    let reasons: Vec<String> =
        plan.verdicts.iter().take(REASONS_MAX).map(|it| format!("{}: {}", it.name, it.why)).collect();
    format!("no {what} is free ({})", reasons.join("; "))
}

/// Nodes that a refusal names.
const REASONS_MAX: usize = 5;

fn judge(candidate: &Candidate<'_>, work: Work, wanted: Option<&str>) -> Verdict {
    let name = candidate.name.to_owned();
    if let Some(why) = objection(candidate, work, wanted) {
        return Verdict { name, score: None, why };
    }
    let (stress, cause) = score::stress(candidate.load);
    let score = stress + candidate.reserved;
    let why = format!("stress {stress:.3} by {cause} + reserved {:.3}", candidate.reserved);
    Verdict { name, score: Some(score), why }
}

/// Why a node cannot take a session at all.
fn objection(candidate: &Candidate<'_>, work: Work, wanted: Option<&str>) -> Option<String> {
    if wanted.is_some_and(|wanted| wanted != candidate.name) {
        return Some("another media node was asked for".to_owned());
    }
    if candidate.recorder && work == Work::Session {
        return Some("a recorder".to_owned());
    }
    if candidate.status != NodeStatus::Running {
        return Some(format!("status {:?}", candidate.status));
    }
    if !candidate.connected {
        return Some("not connected".to_owned());
    }
    if candidate.suspect {
        return Some("suspect: silent".to_owned());
    }
    if let Some(age) = candidate.load_age.filter(|age| *age > LOAD_AGE_MAX) {
        return Some(format!("load report {} s old", age.as_secs()));
    }
    let (sessions, sessions_max) = candidate.sessions;
    if sessions_max > 0 && sessions >= sessions_max as usize {
        let what = if work == Work::Session { "sessions" } else { "recordings" };
        return Some(format!("full: {sessions} {what}"));
    }
    let what = if work == Work::Session { "join" } else { "recording" };
    candidate.tried.then(|| format!("refused this {what} already"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate<'a>(node: u64, load: &'a Load, name: &'a str) -> Candidate<'a> {
        Candidate {
            node: NodeKey(node),
            name,
            status: NodeStatus::Running,
            connected: true,
            suspect: false,
            recorder: false,
            load,
            load_age: Some(Duration::from_secs(1)),
            reserved: 0.0,
            sessions: (0, 0),
            placed: 0,
            tried: false,
        }
    }

    #[test]
    fn the_least_stressed_wins_reservations_included() {
        let idle = Load { cpu_permille: 80, ..Load::default() };
        let busy = Load { cpu_permille: 400, ..Load::default() };
        let mut nodes = [candidate(1, &busy, "media_a"), candidate(2, &idle, "media_b")];
        assert_eq!(plan(&nodes, Work::Session, None).chosen, Some(NodeKey(2)));
        nodes[1].reserved = 0.9;
        let plan = plan(&nodes, Work::Session, None);
        assert_eq!(plan.chosen, Some(NodeKey(1)));
        assert_eq!(plan.verdicts[0].why, "stress 0.500 by cpu + reserved 0.000");
        assert_eq!(plan.verdicts[1].score.map(|it| (it * 100.0).round()), Some(100.0));
    }

    #[test]
    fn a_tie_goes_to_the_one_chosen_the_longest_ago() {
        let load = Load::default();
        let mut nodes = [candidate(1, &load, "media_a"), candidate(2, &load, "media_b")];
        nodes[0].placed = 5;
        assert_eq!(plan(&nodes, Work::Session, None).chosen, Some(NodeKey(2)));
    }

    #[test]
    fn every_objection_is_named() {
        let load = Load::default();
        let good = candidate(1, &load, "media_a");
        for (bad, wanted, why) in [
            (good.clone(), Some("media_b"), "another media node was asked for"),
            (Candidate { recorder: true, ..good.clone() }, None, "a recorder"),
            (
                Candidate { status: NodeStatus::WaitingIdleToTerminate, ..good.clone() },
                None,
                "status WaitingIdleToTerminate",
            ),
            (Candidate { connected: false, ..good.clone() }, None, "not connected"),
            (Candidate { suspect: true, ..good.clone() }, None, "suspect: silent"),
            (
                Candidate { load_age: Some(Duration::from_secs(4)), ..good.clone() },
                None,
                "load report 4 s old",
            ),
            (Candidate { sessions: (2, 2), ..good.clone() }, None, "full: 2 sessions"),
            (Candidate { tried: true, ..good.clone() }, None, "refused this join already"),
        ] {
            let plan = plan(&[bad], Work::Session, wanted);
            assert_eq!((plan.chosen, plan.verdicts[0].why.as_str()), (None, why));
        }
        assert_eq!(plan(&[good], Work::Session, Some("media_a")).chosen, Some(NodeKey(1)));
    }

    #[test]
    fn recordings_go_to_recorders_alone() {
        let load = Load::default();
        let media = candidate(1, &load, "media_a");
        let full = Candidate { recorder: true, sessions: (2, 2), ..candidate(2, &load, "media_r1") };
        let free = Candidate { recorder: true, sessions: (1, 2), ..candidate(3, &load, "media_r2") };
        let nodes = [media.clone(), full.clone(), free];
        let recorder = plan(&nodes, Work::Recording, None);
        assert_eq!((recorder.chosen, recorder.verdicts.len()), (Some(NodeKey(3)), 2));
        let none = plan(&nodes[..1], Work::Recording, None);
        assert_eq!(refusal(&none, "recorder"), "the cluster has no recorder");
        let none = plan(&[media, full], Work::Recording, None);
        assert_eq!(refusal(&none, "recorder"), "no recorder is free (media_r1: full: 2 recordings)");
    }
}
