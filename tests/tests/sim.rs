//! The simulated cluster holds its invariants under faults, seed by seed. `SEED=7 cargo test -p tests --test sim`
//! replays one; `SEEDS=1000` runs that many.

use tests::sim::{Plan, Report, run};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|it| it.parse().ok())
}

/// Runs these seeds on two threads.
fn run_all(seeds: std::ops::Range<u64>, plan: &Plan) -> Vec<Report> {
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let mine: Vec<u64> = seeds.clone().filter(|seed| seed % 2 == half).collect();
            scope.spawn(move || mine.into_iter().map(|seed| run(seed, plan)).collect::<Vec<_>>())
        });
        halves.into_iter().flat_map(|it| it.join().expect("the trace is above")).collect()
    })
}

#[test]
fn twenty_seeds_hold_every_invariant_and_settle() {
    let plan = Plan::default();
    if let Some(seed) = from_env("SEED") {
        println!("{:#?}", run(seed, &plan));
        return;
    }
    let reports = run_all(0..from_env("SEEDS").unwrap_or(20), &plan);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (steps, events, opened, restarts) =
        (sum(|it| it.steps), sum(|it| it.events), sum(|it| it.opened), sum(|it| it.restarts));
    println!("{} seeds: {steps} steps, {events} events, {opened} opened, {restarts} restarts", reports.len());
    // A workload that does nothing would hold every invariant.
    let seeds = reports.len() as u64;
    assert!(events > 300 * seeds && opened > 30 * seeds && restarts > seeds, "the workload does little");
}

/// With five nodes and more, many that fall silent together make the master doubt itself.
#[test]
fn a_larger_cluster_holds_them_too() {
    let plan = Plan { nodes: 7, clients: 24, sessions: 6, ..Plan::default() };
    let reports = run_all(1000..1000 + from_env("SEEDS").unwrap_or(4), &plan);
    assert!(reports.iter().all(|it| it.opened > 30), "the workload does little");
}

#[test]
fn a_seed_replays_exactly() {
    let plan = Plan { chaos: std::time::Duration::from_secs(30), ..Plan::default() };
    assert_eq!(run(3, &plan).digest, run(3, &plan).digest);
    assert_ne!(run(3, &plan).digest, run(4, &plan).digest);
}
