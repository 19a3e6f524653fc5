//! Agents against each other on a simulated network with virtual time: latency, loss, NAT rebinding, a second node.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: format!("{name}ufrag"), password: format!("{name}-password-of-24-bytes") }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The browser's tie-breaker is any number below ours.
fn browser_settings() -> Settings {
    Settings { tie_breaker: 1 << 40, ..Settings::default() }
}

/// One end: its agent and the address that others see.
struct End {
    agent: Agent,
    at: SocketAddr,
    log: Vec<Output>,
    /// Checks and answers that it sent: when, and whether nominating.
    checks: Vec<(Instant, bool)>,
    bytes_out: usize,
    dead: bool,
}

struct Net {
    now: Instant,
    ends: Vec<End>,
    /// Deliver when, to whom, from where, what.
    wire: Vec<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    latency: Duration,
    loss_permille: u32,
    random: SmallRng,
}

const SERVER: usize = 0;
const CLIENT: usize = 1;

impl Net {
    /// A server and a browser that know each other's credentials; only the server knows the browser's address.
    fn new(server: Settings, client: Settings, loss_permille: u32, seed: u64) -> Self {
        let now = Instant::now();
        let mut net = Self {
            now,
            ends: Vec::new(),
            wire: Vec::new(),
            latency: ms(20),
            loss_permille,
            random: SmallRng::seed_from_u64(seed),
        };
        let (ours, theirs) = (credentials("s"), credentials("c"));
        net.add(Agent::new(now, server, ours.clone(), Some(theirs.clone()), 1), "192.0.2.1:40000");
        net.add(Agent::new(now, client, theirs, Some(ours), 2), "198.51.100.7:5000");
        net.tell(SERVER, "198.51.100.7:5000");
        net.tell(CLIENT, "192.0.2.1:40000");
        net
    }

    fn add(&mut self, agent: Agent, at: &str) {
        let at = address(at);
        self.ends.push(End { agent, at, log: Vec::new(), checks: Vec::new(), bytes_out: 0, dead: false });
        self.drain(self.ends.len() - 1);
    }

    fn tell(&mut self, end: usize, candidate: &str) {
        self.input(end, Input::Candidate(Candidate { address: address(candidate), priority: 100 }));
    }

    fn input(&mut self, end: usize, input: Input<'_>) {
        self.ends[end].agent.handle(self.now, input);
        self.drain(end);
    }

    /// Media from one end to the other, if the address that `from` would use leads there.
    fn media(&mut self, from: usize, to: usize) -> bool {
        let source = self.ends[from].at;
        if self.ends[from].agent.selected() != Some(self.ends[to].at) || self.ends[to].dead {
            return false;
        }
        self.ends[to].agent.note_media(self.now, source);
        self.drain(to);
        true
    }

    fn drain(&mut self, at: usize) {
        let end = &mut self.ends[at];
        while let Some(output) = end.agent.poll_output() {
            match output {
                Output::Transmit { to, bytes } => {
                    let message = Message::parse(&bytes).unwrap();
                    if message.class == Class::Request {
                        end.checks.push((self.now, message.use_candidate));
                    }
                    end.bytes_out += bytes.len();
                    let lost = self.random.random_ratio(self.loss_permille, 1000);
                    if !lost && !end.dead {
                        self.wire.push((self.now + self.latency, to, end.at, bytes));
                    }
                }
                Output::Selected(_) | Output::State(_) => end.log.push(output),
            }
        }
    }

    fn run_until(&mut self, until: Instant) {
        loop {
            let timers = self.ends.iter().filter_map(|end| end.agent.deadline());
            let next = timers.chain(self.wire.iter().map(|packet| packet.0)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(at) = self.wire.iter().position(|packet| packet.0 <= self.now) {
                let (_, to, from, bytes) = self.wire.remove(at);
                let target = self.ends.iter().position(|end| end.at == to && !end.dead);
                if let Some(target) = target {
                    self.input(target, Input::Datagram { from, bytes: &bytes });
                }
            }
            for at in 0..self.ends.len() {
                if self.ends[at].agent.deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.input(at, Input::Tick);
                    let next = self.ends[at].agent.deadline();
                    assert!(next.is_none_or(|next| next > self.now), "end {at} would spin");
                }
            }
        }
        self.now = until;
    }

