//! What the shoppers' statements did to them over time: counts and latencies in slots of 20 ms and of 100 ms, and marks.
//!
//! A statement belongs to the slot in which it *ended*. A slot is summed up once its time has passed and keeps no
//! histogram, so an hour of shopping takes a few megabytes.

mod recording;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use recording::stall_between;
pub use recording::{Between, Failure, Kind, KindLatency, Mark, Recording, Slot};

/// Length of a fine slot, in which a cutover is looked at.
pub const FINE: Duration = Duration::from_millis(20);
/// Length of a coarse slot, in which the whole run is looked at.
pub const COARSE: Duration = Duration::from_millis(100);

const FINE_PER_COARSE: usize = 5;
const COARSE_PER_SECOND: usize = 10;
const FAILURES_KEPT: usize = 20;
/// The longest latency told apart, in microseconds; longer ones count as this long in percentiles, not in maxima.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Names a mark, to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkId(usize);

/// The recorder that shoppers share.
#[derive(Debug)]
pub struct Timeline {
    started: Instant,
    started_at: SystemTime,
    recorder: Mutex<Recorder>,
}

#[derive(Debug)]
struct Recorder {
    fine: Vec<Slot>,
    coarse: Vec<Slot>,
    fine_now: Open,
    coarse_now: Open,
    /// The last second's closed coarse slots, the newest last.
    second: VecDeque<Open>,
    kinds: Vec<Open>,
    marks: Vec<Mark>,
    failures: Vec<Failure>,
    statements: u64,
    failed: u64,
}

/// A slot, or a whole run, that still counts.
#[derive(Debug, Clone)]
struct Open {
    latencies_us: Histogram<u32>,
    max_us: u64,
    failed: u32,
    orders: u32,
}

/// The last second, as [`Timeline::last_second`] tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LastSecond {
    pub statements: u64,
    pub failed: u64,
    pub second: Slot,
}

impl Open {
    fn new() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2)
            .expect("constant bounds that the histogram allows");
        Self { latencies_us, max_us: 0, failed: 0, orders: 0 }
    }

    fn record(&mut self, kind: Kind, latency_us: u64, failed: bool) {
        self.latencies_us.saturating_record(latency_us.max(1));
        self.max_us = self.max_us.max(latency_us);
        self.failed += u32::from(failed);
        self.orders += u32::from(kind == Kind::Commit && !failed);
    }

    fn add(&mut self, other: &Self) {
        self.latencies_us.add(&other.latencies_us).expect("histograms of the same bounds");
        self.max_us = self.max_us.max(other.max_us);
        self.failed += other.failed;
        self.orders += other.orders;
    }

    fn slot(&self) -> Slot {
        let percentile = |p| self.latencies_us.value_at_quantile(p).min(self.max_us);
        Slot {
            statements: u32::try_from(self.latencies_us.len()).unwrap_or(u32::MAX),
            failed: self.failed,
            orders: self.orders,
            p50_us: percentile(0.50),
            p99_us: percentile(0.99),
            max_us: self.max_us,
        }
    }

    fn clear(&mut self) {
        self.latencies_us.reset();
        self.max_us = 0;
        self.failed = 0;
        self.orders = 0;
    }
}

impl Recorder {
    /// Sums up every slot that ended before the fine slot `index`.
    fn advance(&mut self, index: usize) {
        while self.fine.len() < index {
            self.fine.push(self.fine_now.slot());
            self.coarse_now.add(&self.fine_now);
            self.fine_now.clear();
            if self.fine.len().is_multiple_of(FINE_PER_COARSE) {
                self.coarse.push(self.coarse_now.slot());
                let mut cleared = match self.second.len() {
                    COARSE_PER_SECOND => self.second.pop_front().unwrap_or_else(Open::new),
                    _ => Open::new(),
                };
                cleared.clear();
                self.second.push_back(std::mem::replace(&mut self.coarse_now, cleared));
            }
        }
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::starting_at(Instant::now(), SystemTime::now())
    }
}

