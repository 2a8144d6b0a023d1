//! The command line of `bench`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Highwater beside its peers, at the same work.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copy sysbench's tables and the shop into a durable target
    Copy(CopyArgs),
    /// Catch up a backlog, then follow a source that is kept busy
    Follow(FollowArgs),
    /// Prove that two servers hold the same
    Verify(VerifyArgs),
    /// Keep a proof current while the source is kept busy
    Prove(ProveArgs),
    /// Copy from a source that has clients of its own, and look at what these wait
    Polite(PoliteArgs),
    /// Copy many narrow rows, and look at the memory it takes
    Memory(MemoryArgs),
    /// Move a busy shop to another server and back, again and again
    Cutover(CutoverArgs),
    /// The front door beside other proxies
    Proxy(ProxyArgs),
    /// Hold thousands of clients on a few connections to the server
    Clients(ClientsArgs),
    /// Run drivers' own suites at a server and at the front door, and compare
    Drivers(DriversArgs),
}

/// What all benchmarks are told.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Times every contestant runs
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Contestants to run, by name; all of them if left out
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub only: Vec<String>,
    #[command(flatten)]
    pub place: PlaceArgs,
}

impl CommonArgs {
    /// Whether a contestant is to run.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|n| n == name)
    }
}

/// `bench clients`
#[derive(Debug, Args)]
pub struct ClientsArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Clients, at most what one process may open files
    #[arg(long, default_value_t = 18_000)]
    pub clients: usize,
    /// Of those, clients that query without a pause for a while
    #[arg(long, default_value_t = 2_000)]
    pub active: usize,
    /// Connections to the server that they share
    #[arg(long, default_value_t = 200)]
    pub backends: usize,
    /// After the clients in plain text, as many under TLS
    #[arg(long)]
    pub tls: bool,
}

/// `bench drivers`
#[derive(Debug, Args)]
pub struct DriversArgs {
    /// Suites to run, by name; all of them if left out
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub only: Vec<String>,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where things are.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The folder the servers' data is put in; it should be on the disk to be measured
    #[arg(long, default_value = "bench/.work")]
    pub dir: PathBuf,
    /// Where the result is written
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The program to measure; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

/// `bench copy`
#[derive(Debug, Args)]
pub struct CopyArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Rows of sysbench's tables, all four together
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// Rows of the shop
    #[arg(long, default_value_t = 300_000)]
    pub shop_rows: u64,
    /// Instead of the comparison, try mydumper's settings and print what each takes
    #[arg(long)]
    pub explore_mydumper: bool,
}

/// `bench follow`
#[derive(Debug, Args)]
pub struct FollowArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Rows of sysbench's tables, all four together
    #[arg(long, default_value_t = 40_000)]
    pub rows: u64,
    /// Transactions of the backlog; 0 leaves that part out
    #[arg(long, default_value_t = 15_000)]
    pub transactions: u64,
    /// Seconds the source is kept busy while lag is measured; 0 leaves that part out
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Times lag is measured for each follower
    #[arg(long, default_value_t = 5)]
    pub lag_rounds: usize,
    /// Share of the source's highest write rate it is kept at
    #[arg(long, default_value_t = 0.6)]
    pub load: f64,
    /// How sysbench chooses the rows it changes: special (its default: a few of them most of the time), uniform, pareto
    #[arg(long, default_value = "special")]
    pub rand_type: String,
}

/// `bench verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Rows of sysbench's tables, all four together
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
}

/// `bench prove`
#[derive(Debug, Args)]
pub struct ProveArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Rows of sysbench's tables, all four together
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u64,
    /// Seconds the source is kept busy
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
    /// Share of the source's highest write rate it is kept at
    #[arg(long, default_value_t = 0.6)]
    pub load: f64,
}

/// `bench polite`
#[derive(Debug, Args)]
pub struct PoliteArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Rows of sysbench's tables, all four together
    #[arg(long, default_value_t = 2_000_000)]
    pub rows: u64,
    /// Seconds that the clients are looked at in each turn, at most: less, if the copy is complete before
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    /// Settings to try beside the defaults, each SECTION.KEY=VALUE of a section of its own, such as copy.chunk_rows=200
    #[arg(long = "try", value_name = "SETTING")]
    pub tried: Vec<String>,
}

/// `bench memory`
#[derive(Debug, Args)]
pub struct MemoryArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Rows of two numbers each
    #[arg(long, default_value_t = 10_000_000)]
    pub rows: u64,
    /// Times they are copied, each time to an empty target
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
}

/// `bench cutover`
#[derive(Debug, Args)]
pub struct CutoverArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Cutovers, and as many rollbacks, in each round
    #[arg(long, default_value_t = 4)]
    pub switches: usize,
    /// Rows of the shop
    #[arg(long, default_value_t = 40_000)]
    pub shop_rows: u64,
    /// Shoppers, each with a connection of its own
    #[arg(long, default_value_t = 64)]
    pub shoppers: usize,
    /// Share of the source's highest write rate it is kept at
    #[arg(long, default_value_t = 0.6)]
    pub load: f64,
    /// Milliseconds between two switches
    #[arg(long, default_value_t = 500)]
    pub pause: u64,
}

/// `bench proxy`
#[derive(Debug, Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// TLS on both hops, instead of plain text: a table of its own
    #[arg(long)]
    pub tls: bool,
    /// Seconds measured in each turn; 6 by default, with --tls 2
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Work to do: prepared, text, read-write; all of it if left out
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub work: Vec<String>,
    /// Threads of every proxy; by default as many as the machine has cores
    #[arg(long)]
    pub threads: Option<usize>,
    /// Rows of sysbench's tables, all four together
    #[arg(long, default_value_t = 40_000)]
    pub rows: u64,
}