    fn run(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    fn state(&self, end: usize) -> State {
        self.ends[end].agent.state()
    }

    fn selected(&self, end: usize) -> Option<SocketAddr> {
        self.ends[end].agent.selected()
    }

    /// Runs until both ends carry media, and gives the time that it took.
    fn connect(&mut self) -> Duration {
        let start = self.now;
        while self.state(SERVER) != State::Connected || self.state(CLIENT) != State::Connected {
            assert!(self.now - start < Duration::from_secs(30), "never connected");
            self.run(ms(5));
        }
        self.now - start
    }
}

#[test]
fn a_browser_that_offered_yields_the_controlling_role_and_is_connected_in_two_round_trips() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    let took = net.connect();
    assert!(took <= ms(90), "{took:?}");
    net.run(ms(500));
    assert_eq!(
        (net.ends[SERVER].agent.role, net.ends[CLIENT].agent.role),
        (Role::Controlling, Role::Controlled)
    );
    assert_eq!(net.selected(SERVER), Some(net.ends[CLIENT].at));
    assert_eq!(net.selected(CLIENT), Some(net.ends[SERVER].at));
    let selections =
        |end: usize| net.ends[end].log.iter().filter(|output| matches!(output, Output::Selected(_))).count();
    assert_eq!((selections(SERVER), selections(CLIENT)), (1, 1));
}

#[test]
fn the_side_with_the_lower_tie_breaker_yields_whoever_it_is() {
    let mut net = Net::new(browser_settings(), Settings::default(), 0, 0);
    net.connect();
    net.run(ms(500));
    assert_eq!(
        (net.ends[SERVER].agent.role, net.ends[CLIENT].agent.role),
        (Role::Controlled, Role::Controlling)
    );
}

#[test]
fn half_of_all_packets_may_be_lost() {
    for seed in 0..40 {
        let mut net = Net::new(Settings::default(), browser_settings(), 500, seed);
        let took = net.connect();
        assert!(took < Duration::from_secs(15), "seed {seed}: {took:?}");
    }
}

#[test]
fn without_any_candidate_the_clients_own_checks_are_enough() {
    for settings in [Settings::default(), Settings::lite()] {
        let now = Instant::now();
        let mut net = Net::new(settings, browser_settings(), 0, 0);
        // mDNS names only: the server knows no address.
        net.ends[SERVER].agent = Agent::new(now, settings, credentials("s"), Some(credentials("c")), 1);
        net.connect();
        assert_eq!(net.selected(SERVER), Some(net.ends[CLIENT].at));
    }
}

#[test]
fn a_quiet_connection_costs_one_check_each_way_every_few_seconds_and_stands() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    let before = net.ends[SERVER].checks.len();
    net.run(Duration::from_secs(60));
    let checks = net.ends[SERVER].checks.len() - before;
    assert!((20..=30).contains(&checks), "{checks} checks in a minute");
    assert_eq!(net.ends[SERVER].log.len(), 2, "{:?}", net.ends[SERVER].log);
}

#[test]
fn a_tenth_of_the_packets_lost_for_ten_minutes_never_disconnects() {
    let mut net = Net::new(Settings::default(), browser_settings(), 100, 3);
    net.connect();
    net.run(Duration::from_secs(600));
    assert_eq!(net.ends[SERVER].log.len(), 2, "{:?}", net.ends[SERVER].log);
}

