//! How far a follower is behind, measured without asking it.
//!
//! A heartbeat, a row of the moved schema, gets a new number on the source every few milliseconds; another connection
//! looks at the row on the target. A number is seen when it or a later one is: so every beat has a lag, also those that
//! were overtaken between two looks, and a follower gains nothing by applying many at once.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandbox::Node;

use crate::source::SBTEST;
use crate::sql::Sql;
use crate::{Result, failed, tools};

/// Between two beats.
const BEAT: Duration = Duration::from_millis(5);
/// Between two looks: what a lag is overstated by at most.
const LOOK: Duration = Duration::from_millis(2);
/// The load's first seconds do not count.
const WARM_UP: f64 = 2.0;
/// How long the last beat may take to be seen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A beat on the source, in seconds since the measurement began.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    pub sent: f64,
    pub acknowledged: f64,
}

/// A look at the target that found a number not found before.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Beats up to this many, the first is 1, are there.
    pub beats: u64,
    pub at: f64,
}

/// Milliseconds, in order of size.
pub struct Lags {
    pub since_sent: Vec<f64>,
    pub since_acknowledged: Vec<f64>,
    /// What the source itself took for a beat.
    pub commit: Vec<f64>,
    /// What the load's program printed.
    pub load: String,
}

/// Makes the heartbeat's table; before anybody is seeded.
pub fn prepare(source: &Node) -> Result<()> {
    let mut sql = Sql::on(source)?;
    sql.execute(&format!("CREATE TABLE {SBTEST}.heartbeat (id INT PRIMARY KEY, n BIGINT NOT NULL)"))?;
    sql.execute(&format!("INSERT INTO {SBTEST}.heartbeat VALUES (1, 0)"))
}

/// Measures while a load runs against the source. The follower must have caught up before.
pub fn measure(source: &Node, target: &Node, load: &mut Command) -> Result<Lags> {
    Sql::on(source)?.execute(&format!("UPDATE {SBTEST}.heartbeat SET n=0"))?;
    wait_for_zero(target)?;
    let begun = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let heart = beat(Sql::on(source)?, begun, Arc::clone(&stop));
    let eye = look(Sql::on(target)?, begun, Arc::clone(&last));
    let load = tools::run(load);
    stop.store(true, Ordering::Relaxed);
    let beats = joined(heart);
    // Also after a failure: the looks must end.
    last.store(beats.as_ref().map_or(0, |b| b.len() as u64), Ordering::Relaxed);
    let seen = joined(eye)?;
    let (load, beats) = (load?, beats?);
    let counted = |b: &&(Beat, f64)| b.0.sent >= WARM_UP;
    let pairs = with_seen(&beats, &seen);
    let of = |figure: fn(&(Beat, f64)) -> f64| {
        let mut all: Vec<f64> = pairs.iter().filter(counted).map(|p| figure(p) * 1e3).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    Ok(Lags {
        since_sent: of(|(beat, at)| at - beat.sent),
        since_acknowledged: of(|(beat, at)| (at - beat.acknowledged).max(0.0)),
        commit: of(|(beat, _)| beat.acknowledged - beat.sent),
        load,
    })
}

/// The figure that this share of sorted figures is not above.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Each beat with the moment it was first seen; without those that never were.
fn with_seen(beats: &[Beat], seen: &[Seen]) -> Vec<(Beat, f64)> {
    let mut looks = seen.iter().peekable();
    let mut pairs = Vec::with_capacity(beats.len());
    for (number, beat) in (1u64..).zip(beats) {
        while looks.next_if(|look| look.beats < number).is_some() {}
        let Some(look) = looks.peek() else { break };
        pairs.push((*beat, look.at));
    }
    pairs
}

fn beat(mut source: Sql, begun: Instant, stop: Arc<AtomicBool>) -> JoinHandle<Result<Vec<Beat>>> {
    std::thread::spawn(move || {
        let mut beats = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let next = Instant::now() + BEAT;
            let sent = begun.elapsed().as_secs_f64();
            source.execute(&format!("UPDATE {SBTEST}.heartbeat SET n={} WHERE id=1", beats.len() + 1))?;
            beats.push(Beat { sent, acknowledged: begun.elapsed().as_secs_f64() });
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(beats)
    })
}

fn look(mut target: Sql, begun: Instant, last: Arc<AtomicU64>) -> JoinHandle<Result<Vec<Seen>>> {
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut newest = 0;
        let mut patience = None;
        loop {
            let n = number(&mut target)?;
            if n > newest {
                newest = n;
                seen.push(Seen { beats: n, at: begun.elapsed().as_secs_f64() });
            }
            let last = last.load(Ordering::Relaxed);
            if newest >= last {
                return Ok(seen);
            }
            if last < u64::MAX && *patience.get_or_insert_with(|| Instant::now() + PATIENCE) < Instant::now()
            {
                let why =
                    format!("{newest} of {last} beats are there {} s after the load", PATIENCE.as_secs());
                return Err(failed("measure the lag", why));
            }
            std::thread::sleep(LOOK);
        }
    })
}

fn number(target: &mut Sql) -> Result<u64> {
    let text = target.text(&format!("SELECT n FROM {SBTEST}.heartbeat WHERE id=1"))?;
    text.parse().map_err(|e| failed("read the heartbeat", e))
}

fn wait_for_zero(target: &Node) -> Result<()> {
    let mut sql = Sql::on(target)?;
    let deadline = Instant::now() + PATIENCE;
    while number(&mut sql)? != 0 {
        if Instant::now() > deadline {
            return Err(failed("measure the lag", "the follower does not follow"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(failed("measure the lag", "a measuring thread has panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_was_overtaken_is_as_late_as_the_look_that_saw_a_later_one() {
        let beats: Vec<Beat> = (0..5).map(|i| Beat { sent: f64::from(i), acknowledged: 0.0 }).collect();
        let seen = [Seen { beats: 1, at: 0.5 }, Seen { beats: 4, at: 9.0 }];
        let lags: Vec<f64> = with_seen(&beats, &seen).iter().map(|(beat, at)| at - beat.sent).collect();
        // The fifth was never seen.
        assert_eq!(lags, [0.5, 8.0, 7.0, 6.0]);
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let figures: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.5), 100.0);
        assert_eq!(percentile(&figures, 0.99), 198.0);
        assert_eq!(percentile(&figures, 1.0), 200.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }
}
