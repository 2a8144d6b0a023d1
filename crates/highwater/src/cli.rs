//! The command line: what may be asked, in the order in which a move's life goes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLE: &str = "\
A move, from beginning to end:
  highwater init                  write highwater.toml, then edit it
  highwater check                 nothing that cannot be moved exactly goes unnoticed
  highwater serve                 front door and moves; leave it running
  highwater status --watch        wait until every row is copied
  highwater throttle --pause      not now; --resume goes on
  highwater verify                prove every row equal; it stays proven from then on
  highwater cutover --dry-run     what would happen, and whether it would be refused
  highwater cutover --rehearse    everything but the switch, and how long it would take
  highwater cutover               the target becomes the writer
  highwater rollback              not happy? go back, without losing a write
  highwater finish                happy: give up the way back

Try all of it on this machine, with nothing but a MySQL installation: highwater demo

Exit codes: 0 done, 1 refused or failed, 2 bad usage. HIGHWATER_LOG=info or debug logs more.";

/// Moves a live MySQL site to a new cluster without stopping it, and carries it through its peak
#[derive(Debug, Parser)]
#[command(name = "highwater", version, after_help = EXAMPLE, disable_help_subcommand = true)]
pub struct Cli {
    /// The settings
    #[arg(long, global = true, value_name = "FILE", default_value = "highwater.toml")]
    pub config: PathBuf,
    /// Show no progress
    #[arg(long, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a settings file that shows every key
    Init(InitArgs),
    /// Find out whether a move can be exact, before anything is written
    Check(CheckArgs),
    /// Copy existing rows in chunks and follow the binary log
    Copy(CopyArgs),
    /// Show how far the running process is
    Status(StatusArgs),
    /// Pause, resume or limit the copy, or show its pace
    Throttle(ThrottleArgs),
    /// Prove every row equal, as of a position in the stream
    Verify(VerifyArgs),
    /// Make the target the writer: hold, drain, fence, settle, prove, switch, release
    Cutover(CrossingArgs),
    /// Make the old source the writer again, without losing a write
    Rollback(CrossingArgs),
    /// End a move: give up the way back
    Finish(MoveArgs),
    /// Run the front door and the moves in one process
    Serve(ServeArgs),
    /// Run the front door alone
    Proxy(ProxyArgs),
    /// Show what the statements that pass the front door cost
    Digests(DigestsArgs),
    /// Have the running process read its settings again, without dropping a client
    Reload(ReloadArgs),
    /// See the front door's clients out, and end the running process
    Stop(StopArgs),
    /// Play the whole story on this machine: a busy shop moves over and back
    Demo(DemoArgs),
}

/// `highwater init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,
    /// The file to write; by default the one `--config` names
    pub path: Option<PathBuf>,
}

/// `highwater check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The move; may be left out if there is only one
    #[arg(long = "move", value_name = "NAME")]
    pub move_name: Option<String>,
    /// Refusals to accept, besides those the settings accept
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater copy`
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The move; by default all of them
    #[arg(long = "move", value_name = "NAME")]
    pub move_name: Option<String>,
    /// Copy nothing: the target was restored from a physical backup of the source as of this GTID set
    #[arg(long, value_name = "GTID_SET")]
    pub from_backup: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it again every second
    #[arg(long)]
    pub watch: bool,
    /// Print the answer as JSON, one line each time
    #[arg(long)]
    pub json: bool,
}

/// `highwater throttle`
#[derive(Debug, Args)]
pub struct ThrottleArgs {
    /// The move; by default all moves of the running process
    #[arg(value_name = "MOVE")]
    pub move_name: Option<String>,
    /// Read no rows until `--resume`; the stream goes on
    #[arg(long, conflicts_with_all = ["resume", "limit"])]
    pub pause: bool,
    /// Go on reading
    #[arg(long, conflicts_with = "limit")]
    pub resume: bool,
    /// Read at most so many rows a second; 0 lifts the limit
    #[arg(long, value_name = "ROWS_PER_SECOND")]
    pub limit: Option<u64>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Compare only the last N rows of each table by key order: a spot check, and no proof
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["proof", "against"])]
    pub newest: Option<u64>,
    /// Write what is proven of each table to a file
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// Say which tables are what they were when this file was written with `--proof`
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// If rows differ, show what would make them equal on the target, ask, and write it
    #[arg(long, conflicts_with_all = ["newest", "proof", "against"])]
    pub repair: bool,
    /// Repair without asking
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// Which move, and how to answer.
    #[command(flatten)]
    pub one: MoveArgs,
}

/// `highwater finish`
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The move; may be left out if there is only one
    #[arg(long = "move", value_name = "NAME")]
    pub move_name: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater cutover` and `highwater rollback`
