//! Pure: no clock, no I/O, no async.
//!
//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Watch and steer a Plenum cluster from a terminal.
#[derive(Clone, Debug, Parser)]
#[command(name = "console", version)]
pub struct Args {
    /// What to do; without it the desktop opens
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Where the cluster is.
#[derive(Clone, Debug, clap::Args)]
pub struct SourceArgs {
    /// Folder with the operator's certificate, as `masterd operator add NAME --out DIR` writes it
    #[arg(long, global = true, value_name = "DIR")]
    pub context: Option<PathBuf>,
    /// Master to dial instead of those in the folder's context.toml
    #[arg(long, global = true, value_name = "HOST:PORT", requires = "context")]
    pub master: Option<String>,
    /// A made-up cluster, to try the console without one
    #[arg(long, global = true, conflicts_with = "context")]
    pub demo: bool,
    /// Media nodes of the made-up cluster
    #[arg(long, global = true, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub demo_nodes: u16,
    /// Sessions of the made-up cluster
    #[arg(long, global = true, default_value_t = 180, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub demo_sessions: u32,
    /// Seed of the made-up cluster; equal seeds show equal clusters
    #[arg(long, global = true, default_value_t = 7, value_name = "N")]
    pub demo_seed: u64,
    /// Let the made-up cluster stand still after its first picture
    #[arg(long, global = true)]
    pub demo_still: bool,
}

/// How it looks.
#[derive(Clone, Debug, clap::Args)]
pub struct LookArgs {
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = ColorArg::Auto)]
    pub color: ColorArg,
    /// Characters for lines and bars
    #[arg(long, global = true, value_enum, default_value_t = GlyphArg::Auto)]
    pub glyphs: GlyphArg,
    /// Offer no action that changes the cluster
    #[arg(long, global = true)]
    pub read_only: bool,
    /// Lines instead of a desktop: for screen readers and dumb terminals
    #[arg(long)]
    pub plain: bool,
}

/// Colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ColorArg {
    /// What the environment says: NO_COLOR, COLORTERM, TERM
    Auto,
    /// None: bold, reverse and underline only
    Never,
    /// The terminal's own 16
    #[value(name = "16")]
    Ansi16,
    /// 256
    #[value(name = "256")]
    Ansi256,
    /// 24 bits
    #[value(name = "true")]
    True,
}

/// Characters for lines and bars.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum GlyphArg {
    /// What the locale and TERM say
    Auto,
    /// Double and single lines, eighth blocks
    Full,
    /// Single lines, eighth blocks
    Plain,
    /// Nothing but ASCII
    Ascii,
}