#[test]
fn silence_disconnects_after_five_seconds_heals_and_fails_after_twenty() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(10));
    net.ends[CLIENT].dead = true;
    net.run(ms(2400));
    assert_eq!(net.state(SERVER), State::Connected);
    net.run(ms(5000));
    assert_eq!(net.state(SERVER), State::Disconnected);
    net.run(Duration::from_secs(8));
    net.ends[CLIENT].dead = false;
    net.run(Duration::from_secs(2));
    assert_eq!(net.state(SERVER), State::Connected);
    net.ends[CLIENT].dead = true;
    net.run(Duration::from_secs(24));
    assert_eq!(net.state(SERVER), State::Failed);
    assert_eq!(net.ends[SERVER].agent.deadline(), None);
}

#[test]
fn media_alone_keeps_a_connection_alive() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.ends[CLIENT].dead = true;
    for _ in 0..600 {
        net.run(ms(50));
        assert!(net.media(CLIENT, SERVER));
    }
    assert_eq!(net.state(SERVER), State::Connected);
}

#[test]
fn a_client_that_never_comes_fails_in_time() {
    let mut net = Net::new(Settings::default(), browser_settings(), 1000, 0);
    net.run(Duration::from_secs(29));
    assert_eq!(net.state(SERVER), State::Checking);
    net.run(Duration::from_secs(2));
    assert_eq!(net.state(SERVER), State::Failed);
    // Eight quick ones, then one each 1.6 s.
    assert!(net.ends[SERVER].checks.len() < 30, "{}", net.ends[SERVER].checks.len());
}

#[test]
fn a_new_nat_port_is_followed_within_a_round_trip_of_the_first_media() {
    for settings in [Settings::default(), Settings::lite()] {
        let mut net = Net::new(settings, browser_settings(), 0, 0);
        net.connect();
        net.run(Duration::from_secs(3));
        net.ends[CLIENT].at = address("198.51.100.7:6000");
        assert!(net.media(CLIENT, SERVER));
        if settings.lite {
            // A lite agent cannot ask: it waits for the client's next check.
            net.run(ms(3000));
        } else {
            net.run(ms(45));
        }
        net.media(CLIENT, SERVER);
        assert_eq!(net.selected(SERVER), Some(address("198.51.100.7:6000")), "lite {}", settings.lite);
        assert_eq!(net.ends[SERVER].agent.counters().moves, 1);
    }
}

#[test]
fn a_new_nat_port_of_a_silent_client_is_followed_by_its_checks() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(7));
    net.ends[CLIENT].at = address("198.51.100.7:6000");
    net.run(Duration::from_secs(6));
    assert_eq!(net.selected(SERVER), Some(address("198.51.100.7:6000")));
    assert_eq!(net.state(SERVER), State::Connected);
}

#[test]
fn late_media_from_the_old_address_does_not_turn_the_call_back() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(1));
    let old = net.ends[CLIENT].at;
    net.ends[CLIENT].at = address("198.51.100.7:6000");
    net.media(CLIENT, SERVER);
    net.run(ms(45));
    net.media(CLIENT, SERVER);
    let now = net.now;
    net.ends[SERVER].agent.note_media(now, old);
    assert_eq!(net.selected(SERVER), Some(address("198.51.100.7:6000")));
}

#[test]
fn media_from_an_address_that_answers_no_check_moves_nothing() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(1));
    let before = net.ends[SERVER].checks.len();
    for _ in 0..2000 {
        let now = net.now;
        // Replayed by someone on the path with a victim's address as its source.
        net.ends[SERVER].agent.note_media(now, address("203.0.113.66:9"));
        net.drain(SERVER);
        net.media(CLIENT, SERVER);
        net.run(ms(5));
    }
    assert_eq!(net.selected(SERVER), Some(net.ends[CLIENT].at));
    let checks = net.ends[SERVER].checks.len() - before;
    assert!(checks < 24, "{checks} checks in 10 s");
}

