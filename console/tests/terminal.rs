//! The real binary in a pseudo-terminal: it starts, obeys keys, is quiet when nothing happens, and gives the terminal
//! back however it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// What a machine under load may take.
const PATIENCE: Duration = Duration::from_secs(30);

struct Console {
    child: Child,
    keyboard: File,
    /// The terminal as the console sees it, to look at its modes.
    terminal: OwnedFd,
    output: Receiver<Vec<u8>>,
    parser: vt100::Parser,
    bytes: usize,
}

impl Console {
    fn start(args: &[&str], size: (u16, u16)) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_console"), args, size)
    }

    fn start_program(program: &str, args: &[&str], size: (u16, u16)) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let no_ctty = OpenptFlags::NOCTTY.bits().cast_signed();
        let terminal =
            File::options().read(true).write(true).custom_flags(no_ctty).open(name.to_str().unwrap());
        let terminal = OwnedFd::from(terminal.unwrap());
        let (columns, rows) = size;
        tcsetwinsize(&terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // A session of its own: the pseudo-terminal becomes the controlling one.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", program])
            .args(args)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let (sender, output) = sync_channel(1024);
        let mut reading = File::from(keyboard.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut chunk = [0; 65_536];
            // Reading fails when the last end of the terminal is closed.
            while let Ok(length) = reading.read(&mut chunk) {
                if length == 0 || sender.send(chunk[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let parser = vt100::Parser::new(rows, columns, 0);
        Self { child, keyboard: File::from(keyboard), terminal, output, parser, bytes: 0 }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        self.parser.screen().contents()
    }

    fn take(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len();
        self.parser.process(chunk);
    }

    fn wait_for(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(chunk) => self.take(&chunk),
                Err(_) => panic!("no {what} in\n{}", self.shown()),
            }
        }
    }

    fn expect(&mut self, text: &str) {
        self.wait_for(&format!("{text:?}"), |console| console.shown().contains(text));
    }

    /// Bytes that come within a time.
    fn bytes_within(&mut self, time: Duration) -> usize {
        let deadline = Instant::now() + time;
        let before = self.bytes;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(chunk) => self.take(&chunk),
                Err(RecvTimeoutError::Timeout) => return self.bytes - before,
                Err(RecvTimeoutError::Disconnected) => panic!("the console has ended"),
            }
        }
    }

    /// Waits for the end and takes in the last bytes.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok(chunk) = self.output.recv_timeout(Duration::from_millis(200)) {
                    self.take(&chunk);
                }
                return status;
            }
            assert!(Instant::now() < deadline, "the console does not end");
            if let Ok(chunk) = self.output.recv_timeout(Duration::from_millis(50)) {
                self.take(&chunk);
            }
        }
    }

    /// The console itself, below `setsid`.
    fn pid(&self) -> rustix::process::Pid {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let text = std::fs::read_to_string(children).unwrap_or_default();
        let child = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
        let own = i32::try_from(self.child.id()).unwrap();
        rustix::process::Pid::from_raw(child.unwrap_or(own)).unwrap()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn assert_restored(&self) {
        let screen = self.parser.screen();
        assert!(!self.is_raw(), "the terminal is still raw");
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert!(!screen.bracketed_paste());
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn keys_drive_the_real_binary_and_leaving_gives_the_terminal_back() {
    let mut console = Console::start(&["--demo", "--demo-still"], (100, 30));
    console.expect("Load over time");
    assert!(console.is_raw());
    console.press("2");
    console.expect("LAST MINUTE");
    console.press("/name=media-003\r");
    console.expect("/name=media-003");
    // The rows come from the cluster: there is nothing to act on before.
    console.expect("> media-003 ");
    console.press("d");
    console.expect("Drain media-003?");
    console.press("\x1b");
    console.wait_for("closed dialog", |console| !console.shown().contains("Drain media-003?"));
    console.press("\x1bOP");
    console.expect("Workspace 1: overview");
    // Click on the close button of the help window.
    let at = console.shown().lines().position(|line| line.contains("Help ") && line.contains("[×]")).unwrap();
    let line = console.shown().lines().nth(at).unwrap().to_owned();
    let column = line.rfind("[×]").map(|byte| line[..byte].chars().count()).unwrap();
    console.press(&format!("\x1b[<0;{};{}M\x1b[<0;{};{}m", column + 2, at + 1, column + 2, at + 1));
    console.wait_for("closed help", |console| !console.shown().contains("Workspace 1: overview"));
    tcsetwinsize(&console.terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    console.parser.screen_mut().set_size(24, 80);
    console.wait_for("narrow status bar", |console| console.shown().contains("[2]"));
    console.press("\x03\x03");
    assert!(console.ended().success());
    console.assert_restored();
}

#[test]
fn a_cluster_that_stands_still_costs_no_byte() {
    let mut console = Console::start(&["--demo", "--demo-still"], (160, 50));
    console.expect("Load over time");
    // The first picture may come in parts.
    let deadline = Instant::now() + PATIENCE;
    while console.bytes_within(Duration::from_millis(500)) > 0 {
        assert!(Instant::now() < deadline, "the screen does not come to rest");
    }
    assert_eq!(console.bytes_within(Duration::from_millis(2_500)), 0);
    assert!(console.bytes < 64_000, "{} bytes for the first picture", console.bytes);
}

#[test]
fn a_moving_cluster_is_drawn_in_few_bytes() {
    let mut console = Console::start(&["--demo"], (160, 50));
    console.expect("Load over time");
    console.bytes_within(Duration::from_secs(1));
    let bytes = console.bytes_within(Duration::from_secs(3));
    assert!(bytes > 0, "nothing moves");
    assert!(bytes / 3 < 24_000, "{} bytes a second", bytes / 3);
}

#[test]
fn signals_give_the_terminal_back() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP, rustix::process::Signal::INT]
    {
        let mut console = Console::start(&["--demo"], (80, 24));
        console.expect("Load over time");
        rustix::process::kill_process(console.pid(), signal).unwrap();
        console.ended();
        console.assert_restored();
    }
}

/// The test runs itself in a pseudo-terminal, where it takes the terminal and panics.
#[test]
fn a_panic_gives_the_terminal_back_before_it_is_reported() {
    const NAME: &str = "a_panic_gives_the_terminal_back_before_it_is_reported";
    if std::env::var_os("CONSOLE_TEST_PANICS").is_some() {
        let _terminal = console::shell::terminal::Terminal::enter().unwrap();
        panic!("as planned");
    }
    let itself = std::env::current_exe().unwrap();
    let args = [
        "CONSOLE_TEST_PANICS=1",
        "RUST_BACKTRACE=0",
        itself.to_str().unwrap(),
        NAME,
        "--exact",
        "--nocapture",
    ];
    let mut console = Console::start_program("env", &args, (80, 24));
    assert!(!console.ended().success());
    console.assert_restored();
    let shown = console.shown();
    assert!(shown.contains("as planned"), "{shown}");
}

#[test]
fn a_stopped_console_gives_the_terminal_back_and_takes_it_again() {
    let mut console = Console::start(&["--demo", "--demo-still"], (80, 24));
    console.expect("Load over time");
    let pid = console.pid();
    rustix::process::kill_process(pid, rustix::process::Signal::TSTP).unwrap();
    console.wait_for("plain screen", |console| !console.parser.screen().alternate_screen());
    let stopped = || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    let deadline = Instant::now() + PATIENCE;
    while !stopped() {
        assert!(Instant::now() < deadline, "not stopped");
        std::thread::yield_now();
    }
    assert!(!console.is_raw());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    console.wait_for("desktop again", |console| {
        console.parser.screen().alternate_screen() && console.shown().contains("Load over time")
    });
    console.press("\x03\r");
    assert!(console.ended().success());
}

#[test]
fn without_a_terminal_or_a_cluster_it_says_what_is_missing() {
    let run = |args: &[&str]| {
        let out =
            Command::new(env!("CARGO_BIN_EXE_console")).args(args).stdin(Stdio::null()).output().unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, _, error) = run(&["--demo"]);
    assert_eq!((code, error.as_str()), (Some(1), "console: the desktop needs a terminal\n"));
    let (code, _, error) = run(&[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--context DIR"), "{error}");
    let (code, _, error) = run(&["get", "nodes", "--context", "/nonexistent"]);
    assert_eq!(code, Some(3));
    assert!(error.contains("/nonexistent/operator.crt"), "{error}");
    let (code, _, error) = run(&["get", "nodes", "--demo", "--filter", "cpu>>1"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--filter: column 5"), "{error}");
}

#[test]
fn get_prints_rows_for_people_and_for_scripts() {
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_console"))
            .args(["--demo", "--demo-still", "get"])
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let table = run(&["nodes", "--sort", "name"]);
    let names: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!((names.len(), names[0], names[11], names[12]), (13, "media-001", "media-012", "rec-1"));
    let json: serde_json::Value =
        serde_json::from_str(&run(&["sessions", "-o", "json", "--sort", "-connections", "--limit", "3"]))
            .unwrap();
    assert_eq!((json["version"].as_u64(), json["kind"].as_str()), (Some(1), Some("sessions")));
    let items = json["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert!(items[0]["connections"].as_u64() >= items[2]["connections"].as_u64());
    let yaml = run(&["nodes", "-o", "yaml", "--filter", "name=media-002"]);
    assert!(yaml.contains("items:\n- name: \"media-002\"\n"), "{yaml}");
}
