//! Feeds every decoder with bytes nobody meant to send, and says which of them it did not survive.
//!
//! ```text
//! parent ── one child per target ──▶ replay the corpus, then mutate it until the time is up
//!    ◀── a finding, or how it died: the input of the moment is in a file
//! ```
//!
//! A finding is a panic, an abort, more than a second of processor time, or more memory than `engine/trial.rs` allows.
//! With the compiler's counters (`make fuzz`) an input that reaches new code is kept and mutated further; without them (the
//! short run among the tests) mutation is blind, and the corpus is what gets anywhere.

mod engine;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use engine::{Plan, corpus};
use fuzz::{TARGETS, Target};

const USAGE: &str = "usage: fuzz [--seconds N] [--seed N] [--keep] [TARGET ...]

  --seconds N   how long each target runs; the corpus is replayed first, whatever it takes (default 10)
  --seed N      repeats a run (without counters: exactly; with them: as far as time allows)
  --keep        put what reaches new code into the corpus, least inputs first";

#[derive(Debug)]
struct Options {
    seconds: f64,
    seed: u64,
    keep: bool,
    /// We are the child for this one.
    child: Option<&'static Target>,
    targets: Vec<&'static Target>,
}

fn options() -> Result<Options, String> {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |t| t.as_nanos() as u64 | 1);
    let mut options = Options { seconds: 10.0, seed: now, keep: false, child: None, targets: Vec::new() };
    let mut args = std::env::args().skip(1);
    let named = |name: &str| {
        TARGETS.iter().find(|t| t.name == name).ok_or_else(|| format!("there is no target '{name}'"))
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--seconds" => options.seconds = value()?.parse().map_err(|e| format!("--seconds: {e}"))?,
            "--seed" => options.seed = value()?.parse().map_err(|e| format!("--seed: {e}"))?,
            "--keep" => options.keep = true,
            "--child" => options.child = Some(named(&value()?)?),
            name => options.targets.push(named(name)?),
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(what) => {
            let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
            eprintln!("error: {what}\n{USAGE}\n\ntargets: {}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    if let Some(target) = options.child {
        let time = Duration::from_secs_f64(options.seconds);
        return engine::run(
            target,
            &Plan { time, seed: options.seed, keep: options.keep, now: now_file(target) },
        );
    }
    println!("seed {}", options.seed);
    let lost = options.targets.iter().filter(|target| !one(target, &options)).count();
    println!("{} targets, {lost} with findings", options.targets.len());
    ExitCode::from(u8::from(lost > 0))
}

/// Where a child puts each input before it is tried.
fn now_file(target: &Target) -> PathBuf {
    std::env::temp_dir().join(format!(
        "highwater-fuzz-{}-{}",
        target.name,
        std::os::unix::process::parent_id()
    ))
}

/// Runs a target in a process of its own; whether it survived.
fn one(target: &Target, options: &Options) -> bool {
    let own =
        std::env::current_exe().unwrap_or_else(|e| panic!("the program does not know where it is: {e}"));
    let mut command = Command::new(own);
    command.args(["--child", target.name, "--seconds", &options.seconds.to_string()]);
    command.args(["--seed", &options.seed.to_string()]);
    if options.keep {
        command.arg("--keep");
    }
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let status = child.wait().unwrap_or_else(|e| panic!("cannot wait for {command:?}: {e}"));
    let now = std::env::temp_dir().join(format!("highwater-fuzz-{}-{}", target.name, std::process::id()));
    if !status.success() && status.code() != Some(1) {
        let input = engine::read_now(&now).unwrap_or_default();
        report(target, &format!("died: {status}"), &input);
    }
    let _ = std::fs::remove_file(&now);
    status.success()
}

/// Says what an input did, and how to try it again.
fn report(target: &Target, what: &str, input: &[u8]) {
    let line = corpus::escaped(input);
    println!("FINDING in {}: {what}\n  {line}", target.name);
    println!("  to repeat: add that line to {}", corpus::file(target).display());
}