#[test]
fn only_valid_credentials_are_answered_and_never_with_more_bytes() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(1));
    let check = |remote: &str, password: &str| {
        stun::write_check(
            &stun::Check {
                transaction: TransactionId([9; 12]),
                remote_ufrag: remote,
                local_ufrag: "cufrag",
                priority: 5,
                role: RoleClaim::Controlled(7),
                nomination: None,
            },
            &IntegrityKey::new(password),
        )
    };
    let stranger = address("203.0.113.5:99");
    let before = net.ends[SERVER].bytes_out;
    for (remote, password) in [("sufrag", "wrong"), ("other", "s-password-of-24-bytes")] {
        net.input(SERVER, Input::Datagram { from: stranger, bytes: &check(remote, password) });
    }
    net.input(SERVER, Input::Datagram { from: stranger, bytes: &[0, 1, 2, 3] });
    assert_eq!(net.ends[SERVER].bytes_out, before);
    assert_eq!(net.ends[SERVER].agent.counters().unauthentic, 3);
    let good = check("sufrag", "s-password-of-24-bytes");
    for _ in 0..10_000 {
        net.input(SERVER, Input::Datagram { from: stranger, bytes: &good });
    }
    let sent = net.ends[SERVER].bytes_out - before;
    assert!(sent <= 62 * good.len(), "{sent} bytes");
    assert!(net.ends[SERVER].agent.counters().over_limit >= 9_900);
}

#[test]
fn addresses_are_bounded_and_the_selected_one_stays() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    for port in 1..3000 {
        net.tell(SERVER, &format!("203.0.113.5:{port}"));
        let now = net.now;
        net.ends[SERVER].agent.note_media(now, SocketAddr::new(address("203.0.113.6:1").ip(), port));
        net.drain(SERVER);
    }
    for odd in ["0.0.0.0:7", "224.0.0.1:7", "255.255.255.255:7", "203.0.113.7:0", "[::]:4", "[ff02::1]:4"] {
        net.tell(SERVER, odd);
    }
    assert!(net.ends[SERVER].agent.pairs.len() <= PAIRS_MAX);
    assert!(!net.ends[SERVER].agent.pairs.iter().any(|pair| !is_reachable(pair.remote)));
    assert_eq!(net.selected(SERVER), Some(net.ends[CLIENT].at));
}

#[test]
fn an_adopter_moves_the_client_at_once_and_sends_media_behind_its_first_check() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(40));
    let saved = net.ends[SERVER].agent.save().unwrap();
    net.ends[SERVER].dead = true;
    net.run(ms(300));
    let start = net.now;
    net.add(Agent::adopt(start, Settings::default(), saved, 3), "192.0.2.2:41000");
    let adopter = 2;
    assert_eq!(net.ends[adopter].log, [Output::Selected(net.ends[CLIENT].at)]);
    assert_eq!(net.ends[adopter].checks, [(start, true)]);
    net.run(ms(130));
    assert_eq!(net.selected(CLIENT), Some(net.ends[adopter].at));
    assert_eq!(net.state(adopter), State::Connected);
    assert_eq!(net.state(CLIENT), State::Connected);
    assert!(net.ends[CLIENT].log.iter().all(|output| *output != Output::State(State::Disconnected)));
}

#[test]
fn an_adopter_that_nobody_hears_sends_twenty_quick_checks_and_then_slow_ones() {
    let now = Instant::now();
    let saved = SavedIce {
        local: credentials("s"),
        remote: credentials("c"),
        role: Role::Controlling,
        generation: 4,
        selected: Some(address("198.51.100.7:5000")),
    };
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.ends.clear();
    net.add(Agent::adopt(now, Settings::default(), saved, 3), "192.0.2.2:41000");
    net.run(ms(999));
    assert_eq!(net.ends[0].checks.len(), 20);
    net.run(Duration::from_secs(10));
    assert!((29..=31).contains(&net.ends[0].checks.len()), "{}", net.ends[0].checks.len());
}

