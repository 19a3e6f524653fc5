//! A studio, and what it said; and publishers that send to it in real time.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::wire::recording::RecordingMode;
use recorderd::studio::protocol::{
    Begin, Codec, Decoder, FromStudio, RosterStream, ToStudio, TrackAdd, encode,
};

use crate::clip::{Clip, Coding, Player};

/// What nobody should ever have to wait for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One test at a time: all of them play in real time.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Studio {
    child: Child,
    socket: UnixStream,
    decoder: Decoder,
    pub(crate) zero: Instant,
    pub(crate) heard: Vec<(Duration, FromStudio)>,
    publishers: Vec<Publisher>,
}

struct Publisher {
    player: Player,
    stream: u64,
    /// When its clip began; packets take a while, pictures longer.
    began_us: i64,
    way_us: i64,
    /// Pictures or sounds are held back while this is set.
    paused: bool,
    reported_us: i64,
}

pub(crate) fn begin(folder: &Path, mode: RecordingMode) -> Begin {
    Begin {
        mode,
        audio: true,
        video: true,
        width: 1280,
        height: 720,
        frame_rate: 25,
        layout: "BEST_FIT".to_owned(),
        folder: folder.to_string_lossy().into_owned(),
        name: "film".to_owned(),
        thumbnail: "film.jpg".to_owned(),
        labels: false,
        audio_tiles: false,
        zero_unix_us: 0,
        is_piece: false,
        memory_max_bytes: 600 << 20,
    }
}