impl Timeline {
    /// A timeline that begins at a moment, given by both clocks.
    pub fn starting_at(started: Instant, started_at: SystemTime) -> Self {
        let recorder = Recorder {
            fine: Vec::new(),
            coarse: Vec::new(),
            fine_now: Open::new(),
            coarse_now: Open::new(),
            second: VecDeque::new(),
            kinds: vec![Open::new(); Kind::ALL.len()],
            marks: Vec::new(),
            failures: Vec::new(),
            statements: 0,
            failed: 0,
        };
        Self { started, started_at, recorder: Mutex::new(recorder) }
    }

    /// When the timeline began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// A moment as milliseconds since the run began; 0 for moments before it.
    pub fn at_ms(&self, moment: Instant) -> f64 {
        moment.saturating_duration_since(self.started).as_secs_f64() * 1e3
    }

    /// Records a statement that ended at `ended`.
    pub fn record(&self, kind: Kind, began: Instant, ended: Instant, failed: bool) {
        let latency_us = ended.saturating_duration_since(began).as_micros() as u64;
        let mut recorder = self.recorder();
        // Another shopper may have recorded a later end already; its slot then takes this one too, microseconds late.
        recorder.advance(self.fine_index(ended));
        recorder.fine_now.record(kind, latency_us, failed);
        recorder.kinds[kind as usize].record(kind, latency_us, failed);
        recorder.statements += 1;
        recorder.failed += u64::from(failed);
    }

    /// Keeps how a statement failed, if it is among the first that did.
    pub fn note_failure(&self, statement: &str, how: String) {
        let at_ms = self.at_ms(Instant::now());
        let mut recorder = self.recorder();
        if recorder.failures.len() < FAILURES_KEPT {
            recorder.failures.push(Failure { at_ms, statement: statement.to_owned(), how });
        }
    }

    /// Marks a stretch that begins now.
    pub fn begin(&self, label: &str) -> MarkId {
        self.add_mark(label, Instant::now(), None)
    }

    /// Ends a stretch now.
    pub fn end(&self, id: MarkId) {
        let now = self.at_ms(Instant::now());
        if let Some(mark) = self.recorder().marks.get_mut(id.0) {
            mark.end_ms = Some(now);
        }
    }

    /// Marks an instant: now.
    pub fn instant(&self, label: &str) {
        let now = Instant::now();
        self.add_mark(label, now, Some(now));
    }

    /// Marks a stretch between moments taken elsewhere.
    pub fn add_mark(&self, label: &str, begin: Instant, end: Option<Instant>) -> MarkId {
        let mark =
            Mark { label: label.to_owned(), begin_ms: self.at_ms(begin), end_ms: end.map(|e| self.at_ms(e)) };
        let mut recorder = self.recorder();
        recorder.marks.push(mark);
        MarkId(recorder.marks.len() - 1)
    }

    /// The longest latency of a statement under way at some time between two moments, among those that have ended.
    pub fn stall_between(&self, from: Instant, to: Instant) -> Duration {
        let mut recorder = self.recorder();
        // The open slot counts too: the statement a cutover held longest has often just ended.
        let open = recorder.fine_now.slot();
        recorder.fine.push(open);
        let stall_ms = stall_between(&recorder.fine, self.at_ms(from), self.at_ms(to));
        recorder.fine.pop();
        Duration::from_secs_f64(stall_ms / 1e3)
    }

    pub(crate) fn last_second(&self) -> LastSecond {
        let mut recorder = self.recorder();
        recorder.advance(self.fine_index(Instant::now()));
        let mut second = Open::new();
        recorder.second.iter().for_each(|open| second.add(open));
        LastSecond { statements: recorder.statements, failed: recorder.failed, second: second.slot() }
    }