#[derive(Debug, Args)]
pub struct CrossingArgs {
    /// Only say what would happen: every guardrail, and an estimate of the stall
    #[arg(long)]
    pub dry_run: bool,
    /// Go as far as the switch with the clients held, then put everything back, and say how long a real one would take
    #[arg(long, conflicts_with = "dry_run")]
    pub rehearse: bool,
    /// Close the connections of pinned clients instead of refusing because of them
    #[arg(long)]
    pub close_pinned: bool,
    /// Go on although not every row is proven equal, or someone else has written to the other side; it is recorded
    #[arg(long)]
    pub accept_unproven: bool,
    /// End whoever still has a transaction or lock open so long after the drain, or the fence, has begun, instead of giving up
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration, conflicts_with_all = ["dry_run", "rehearse"])]
    pub kill_after: Option<Duration>,
    /// Which move, and how to answer.
    #[command(flatten)]
    pub one: MoveArgs,
}

/// `highwater serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Whether it takes the place of the running process.
    #[command(flatten)]
    pub take_over: TakeOverArgs,
}

/// How a process takes the place of the running one.
#[derive(Debug, Args)]
pub struct TakeOverArgs {
    /// Take the front door and the moves over from the running process, without a client being refused; if none runs, just start
    #[arg(long)]
    pub take_over: bool,
    /// Let that process's clients go on there for so long before they are ended between transactions; new ones come here
    #[arg(long, value_name = "DURATION", requires = "take_over", default_value = "60s", value_parser = crate::config::parse_duration)]
    pub within: Duration,
    /// End whoever still has a transaction open so long after that; by default `front_door.stop_max`
    #[arg(long, value_name = "DURATION", requires = "take_over", value_parser = crate::config::parse_duration)]
    pub kill_after: Option<Duration>,
}

/// `highwater proxy`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ProxyArgs {
    /// Whether it takes the place of the running process.
    #[command(flatten)]
    pub take_over: TakeOverArgs,
    /// Something to ask of the process that runs one; without it, one is run
    #[command(subcommand)]
    pub question: Option<ProxyQuestion>,
}

/// What a running front door can be asked.
#[derive(Debug, Subcommand)]
pub enum ProxyQuestion {
    /// Why clients keep a server connection to themselves, and how many for each reason
    Pins(PinsArgs),
}

/// `highwater proxy pins`
#[derive(Debug, Args)]
pub struct PinsArgs {
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater digests`
#[derive(Debug, Args)]
pub struct DigestsArgs {
    /// Show so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Show those first that cost most of this
    #[arg(long, value_enum, default_value_t = DigestOrder::Time)]
    pub by: DigestOrder,
    /// Count from nothing from now on
    #[arg(long)]
    pub reset: bool,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// By what digests are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DigestOrder {
    /// The time they took, added up
    Time,
    /// How often they ran
    Count,
    /// How often they failed
    Errors,
    /// What 99 of 100 took at most
    P99,
}

/// `highwater reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater stop`
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Let clients go on for so long before they are ended between transactions; no new ones come in. By default at once
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    pub within: Option<Duration>,
    /// End whoever still has a transaction open so long after that; by default `front_door.stop_max`
    #[arg(long, value_name = "DURATION", value_parser = crate::config::parse_duration)]
    pub kill_after: Option<Duration>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// `highwater demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the story as a page to read
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Shoppers at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub shoppers: u32,
    /// Rows to begin with
    #[arg(long, value_name = "N", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rows: u64,
    /// Repeat the run that printed this seed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Leave the servers' files in place at the end
    #[arg(long)]
    pub keep: bool,
}
