//! How much of the time readers may work, decided from what was seen of the source: a pure function, one sample after
//! another.
//!
//! ```text
//! a limit is passed        -> pause, and go on later with half the share
//! nothing to compare with  -> rest, and measure how fast the source answers without us
//! answers got slower       -> half the share           (multiplicative decrease)
//! answers are as before    -> a little more            (additive increase)
//! nobody else is there     -> all of it
//! ```
//! The share of time is what is steered, and not the number of readers: it goes down to a hundredth, and it does not
//! depend on how long a read takes.
//!
//! Latency is the mean over one sample's statements of others, and of samples the median. The mean of all statements
//! is known to a few per cent within a second; a 99th percentile, of which a server keeps no figure without our own
//! statements in it, needs minutes for that. The median leaves out the sample in which a report of an hour ended.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The least share: less is a pause.
const SHARE_MIN: f64 = 0.01;
/// The share to begin with where others are at work.
const SHARE_FIRST: f64 = 0.02;
/// What calm adds to the share, at least; more where the share is large already.
const SHARE_STEP: f64 = 0.005;
/// The mean moves less than the 99th percentile: copying 30,000 rows a second on two cores, where the mean rose by a
/// quarter, the 99th percentile rose threefold. So the mean may rise by this part of what is allowed.
const MEAN_PART: f64 = 0.2;
/// A source on which others run fewer statements than this in a second has nobody to disturb.
const QUIET_PER_SECOND: f64 = 20.0;
/// Samples without us before anything can be compared.
const BEFORE_MIN: usize = 4;
/// Samples without us that are remembered: a few minutes, so that the comparison follows the day's load.
const BEFORE_KEPT: usize = 24;
/// Samples with us that are needed to judge them.
const DURING_MIN: usize = 4;
/// Samples with us that are judged together.
const DURING_KEPT: usize = 12;
/// Between two rests in which the source is measured without us.
const REST_EVERY: Duration = Duration::from_secs(30);
/// How long such a rest is.
const REST: Duration = Duration::from_secs(2);
/// Answers this many times slower than before: something is wrong there, whoever did it; pause altogether.
const ALARM: f64 = 2.0;

/// What must not be passed. A limit that is `None` is not looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceLimits {
    /// How much slower the source may answer others than without us, in the slowest hundredth: 0.1 is ten per cent.
    pub latency_rise: Option<f64>,
    /// Statements that others may have running at the same time.
    pub threads_running: Option<u64>,
    /// How far a replica may be behind.
    pub replica_lag: Option<Duration>,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self { latency_rise: Some(0.1), threads_running: None, replica_lag: Some(Duration::from_secs(2)) }
    }
}

/// What was seen of the source over one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// When it ended, counting from any beginning.
    pub at: Duration,
    /// How long it is.
    pub length: Duration,
    /// Whether a reader of ours worked in it.
    pub with_us: bool,
    /// What others ran in it, where the source tells.
    pub others: Option<Statements>,
    /// Statements of others running now.
    pub threads_running: Option<u64>,
    /// The replica that is furthest behind.
    pub replica: Option<ReplicaLag>,
}

/// Statements that ended.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statements {
    /// How many.
    pub count: u64,
    /// How long they took together, in microseconds.
    pub total_us: f64,
}

/// How far a replica is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaLag {
    /// Which one.
    pub replica: String,
    /// How far; `None` if it cannot be asked or does not replicate.
    pub behind: Option<Duration>,
}

/// How much of the time readers may work, and why not more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// From 0, a pause, to 1.
    pub share: f64,
    /// Why it is not 1.
    pub reason: Option<String>,
}

impl Pace {
    /// As fast as it goes.
    pub fn full() -> Self {
        Self { share: 1.0, reason: None }
    }

    /// Not at all.
    pub fn paused(reason: impl Into<String>) -> Self {
        Self { share: 0.0, reason: Some(reason.into()) }
    }
}

/// Decides the pace.
#[derive(Debug)]
pub struct Pacer {
    limits: PaceLimits,
    share: f64,
    /// Mean latencies without us, oldest first.
    before: VecDeque<f64>,
    /// Mean latencies with us since the share was last lowered, oldest first.
    during: VecDeque<f64>,
    next_rest: Duration,
    rest_until: Duration,
}