impl Studio {
    /// A warm one: GStreamer is loaded.
    pub(crate) fn warm() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_recorderd"))
            .args(["studio", &std::process::id().to_string()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let (decoder, heard, publishers) = (Decoder::default(), Vec::new(), Vec::new());
        let mut studio = Self { child, socket: ours, decoder, zero: Instant::now(), heard, publishers };
        studio.wait(|said| matches!(said, FromStudio::Ready));
        studio
    }

    pub(crate) fn record(mut begin: Begin) -> Self {
        let mut studio = Self::warm();
        studio.zero = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        begin.zero_unix_us = u64::try_from(unix.as_micros()).unwrap();
        studio.say(&ToStudio::Begin(Box::new(begin)));
        studio
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn now_us(&self) -> i64 {
        i64::try_from(self.zero.elapsed().as_micros()).unwrap()
    }

    pub(crate) fn say(&mut self, message: &ToStudio) {
        self.socket.write_all(&encode(message).unwrap()).unwrap();
    }

    /// Reads what has been said.
    pub(crate) fn listen(&mut self) {
        let mut bytes = [0; 4096];
        if let Ok(length) = self.socket.read(&mut bytes) {
            self.decoder.push(&bytes[..length]);
        }
        while let Some(said) = self.decoder.next::<FromStudio>().unwrap() {
            self.heard.push((self.zero.elapsed(), said));
        }
    }

    /// Plays until something was said that fits; returns when.
    pub(crate) fn wait(&mut self, fits: impl Fn(&FromStudio) -> bool) -> (Duration, FromStudio) {
        let begun = Instant::now();
        loop {
            self.turn();
            if let Some(found) = self.heard.iter().find(|(_, said)| fits(said)) {
                return found.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "heard only {:?}", self.heard);
        }
    }

    /// Plays for so long.
    pub(crate) fn play(&mut self, length: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < length {
            self.turn();
        }
    }

    pub(crate) fn stop(&mut self) -> FromStudio {
        self.say(&ToStudio::Stop);
        let (_, last) = self.wait(|said| matches!(said, FromStudio::Done { .. } | FromStudio::Failed { .. }));
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::yield_now();
        }
        last
    }

    /// Kills it; returns up to which time it had promised that everything is on the disk, and when it died, in ms.
    pub(crate) fn kill(mut self) -> (i64, i64) {
        self.child.kill().unwrap();
        let killed_ms = self.now_us() / 1_000;
        self.child.wait().unwrap();
        self.listen();
        let told = self.heard.iter().rev().find_map(|(_, said)| {
            if let FromStudio::Progress { media_us, .. } = said {
                Some(media_us.cast_signed() / 1_000)
            } else {
                None
            }
        });
        (told.unwrap_or_default(), killed_ms)
    }

    /// A publisher with pictures and sound starts: tracks `2 * n` and `2 * n + 1` of stream `n`.
    pub(crate) fn join(&mut self, n: u32, pictures: Option<(Clip, Coding)>, sound: Option<Clip>) {
        let now = self.now_us();
        if let Some((clip, coding)) = pictures {
            let codec = match coding {
                Coding::H264 => Codec::H264,
                Coding::Vp8 => Codec::Vp8,
                Coding::Vp9 => Codec::Vp9,
            };
            self.start(Player::new(clip, 2 * n), n, codec, now, 25_000);
        }
        if let Some(clip) = sound {
            self.start(Player::new(clip, 2 * n + 1), n, Codec::Opus, now, 5_000);
        }
    }

    fn start(&mut self, player: Player, n: u32, codec: Codec, began_us: i64, way_us: i64) {
        self.say(&ToStudio::TrackAdd(Box::new(TrackAdd {
            track: player.track,
            codec,
            clock_hz: player.clip.clock_hz,
            fmtp: String::new(),
            stream: u64::from(n),
            file: format!("str_{n}"),
        })));
        let stream = u64::from(n);
        self.publishers.push(Publisher { player, stream, began_us, way_us, paused: false, reported_us: 0 });
    }

    pub(crate) fn leave(&mut self, n: u32) {
        let tracks: Vec<u32> = self.tracks_of(n);
        for track in tracks {
            self.say(&ToStudio::TrackRemove { track });
        }
        self.publishers.retain(|publisher| publisher.stream != u64::from(n));
    }

    /// Holds back what a track sends.
    pub(crate) fn pause(&mut self, track: u32, paused: bool) {
        for publisher in self.publishers.iter_mut().filter(|publisher| publisher.player.track == track) {
            publisher.paused = paused;
        }
    }

    fn tracks_of(&self, n: u32) -> Vec<u32> {
        let own = self.publishers.iter().filter(|publisher| publisher.stream == u64::from(n));
        own.map(|publisher| publisher.player.track).collect()
    }

    /// Sends what is due, and listens for a millisecond.
    fn turn(&mut self) {
        let now = self.now_us();
        let mut out = Vec::new();
        for publisher in &mut self.publishers {
            publisher.due(now, &mut out);
        }
        for message in out {
            self.say(&message);
        }
        self.listen();
    }
}

impl Publisher {
    fn due(&mut self, now: i64, out: &mut Vec<ToStudio>) {
        let track = self.player.track;
        loop {
            let captured = self.began_us + i64::try_from(self.player.due_us()).unwrap();
            let arrival_us = captured + self.way_us;
            if arrival_us > now {
                break;
            }
            let bytes = self.player.take();
            if !self.paused {
                out.push(ToStudio::Rtp { track, arrival_us, bytes });
            }
        }
        if now - self.reported_us > 1_000_000 {
            self.reported_us = now;
            // A publisher whose date is hours off.
            let ntp = (u128::try_from(now + 7_200_000_000).unwrap() << 32) / 1_000_000;
            let rtp_ts = self.player.timestamp(u64::try_from(now - self.began_us).unwrap());
            out.push(ToStudio::Report { track, ntp: u64::try_from(ntp).unwrap(), rtp_ts, arrival_us: now });
        }
    }
}

pub(crate) fn roster(streams: &[u32]) -> Vec<RosterStream> {
    let one = |&n: &u32| RosterStream {
        stream: u64::from(n),
        name: format!("Zoë {n}"),
        screen: false,
        has_audio: true,
        has_video: true,
        audio_active: true,
        video_active: true,
    };
    streams.iter().map(one).collect()
}

/// CPU time of a process until now.
pub(crate) fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Memory of a process at its greatest, in MB.
pub(crate) fn peak_mb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() / 1024
}

/// Commands of one kind that the studio gave.
pub(crate) fn layers(studio: &Studio) -> BTreeMap<u32, (u16, u16)> {
    let mut all = BTreeMap::new();
    for (_, said) in &studio.heard {
        if let FromStudio::WantLayer { track, width, height } = said {
            all.insert(*track, (*width, *height));
        }
    }
    all
}