#[test]
fn a_warm_standby_moves_nobody_before_it_is_promoted_and_then_within_a_trip() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    let saved = net.ends[SERVER].agent.save().unwrap();
    net.add(Agent::standby(net.now, Settings::default(), saved, 3), "192.0.2.2:41000");
    let standby = 2;
    net.run(Duration::from_secs(60));
    assert_eq!(net.selected(CLIENT), Some(net.ends[SERVER].at));
    assert!(net.ends[standby].log.is_empty());
    assert!(net.ends[standby].checks.iter().all(|(_, nominating)| !nominating));
    assert!((20..40).contains(&net.ends[standby].checks.len()), "{}", net.ends[standby].checks.len());
    net.input(standby, Input::Promote);
    net.run(ms(25));
    assert_eq!(net.selected(CLIENT), Some(net.ends[standby].at));
    net.run(ms(50));
    assert_eq!(net.state(standby), State::Connected);
}

#[test]
fn a_second_move_outranks_the_first_and_a_revived_node_does_not_win_the_client_back() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    let first = net.ends[SERVER].agent.save().unwrap();
    net.add(Agent::adopt(net.now, Settings::default(), first, 3), "192.0.2.2:41000");
    net.run(ms(500));
    let second = net.ends[2].agent.save().unwrap();
    assert_eq!(second.generation, 1);
    net.add(Agent::adopt(net.now, Settings::default(), second, 4), "192.0.2.3:42000");
    net.run(Duration::from_secs(30));
    assert_eq!(net.selected(CLIENT), Some(net.ends[3].at));
    assert_eq!(net.ends[3].agent.priority(), candidate_priority(0) + 2 * PRIORITY_STEP);
}

#[test]
fn an_adopter_of_a_controlling_client_pushes_without_claiming_the_role() {
    let mut net = Net::new(Settings::lite(), Settings::default(), 0, 0);
    net.connect();
    let saved = net.ends[SERVER].agent.save().unwrap();
    assert_eq!(saved.role, Role::Controlled);
    net.ends[SERVER].dead = true;
    net.add(Agent::adopt(net.now, Settings::lite(), saved, 3), "192.0.2.2:41000");
    net.run(Duration::from_secs(6));
    assert!(net.ends[2].checks.iter().all(|(_, nominating)| !nominating));
    assert_eq!(net.ends[CLIENT].agent.role, Role::Controlling);
    assert_eq!(net.selected(CLIENT), Some(net.ends[2].at));
}

#[test]
fn an_ice_restart_keeps_the_call_and_ends_the_old_credentials_after_ten_seconds() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    net.connect();
    net.run(Duration::from_secs(1));
    let (ours, theirs) = (credentials("s2"), credentials("c2"));
    net.input(SERVER, Input::Restart { local: ours.clone(), remote: theirs.clone() });
    // The client learns of it half a second later, at another address.
    net.run(ms(500));
    net.ends[CLIENT].at = address("203.0.113.77:7000");
    net.input(CLIENT, Input::Restart { local: theirs, remote: ours });
    net.run(ms(400));
    assert_eq!(net.selected(SERVER), Some(address("203.0.113.77:7000")));
    assert_eq!(net.ends[SERVER].agent.role, Role::Controlling);
    net.run(Duration::from_secs(20));
    assert_eq!((net.state(SERVER), net.state(CLIENT)), (State::Connected, State::Connected));
    assert!(net.ends[SERVER].log.iter().all(|output| *output != Output::State(State::Disconnected)));
    assert!(net.ends[SERVER].agent.previous.is_none());
}