    /// All that was recorded until now.
    pub fn recording(&self) -> Recording {
        let now = Instant::now();
        let mut recorder = self.recorder();
        // Up to the end of the coarse slot under way, so that its statements are in the recording.
        let coarse_slots = self.fine_index(now) / FINE_PER_COARSE + 1;
        recorder.advance(coarse_slots * FINE_PER_COARSE);
        let kinds = Kind::ALL.iter().zip(&recorder.kinds).map(|(&kind, open)| {
            let slot = open.slot();
            KindLatency {
                kind,
                count: open.latencies_us.len(),
                p50_us: slot.p50_us,
                p99_us: slot.p99_us,
                max_us: slot.max_us,
            }
        });
        Recording {
            started_at_unix_ms: self
                .started_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            duration_ms: self.at_ms(now),
            fine: recorder.fine.clone(),
            coarse: recorder.coarse.clone(),
            marks: recorder.marks.clone(),
            kinds: kinds.collect(),
            failures: recorder.failures.clone(),
        }
    }

    fn fine_index(&self, moment: Instant) -> usize {
        (moment.saturating_duration_since(self.started).as_millis() / FINE.as_millis()) as usize
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        // A panic while counting leaves counts that are still worth reading.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn past(ago_ms: u64) -> (Timeline, Instant) {
        let started = Instant::now() - ms(ago_ms);
        (Timeline::starting_at(started, SystemTime::now()), started)
    }

    #[test]
    fn a_statement_counts_in_the_slot_in_which_it_ended() {
        let (timeline, t0) = past(1_000);
        timeline.record(Kind::Read, t0, t0 + ms(5), false);
        timeline.record(Kind::Write, t0 + ms(15), t0 + ms(150), true);
        let recording = timeline.recording();
        assert_eq!(recording.fine[0].statements, 1);
        assert_eq!(recording.fine[7].statements, 1);
        assert_eq!(recording.coarse[0].max_us, 5_000);
        assert_eq!((recording.coarse[1].failed, recording.coarse[1].max_us), (1, 135_000));
        assert_eq!(recording.coarse.len() * FINE_PER_COARSE, recording.fine.len());
        assert_eq!(recording.counts_between(0.0, 1_000.0), Between { statements: 2, failed: 1, orders: 0 });
    }

    #[test]
    fn a_stall_belongs_to_every_stretch_it_overlaps() {
        let (timeline, t0) = past(2_000);
        timeline.record(Kind::Read, t0 + ms(90), t0 + ms(100), false);
        timeline.record(Kind::Commit, t0 + ms(500), t0 + ms(900), false);
        timeline.record(Kind::Read, t0 + ms(1_400), t0 + ms(1_401), false);
        let stall = |from, to| timeline.stall_between(t0 + ms(from), t0 + ms(to)).as_millis();
        assert_eq!(stall(600, 650), 400);
        assert_eq!(stall(0, 300), 10);
        assert_eq!(stall(1_000, 1_500), 1);
        assert_eq!(timeline.recording().longest_stall_ms(), 400.0);
    }

    #[test]
    fn the_last_second_forgets_what_is_older() {
        let (timeline, t0) = past(5_000);
        timeline.record(Kind::Read, t0, t0 + ms(800), false);
        let recent = t0 + ms(4_500);
        timeline.record(Kind::Read, recent, recent + ms(3), false);
        let live = timeline.last_second();
        assert_eq!((live.statements, live.second.statements), (2, 1));
        assert_eq!(live.second.max_us, 3_000);
    }

    #[test]
    fn a_mark_has_an_end_only_once_it_ended() {
        let (timeline, t0) = past(1_000);
        let open = timeline.begin("cutover");
        timeline.add_mark("hold", t0 + ms(20), Some(t0 + ms(30)));
        assert_eq!(timeline.recording().marks[0].end_ms, None);
        timeline.end(open);
        let marks = timeline.recording().marks;
        assert!(marks[0].end_ms.is_some());
        assert_eq!((marks[1].begin_ms, marks[1].end_ms), (20.0, Some(30.0)));
    }
}