impl Pacer {
    /// Nothing seen yet.
    pub fn new(limits: PaceLimits) -> Self {
        let (before, during) = (VecDeque::new(), VecDeque::new());
        Self { limits, share: SHARE_FIRST, before, during, next_rest: REST_EVERY, rest_until: Duration::ZERO }
    }

    /// Goes by other limits from the next sample on.
    pub fn set_limits(&mut self, limits: PaceLimits) {
        self.limits = limits;
    }

    /// The pace after one more sample.
    pub fn next(&mut self, sample: &Sample) -> Pace {
        if let Some(reason) = self.limit_passed(sample) {
            self.slow_down();
            return Pace::paused(reason);
        }
        let (Some(rise), Some(others)) = (self.limits.latency_rise, sample.others) else {
            return Pace::full();
        };
        let seconds = sample.length.as_secs_f64().max(0.001);
        if others.count as f64 / seconds < QUIET_PER_SECOND {
            return Pace::full();
        }
        self.remember(others.total_us / others.count as f64, sample.with_us);
        if self.before.len() < BEFORE_MIN {
            self.next_rest = sample.at + REST_EVERY;
            return Pace::paused("measuring how fast the source answers without the copy");
        }
        if sample.at < self.rest_until {
            return Pace::paused("measuring again how fast the source answers without the copy");
        }
        if sample.at >= self.next_rest {
            self.rest_until = sample.at + REST;
            self.next_rest = self.rest_until + REST_EVERY;
            return Pace::paused("measuring again how fast the source answers without the copy");
        }
        self.compare(rise)
    }

    fn limit_passed(&self, sample: &Sample) -> Option<String> {
        if let (Some(limit), Some(lag)) = (self.limits.replica_lag, &sample.replica) {
            match lag.behind {
                None => {
                    return Some(format!("replica {} cannot be asked or does not replicate", lag.replica));
                }
                Some(behind) if behind > limit => {
                    return Some(format!("replica {} is {} s behind", lag.replica, behind.as_secs()));
                }
                Some(_) => {}
            }
        }
        match (self.limits.threads_running, sample.threads_running) {
            (Some(limit), Some(running)) if running > limit => {
                Some(format!("the source has {running} statements running, the limit is {limit}"))
            }
            _ => None,
        }
    }

    fn remember(&mut self, mean_us: f64, with_us: bool) {
        let (means, kept) = match with_us {
            true => (&mut self.during, DURING_KEPT),
            false => (&mut self.before, BEFORE_KEPT),
        };
        means.push_back(mean_us);
        if means.len() > kept {
            means.pop_front();
        }
    }

    fn compare(&mut self, rise: f64) -> Pace {
        let ratio = median(&self.during) / median(&self.before).max(f64::MIN_POSITIVE);
        if self.during.len() < DURING_MIN {
            return Pace { share: self.share, reason: Some("seeing how the source takes it".into()) };
        }
        let percent = (ratio - 1.0) * 100.0;
        if ratio > ALARM {
            self.slow_down();
            return Pace::paused(format!("the source answers {percent:.0} % slower than without the copy"));
        }
        if ratio > 1.0 + rise * MEAN_PART {
            self.slow_down();
            let reason = format!("the source answered {percent:.1} % slower than without the copy");
            return Pace { share: self.share, reason: Some(reason) };
        }
        self.share = (self.share + SHARE_STEP.max(self.share / 20.0)).min(1.0);
        let reason = (self.share < 1.0)
            .then(|| format!("speeding up: the source answers {percent:+.1} % slower than without the copy"));
        Pace { share: self.share, reason }
    }

    /// What was seen at the old share says nothing about the new one.
    fn slow_down(&mut self) {
        self.share = (self.share / 2.0).max(SHARE_MIN);
        self.during.clear();
    }
}