/// What to do instead of opening the desktop.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print rows once
    Get {
        /// Of what
        what: GetWhat,
        /// How
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Which rows, as in the desktop's filter line: `zone:eu* cpu>80`
        #[arg(long, default_value = "")]
        filter: String,
        /// Column to sort by, `-` in front for descending
        #[arg(long, allow_hyphen_values = true)]
        sort: Option<String>,
        /// At most this many rows
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Everything about one thing
    Describe {
        /// Of what
        what: DescribeWhat,
        /// Its name
        name: String,
        /// How
        #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
        output: Output,
    },
    /// A table that is printed again and again; once into a pipe
    Top {
        /// Of what
        what: GetWhat,
        /// Which rows
        #[arg(long, default_value = "")]
        filter: String,
        /// Column to sort by, `-` in front for descending
        #[arg(long, allow_hyphen_values = true)]
        sort: Option<String>,
        /// Tables; for ever without it
        #[arg(short = 'n', long)]
        count: Option<u32>,
        /// Rows of each table
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Print events
    Events {
        /// Go on with those that come
        #[arg(short, long)]
        follow: bool,
        /// Only of the last time: `30s`, `10min`, `2h`
        #[arg(long)]
        since: Option<String>,
        /// Which events
        #[arg(long, default_value = "")]
        filter: String,
        /// At most so many of those that were
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// How: lines, or one JSON document a line
        #[arg(short, long, value_enum, default_value_t = Lines::Text)]
        output: Lines,
    },
    /// Place no more sessions on a node
    Drain {
        /// Name of the node
        node: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Take a draining node back
    Undrain {
        /// Name of the node
        node: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Take a node out of the cluster; its sessions end
    Remove {
        /// Name of the node
        node: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Sessions
    #[command(subcommand)]
    Session(SessionVerb),
    /// Connections
    #[command(subcommand)]
    Connection(ConnectionVerb),
    /// Streams
    #[command(subcommand)]
    Stream(StreamVerb),
    /// Recordings
    #[command(subcommand)]
    Record(RecordVerb),
    /// Print the key table
    Keys,
    /// Draw frames of the made-up cluster into memory and print times and bytes
    Measure {
        /// Frames
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
        frames: u32,
        /// Columns and rows of the screen
        #[arg(long, default_value = "160x50", value_parser = parse_size)]
        size: (u16, u16),
    },
}

/// How an operation is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct ActArgs {
    /// Why, for the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Only say what it would affect
    #[arg(long)]
    pub dry_run: bool,
    /// Do it without asking
    #[arg(short, long)]
    pub yes: bool,
}

/// What can be done with sessions.
#[derive(Clone, Debug, Subcommand)]
pub enum SessionVerb {
    /// Close a session
    Close {
        /// Name of the session
        session: String,
        #[command(flatten)]
        act: ActArgs,
    },
}

/// What can be done with connections.
#[derive(Clone, Debug, Subcommand)]
pub enum ConnectionVerb {
    /// End a connection
    Evict {
        /// Name of the session
        session: String,
        /// Name of the connection
        connection: String,
        #[command(flatten)]
        act: ActArgs,
    },
}

/// What can be done with streams.
#[derive(Clone, Debug, Subcommand)]
pub enum StreamVerb {
    /// End a stream
    Unpublish {
        /// Name of the session
        session: String,
        /// Name of the stream
        stream: String,
        #[command(flatten)]
        act: ActArgs,
    },
}

/// What can be done with recordings.
#[derive(Clone, Debug, Subcommand)]
pub enum RecordVerb {
    /// Record a session
    Start {
        /// Name of the session
        session: String,
        /// One file for each stream instead of one film
        #[arg(long)]
        individual: bool,
        #[command(flatten)]
        act: ActArgs,
    },
    /// End a recording
    Stop {
        /// Name of the recording
        recording: String,
        #[command(flatten)]
        act: ActArgs,
    },
    /// Delete a recording with its files
    Delete {
        /// Name of the recording
        recording: String,
        #[command(flatten)]
        act: ActArgs,
    },
}

/// What `get` and `top` print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum GetWhat {
    /// Media nodes and recorders
    Nodes,
    /// Sessions
    Sessions,
    /// Recordings
    Recordings,
    /// Events
    Events,
}

/// What `describe` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DescribeWhat {
    /// A media node or recorder
    Node,
    /// A session with participants, streams and placement
    Session,
    /// A recording
    Recording,
}

/// How events are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Lines {
    /// Text
    Text,
    /// JSON
    Jsonl,
}

/// How `get` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// Columns
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    parsed
        .filter(|(w, h)| *w > 0 && *h > 0)
        .ok_or_else(|| "expected columns and rows such as `160x50`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        let args = Args::try_parse_from(["console", "get", "nodes", "--demo", "-o", "json"]).unwrap();
        assert!(args.source.demo);
        assert!(matches!(
            args.command,
            Some(Command::Get { what: GetWhat::Nodes, output: Output::Json, .. })
        ));
        assert!(Args::try_parse_from(["console", "--demo", "--context", "x"]).is_err());
        assert!(Args::try_parse_from(["console", "measure", "--size", "0x5"]).is_err());
    }
}