#[test]
fn checks_that_come_before_the_answer_are_kept_for_it() {
    let mut net = Net::new(Settings::default(), browser_settings(), 0, 0);
    let now = net.now;
    // We made the offer: the client's credentials arrive late.
    net.ends[SERVER].agent = Agent::new(now, Settings::default(), credentials("s"), None, 1);
    net.run(ms(300));
    assert_eq!(net.ends[SERVER].agent.pairs.len(), 1);
    assert!(net.ends[SERVER].agent.save().is_none());
    net.input(SERVER, Input::Remote(credentials("c")));
    net.run(ms(60));
    assert_eq!(net.state(SERVER), State::Connected);
}

#[test]
fn a_refusal_with_487_changes_our_role() {
    let now = Instant::now();
    let mut agent = Agent::new(now, Settings::default(), credentials("s"), Some(credentials("c")), 1);
    let to = address("198.51.100.7:5000");
    agent.handle(now, Input::Candidate(Candidate { address: to, priority: 1 }));
    let Some(Output::Transmit { bytes, .. }) = agent.poll_output() else { panic!() };
    let check = Message::parse(&bytes).unwrap();
    assert_eq!(check.role, Some(RoleClaim::Controlling(u64::MAX)));
    let refusal = stun::write_error(check.transaction, 487, &IntegrityKey::new("c-password-of-24-bytes"));
    let later = now + ms(30);
    agent.handle(later, Input::Datagram { from: to, bytes: &refusal });
    let Some(Output::Transmit { bytes, .. }) = agent.poll_output() else { panic!() };
    assert!(matches!(Message::parse(&bytes).unwrap().role, Some(RoleClaim::Controlled(_))));
}

/// What may happen in any order.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Rebind(u16),
    Media,
    Lose(u32),
    Die(bool),
    Candidate(u16),
    Restart(u8),
    Rubbish(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..4000).prop_map(Step::Wait),
        2 => (5000u16..5010).prop_map(Step::Rebind),
        4 => Just(Step::Media),
        1 => (0u32..600).prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Die),
        1 => (4990u16..5020).prop_map(Step::Candidate),
        1 => (0u8..3).prop_map(Step::Restart),
        1 => proptest::collection::vec(any::<u8>(), 0..120).prop_map(Step::Rubbish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_the_agents_meet_again_when_it_is_over(
        steps in proptest::collection::vec(step(), 0..40),
        lite in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let settings = if lite { Settings::lite() } else { Settings::default() };
        let patient = |settings| Settings {
            failed_after: Duration::from_secs(3600), connect_timeout: Duration::from_secs(3600), ..settings
        };
        let mut net = Net::new(patient(settings), patient(browser_settings()), 0, seed);
        for step in steps {
            match step {
                Step::Wait(span) => net.run(ms(span)),
                Step::Rebind(port) => net.ends[CLIENT].at.set_port(port),
                Step::Media => drop(net.media(CLIENT, SERVER)),
                Step::Lose(permille) => net.loss_permille = permille,
                Step::Die(dead) => net.ends[CLIENT].dead = dead,
                Step::Candidate(port) => net.tell(SERVER, &format!("198.51.100.7:{port}")),
                Step::Restart(n) => {
                    let (ours, theirs) = (credentials(&format!("s{n}")), credentials(&format!("c{n}")));
                    net.input(SERVER, Input::Restart { local: ours.clone(), remote: theirs.clone() });
                    net.input(CLIENT, Input::Restart { local: theirs, remote: ours });
                }
                Step::Rubbish(bytes) => {
                    net.input(SERVER, Input::Datagram { from: address("203.0.113.5:5"), bytes: &bytes });
                }
            }
            prop_assert!(net.ends[SERVER].agent.pairs.len() <= PAIRS_MAX);
        }
        net.loss_permille = 0;
        net.ends[CLIENT].dead = false;
        net.run(Duration::from_secs(20));
        prop_assert_eq!((net.state(SERVER), net.state(CLIENT)), (State::Connected, State::Connected));
        prop_assert_eq!(net.selected(SERVER), Some(net.ends[CLIENT].at));
    }
}