/// The middle one; 0 if there is none.
fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(500);

    /// A source whose statements take `base` microseconds, and longer the more we work.
    struct Source {
        pacer: Pacer,
        at: Duration,
        pace: Pace,
        statements: u64,
        base: f64,
        /// What a share of 1 adds to the base, as a part of it.
        harm: f64,
    }

    impl Source {
        fn new(statements: u64, harm: f64) -> Self {
            let pacer = Pacer::new(PaceLimits::default());
            Self { pacer, at: Duration::ZERO, pace: Pace::full(), statements, base: 300.0, harm }
        }

        fn sample(&self) -> Sample {
            let mean = self.base * (1.0 + self.harm * self.pace.share);
            let total_us = mean * self.statements as f64;
            let others = Some(Statements { count: self.statements, total_us });
            let with_us = self.pace.share > 0.0;
            Sample { at: self.at, length: TICK, with_us, others, ..Sample::default() }
        }

        fn tick(&mut self) -> f64 {
            self.at += TICK;
            self.pace = self.pacer.next(&self.sample());
            self.pace.share
        }

        /// The mean share over so many samples.
        fn share_over(&mut self, ticks: u32) -> f64 {
            (0..ticks).map(|_| self.tick()).sum::<f64>() / f64::from(ticks)
        }
    }

    #[test]
    fn a_source_nobody_else_uses_is_read_at_once_and_at_full_speed() {
        assert_eq!(Source::new(3, 9.0).tick(), 1.0);
    }

    #[test]
    fn the_source_is_measured_without_us_before_it_is_read() {
        let mut source = Source::new(1000, 0.0);
        // The first sample had readers in it: nobody knew better.
        for _ in 0..=BEFORE_MIN - 1 {
            assert_eq!(source.tick(), 0.0);
        }
        assert!(source.tick() > 0.0);
    }

    #[test]
    fn a_source_that_does_not_mind_is_read_at_full_speed_but_for_the_rests() {
        let mut source = Source::new(1000, 0.01);
        source.share_over(200);
        let share = source.share_over(600);
        assert!((0.85..=0.95).contains(&share), "{share}");
    }

    #[test]
    fn a_source_that_minds_is_kept_near_what_it_was() {
        let mut source = Source::new(1000, 1.0);
        source.share_over(60);
        // At a share of 0.02 it is two per cent slower.
        let share = source.share_over(600);
        assert!((0.01..=0.025).contains(&share), "{share}");
    }

    #[test]
    fn load_that_grows_for_other_reasons_does_not_stop_the_copy_for_good() {
        let mut source = Source::new(1000, 0.0);
        source.share_over(200);
        source.base = 900.0;
        assert_eq!(source.share_over(4).min(0.3), 0.3, "the median waits for a second opinion");
        source.share_over(1_500);
        assert!(source.share_over(100) > 0.5, "the day's load is what it is");
    }

    #[test]
    fn one_long_report_that_ends_slows_nothing_down() {
        let mut source = Source::new(1000, 0.0);
        source.share_over(200);
        source.base *= 100.0;
        source.tick();
        source.base /= 100.0;
        assert!(source.share_over(10) > 0.9);
    }

    #[test]
    fn limits_pause_and_the_copy_comes_back_slowly() {
        let mut pacer = Pacer::new(PaceLimits { threads_running: Some(50), ..PaceLimits::default() });
        let calm = Sample { length: TICK, threads_running: Some(50), ..Sample::default() };
        assert_eq!(pacer.next(&calm), Pace::full());
        let lagging = |behind| {
            let replica = Some(ReplicaLag { replica: "r:3306".into(), behind });
            Sample { replica, ..calm.clone() }
        };
        assert_eq!(pacer.next(&lagging(Some(Duration::from_secs(2)))).share, 1.0);
        let pace = pacer.next(&lagging(Some(Duration::from_secs(3))));
        assert_eq!(pace, Pace::paused("replica r:3306 is 3 s behind"));
        assert_eq!(pacer.next(&lagging(None)).share, 0.0, "a replica that is silent may be far behind");
        let crowded = Sample { threads_running: Some(51), ..calm };
        assert_eq!(
            pacer.next(&crowded),
            Pace::paused("the source has 51 statements running, the limit is 50")
        );
    }
}
