//! Pure: What goes wrong, and how it heals.

use masterd::cluster::Input;
use masterd::cluster::op::{Actor, Op};
use rand::Rng;

use super::client::Asked;
use super::world::{Happening, LINK_IDLE_US, Owner, World};

const MS: u64 = 1000;

impl World {
    /// Breaks something; comes again.
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let again = self.rng.random_range(800..5000) * MS;
        self.at(again, Happening::Fault);
        let node = self.rng.random_range(1..=self.plan.nodes + self.plan.recorders);
        let name = match self.rng.random_range(0..100) {
            0..14 => self.crash_node(node),
            14..30 => self.cut_node(node),
            30..40 => self.pause_node(node),
            40..45 => self.stick_node(node),
            45..60 => self.kill_master(),
            60..70 => self.pause_master(),
            70..78 => self.fail_store(),
            78..88 => self.slow_network(),
            88..94 => self.drain_node(node),
            _ => self.drop_link(node),
        };
        *self.report.faults.entry(name).or_default() += 1;
    }

    fn crash_node(&mut self, node: u64) -> &'static str {
        let Some(model) = self.nodes.get_mut(&node) else { return "none" };
        if !model.running {
            return "none";
        }
        self.note("fault", &format!("n{node} is killed"));
        self.unlink(node, 100, 101);
        if let Some(model) = self.nodes.get_mut(&node) {
            model.running = false;
        }
        let after = self.rng.random_range(200..9000) * MS;
        self.at(after, Happening::NodeStart { node });
        "node killed"
    }

    fn cut_node(&mut self, node: u64) -> &'static str {
        let length = self.rng.random_range(200..8000) * MS;
        self.note("fault", &format!("n{node} is cut off for {} ms", length / MS));
        let until = self.network.cut_until.entry(node).or_default();
        *until = (*until).max(self.now_us + length);
        if length > LINK_IDLE_US {
            let Some(model) = self.nodes.get_mut(&node) else { return "none" };
            let boot = model.boot;
            // Both ends give the link up; what was on it is lost.
            if let Some(link) = model.link.take() {
                self.at(LINK_IDLE_US, Happening::LinkDown { node, link });
            }
            self.at(length + 100 * MS, Happening::Dial { node, boot });
        }
        "node cut off"
    }

    /// The connection breaks and is made again at once.
    fn drop_link(&mut self, node: u64) -> &'static str {
        self.note("fault", &format!("n{node} loses its link"));
        self.unlink(node, 5, 900);
        "link dropped"
    }

    fn pause_node(&mut self, node: u64) -> &'static str {
        let length = self.rng.random_range(300..5000) * MS;
        self.note("fault", &format!("n{node} is paused for {} ms", length / MS));
        if let Some(model) = self.nodes.get_mut(&node) {
            model.paused_until = model.paused_until.max(self.now_us + length);
        }
        "node paused"
    }

    fn stick_node(&mut self, node: u64) -> &'static str {
        self.note("fault", &format!("n{node} is stuck"));
        let length = self.rng.random_range(3000..9000) * MS;
        if let Some(model) = self.nodes.get_mut(&node) {
            model.stuck_until = self.now_us + length;
        }
        "node stuck"
    }

    fn kill_master(&mut self) -> &'static str {
        if self.core.is_none() {
            return "none";
        }
        self.note("fault", "the master is killed");
        self.master_kill();
        let after = self.rng.random_range(100..4000) * MS;
        self.at(after, Happening::MasterStart);
        "master killed"
    }

    fn pause_master(&mut self) -> &'static str {
        let length = self.rng.random_range(200..6000) * MS;
        self.note("fault", &format!("the master is paused for {} ms", length / MS));
        self.master_paused_until = self.master_paused_until.max(self.now_us + length);
        self.quiet_since = self.master_paused_until;
        "master paused"
    }

    fn fail_store(&mut self) -> &'static str {
        let length = self.rng.random_range(200..3000) * MS;
        self.note("fault", &format!("the store fails for {} ms", length / MS));
        self.store_failing_until = self.store_failing_until.max(self.now_us + length);
        self.quiet_since = self.quiet_since.max(self.store_failing_until);
        if self.now_us >= self.master_paused_until {
            self.feed(Input::StoreFailing(true));
            // The driver tells the end as soon as a commit works again.
            self.feed(Input::StoreFailing(false));
        }
        "store failing"
    }

    fn slow_network(&mut self) -> &'static str {
        self.network.delay_us_max = self.rng.random_range(1..400) * MS;
        self.network.duplicate_permille = self.rng.random_range(0..300);
        self.note("fault", &format!("delays up to {} ms", self.network.delay_us_max / MS));
        "network slow"
    }

    fn drain_node(&mut self, node: u64) -> &'static str {
        if self.core.is_none() || self.now_us < self.master_paused_until {
            return "none";
        }
        let on = self.rng.random_bool(0.5);
        let op = Op::NodeDrain { node: format!("media_n{node}"), on };
        self.ask(Owner::App(String::new()), Asked::Other, Actor::App, op);
        "node drained"
    }

    /// Ends every fault: from here on the system must settle.
    pub(super) fn heal(&mut self) {
        self.note("fault", "everything heals");
        self.calm = true;
        self.master_paused_until = self.now_us;
        self.store_failing_until = self.now_us;
        self.quiet_since = self.now_us;
        self.network.cut_until.clear();
        self.network.delay_us_max = 5 * MS;
        self.network.duplicate_permille = 0;
        self.at(0, Happening::MasterStart);
        let keys: Vec<u64> = self.nodes.keys().copied().collect();
        for node in keys {
            if let Some(model) = self.nodes.get_mut(&node) {
                model.paused_until = self.now_us;
                model.stuck_until = self.now_us;
            }
            self.at(0, Happening::NodeStart { node });
        }
    }
}
