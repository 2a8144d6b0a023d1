//! One target's run: the corpus first, then what can be made of it.

mod allocator;
pub mod corpus;
mod coverage;
mod mutate;
mod random;
mod trial;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuzz::Target;

use corpus::Kept;
use coverage::Coverage;
use mutate::{mutate, shrink};
use random::Random;
pub use trial::read_now;
use trial::{Trial, Verdict};

/// The most that a target's file in the repository may take, in bytes, beside what is kept for a reason.
const FILE_MAX: usize = 8 * 1024;
/// The longest input that goes there.
const KEPT_MAX: usize = 400;

/// What a run is to do.
#[derive(Debug)]
pub struct Plan {
    /// How long, after the corpus.
    pub time: Duration,
    /// Of the random numbers.
    pub seed: u64,
    /// Whether the corpus is written anew.
    pub keep: bool,
    /// Where each input stands while it is tried.
    pub now: PathBuf,
}

/// Runs a target and says what came of it.
pub fn run(target: &'static Target, plan: &Plan) -> ExitCode {
    let mut trial = Trial::new(target, &plan.now);
    let mut coverage = Coverage::new();
    let mut inputs: Vec<Vec<u8>> = vec![Vec::new()];
    let kept = corpus::read(target);
    for Kept { bytes, .. } in &kept {
        if !survives(&mut trial, &mut coverage, bytes) {
            return ExitCode::FAILURE;
        }
        coverage.is_new();
        inputs.push(bytes.clone());
    }
    let mut random = Random::new(plan.seed, target.name);
    let begun = Instant::now();
    let before = trial.tried();
    while begun.elapsed() < plan.time {
        // What was found last leads further more often than what has been mutated for long.
        let pick = random.below(inputs.len()).max(random.below(inputs.len()));
        let mut input = inputs[pick].clone();
        let other = random.below(inputs.len());
        mutate(&mut random, &mut input, &inputs[other], target.words);
        if !survives(&mut trial, &mut coverage, &input) {
            return ExitCode::FAILURE;
        }
        if coverage.is_on() && coverage.is_new() {
            inputs.push(input);
        }
    }
    let tried = trial.tried() - before;
    let per_second = tried as f64 / begun.elapsed().as_secs_f64().max(0.001);
    let reached = if coverage.is_on() { format!(", {} edges", coverage.reached()) } else { String::new() };
    println!(
        "{:<16} {:>5} replayed, {tried:>9} tried in {:.1} s ({per_second:.0}/s){reached}, {} inputs",
        target.name,
        kept.len(),
        begun.elapsed().as_secs_f64(),
        inputs.len(),
    );
    if plan.keep && coverage.is_on() {
        let least = least(&mut trial, &mut coverage, kept, inputs);
        if let Err(error) = corpus::write(target, &least) {
            eprintln!("cannot write {}: {error}", corpus::file(target).display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Tries an input; one that it does not survive is made as small as it gets, and reported.
fn survives(trial: &mut Trial, coverage: &mut Coverage, input: &[u8]) -> bool {
    coverage.reset();
    let Verdict::Fell { what, place } = trial.of(input) else { return true };
    let small = shrink(input, |less| matches!(trial.of(less), Verdict::Fell { place: p, .. } if p == place));
    crate::report(trial.target(), &what, &small);
    false
}

/// Few and small inputs that pass every edge: those kept for a reason, then the smallest first.
fn least(trial: &mut Trial, coverage: &mut Coverage, kept: Vec<Kept>, mut found: Vec<Vec<u8>>) -> Vec<Kept> {
    let mut passed = HashSet::new();
    let mut edges = |trial: &mut Trial, input: &[u8]| {
        coverage.reset();
        trial.of(input);
        coverage.edges()
    };
    let mut all: Vec<Kept> = kept.into_iter().filter(|k| !k.why.is_empty()).collect();
    for kept in &all {
        passed.extend(edges(trial, &kept.bytes));
    }
    found.retain(|input| !input.is_empty());
    found.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let mut size = 0;
    for input in found {
        let new: Vec<u32> = edges(trial, &input).into_iter().filter(|e| !passed.contains(e)).collect();
        if new.is_empty() {
            continue;
        }
        let small = shrink(&input, |less| {
            let now: HashSet<u32> = edges(trial, less).into_iter().collect();
            new.iter().all(|e| now.contains(e))
        });
        let line = corpus::escaped(&small).len() + 1;
        if small.len() > KEPT_MAX || size + line > FILE_MAX {
            continue;
        }
        size += line;
        passed.extend(edges(trial, &small));
        all.push(Kept { bytes: small, why: Vec::new() });
    }
    all
}
