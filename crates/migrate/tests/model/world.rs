//! The whole move as a state machine: the source, production's [`Order`] and [`Schedule`] between them, lanes, the target.
//!
//! Every channel of the pipeline is a moment at which something else may happen first; every statement of a lane is a
//! step; and at any moment the process may be gone, of which only what the target has committed stays.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use migrate::MoveError;
use migrate::apply::Mark;
use migrate::apply::effect::{self, RangeRows, Step};
use migrate::apply::schedule::Schedule;
use migrate::literal::Tuple;
use migrate::order::Order;
use migrate::stream::{StreamItem, Transaction};
use migrate::window::WindowId;
use migrate::work::Batch;
use model::{BinlogPosition, GtidSet};

use crate::rules::{High, Rules};
use crate::source::{At, History, Lock, Source, gtid, gtids, position};
use crate::target::{Entry, Taken, Target, Uncommitted};

/// Lanes: enough for one to run ahead of another.
const LANES: usize = 2;

/// What is fixed: the history of the source, and the rules of the game.
#[derive(Debug)]
pub struct Plan {
    pub history: History,
    pub rules: Rules,
    marks: Vec<Mark>,
}

/// Rows read for a range.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReadRows {
    range: usize,
    rows: Vec<Tuple>,
}

/// Where the copying of a range is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copying {
    NotBegun,
    /// The window is open; its reader waits behind the barrier.
    Open(WindowId, GtidSet),
    /// A mutant reads the end of the log too early.
    HighFirst(WindowId, GtidSet, BinlogPosition),
    /// The rows are read, as far as the source showed them.
    Read(WindowId, Vec<Tuple>, Option<BinlogPosition>),
    /// The sequencer has the rows, or a lane; and whether some were left out when the window closed.
    Given {
        evicted: bool,
    },
    /// Committed; the copier does not know yet.
    Committed,
    /// And the copier knows.
    Known,
}

#[derive(Debug, Clone)]
pub enum Work {
    Batch(Batch),
    Copied(ReadRows),
}

#[derive(Debug, Clone)]
pub struct Lane {
    turn: u64,
    work: Arc<Work>,
    phase: Phase,
}

#[derive(Debug, Clone, Hash)]
pub enum Phase {
    Given,
    Running(Run),
    /// It ran ahead in vain, and waits for its turn.
    Again,
    /// A mutant has committed the rows and not yet the ledger.
    RowsCommitted(Uncommitted),
}

/// A transaction on the target.
#[derive(Debug, Clone, Hash)]
pub struct Run {
    pub ahead: bool,
    /// Statements taken.
    steps: usize,
    /// The rows of the range that were on the target before the transaction, once they are read.
    here: Option<Vec<Tuple>>,
    /// Whether each table was wholly copied when it began.
    copied: [bool; 2],
    /// Whether all its statements are taken.
    pub ready: bool,
    own: Uncommitted,
}

#[derive(Debug, Clone)]
pub struct State {
    pub plan: Arc<Plan>,
    pub source: Source,
    order: Order<ReadRows>,
    /// Transactions passed, whole.
    sent: u8,
    /// How far the stream has said that the log is read.
    heard: Option<u8>,
    /// A mutant is in the middle of a transaction.
    half: bool,
    pub copying: Vec<Copying>,
    /// What the sequencer is giving to the lanes.
    waiting: VecDeque<(Arc<Work>, Vec<Mark>)>,
    schedule: Schedule,
    now: u64,
    lanes: Vec<Option<Lane>>,
    pub target: Target,
    /// The evidence that stopped the move.
    pub stopped: Option<String>,
    /// A statement has removed a row that it does not name.
    pub harmed: bool,
}

/// Something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Log,
    Show,
    Execute,
    Pass,
    PassHalf,
    Heartbeat,
    Open(usize),
    ReadEndOfLogFirst(usize),
    ReadRows(usize),
    ReadEndOfLog(usize),
    Close(usize),
    GiveBatch,
    GiveWaiting,
    Statement(usize),
    StepAside(usize),
    Commit(usize),
    CommitLedger(usize),
    Notice(usize),
    Crash,
}

impl Plan {
    pub fn new(history: History, rules: Rules) -> Self {
        let marks = history.names.iter().map(|at| Mark::of(at.0, &history.key(*at))).collect();
        Self { history, rules, marks }
    }
}

impl State {
    /// The move has just begun: the ledger says that nothing of the script is applied.
    pub fn start(plan: &Arc<Plan>) -> Self {
        let done = vec![false; plan.history.ranges.len()];
        Self::resume(plan, Source::default(), Target { done, ..Target::default() })
    }

    /// A new process finds this target.
    fn resume(plan: &Arc<Plan>, source: Source, target: Target) -> Self {
        let copying = |done: &bool| if *done { Copying::Committed } else { Copying::NotBegun };
        Self {
            plan: Arc::clone(plan),
            source,
            order: Order::new(&plan.history.tables, target.applied.clone()),
            sent: target.position(),
            heard: None,
            half: false,
            copying: target.done.iter().map(copying).collect(),
            waiting: VecDeque::new(),
            schedule: Schedule::new(1),
            now: 0,
            lanes: vec![None; LANES],
            target,
            stopped: None,
            harmed: false,
        }
    }

    /// What may happen next. A statement may turn out to wait for a lock.
    pub fn actions(&self, actions: &mut Vec<Action>) {
        if self.stopped.is_some() {
            return;
        }
        let Source { logged, visible, executed } = self.source;
        let (history, rules) = (&self.plan.history, &self.plan.rules);
        let mut may = |condition: bool, action| {
            if condition {
                actions.push(action);
            }
        };
        may(visible < logged, Action::Show);
        may(executed < visible, Action::Execute);
        may(logged < history.transactions() && history.needs[usize::from(logged)] <= visible, Action::Log);
        // The sequencer does one thing at a time.
        if self.waiting.is_empty() {
            may(self.sent < logged, Action::Pass);
            may(rules.split && self.sent < logged && !self.half && self.next_has_halves(), Action::PassHalf);
            may(self.heard.is_none_or(|heard| heard < self.sent) && !self.half, Action::Heartbeat);
        }
        for (i, copying) in self.copying.iter().enumerate() {
            match copying {
                Copying::NotBegun => may(self.waiting.is_empty(), Action::Open(i)),
                Copying::Open(_, passed) => match rules.high {
                    High::EndOfLogBeforeRead => may(true, Action::ReadEndOfLogFirst(i)),
                    _ => may(self.shows(passed), Action::ReadRows(i)),
                },
                Copying::HighFirst(_, passed, _) => may(self.shows(passed), Action::ReadRows(i)),
                Copying::Read(.., None) => may(true, Action::ReadEndOfLog(i)),
                Copying::Read(.., Some(_)) => may(self.waiting.is_empty() && !self.half, Action::Close(i)),
                Copying::Given { .. } | Copying::Known => {}
                Copying::Committed => may(true, Action::Notice(i)),
            }
        }
        if let Some((_, marks)) = self.waiting.front() {
            let may_go = self.schedule.first_turn_for(marks) <= self.now;
            may(may_go && self.free_lane().is_some(), Action::GiveWaiting);
        } else {
            let batch = self.order.batch();
            let may_go = batch.transactions > 0 && !self.half && self.schedule.may_go(batch, self.now);
            may(may_go && self.free_lane().is_some(), Action::GiveBatch);
        }
        for (i, lane) in self.lanes.iter().enumerate() {
            let Some(Lane { turn, phase, .. }) = lane else { continue };
            match phase {
                Phase::Given => may(true, Action::Statement(i)),
                Phase::Again => may(*turn == self.now, Action::Statement(i)),
                Phase::Running(run) => {
                    may(run.ready && (*turn == self.now || !rules.turns), Action::Commit(i));
                    may(!run.ready, Action::Statement(i));
                    // A deadlock, or patience that has run out: whoever ran ahead gives way at any moment.
                    may(run.ahead, Action::StepAside(i));
                }
                Phase::RowsCommitted(_) => may(true, Action::CommitLedger(i)),
            }
        }
        may(true, Action::Crash);
    }

    fn next_has_halves(&self) -> bool {
        self.plan.history.streamed(self.sent + 1).changes.len() > 1
    }

    fn free_lane(&self) -> Option<usize> {
        self.lanes.iter().position(Option::is_none)
    }

    /// The barrier. What half a transaction was passed as, before the first one, is always there.
    fn shows(&self, passed: &GtidSet) -> bool {
        let mut executed = gtids(self.source.executed);
        executed.add(gtid(0));
        !self.plan.rules.barrier || executed.contains(passed)
    }

    /// What is so after the action; `None` if it cannot happen now.
    pub fn after(&self, action: Action) -> Option<Self> {
        let mut next = self.clone();
        match action {
            Action::Log => next.source.logged += 1,
            Action::Show => next.source.visible += 1,
            Action::Execute => next.source.executed += 1,
            Action::Pass => next.pass(),
            Action::PassHalf => next.pass_half(),
            Action::Heartbeat => {
                next.heard = Some(next.sent);
                next.take(StreamItem::Idle(position(next.sent)));
            }
            Action::Open(i) => {
                let (window, passed) = next.order.open(next.plan.history.ranges[i].table);
                next.copying[i] = Copying::Open(window, passed);
                next.close_windows();
            }
            Action::ReadEndOfLogFirst(i) => {
                let Copying::Open(window, passed) = next.copying[i].clone() else { return None };
                next.copying[i] = Copying::HighFirst(window, passed, position(next.source.logged));
            }
            Action::ReadRows(i) => {
                let (window, high) = match &next.copying[i] {
                    Copying::Open(window, _) => (*window, None),
                    Copying::HighFirst(window, _, high) => (*window, Some(high.clone())),
                    _ => return None,
                };
                next.copying[i] = Copying::Read(window, next.visible_rows(i), high);
            }
            Action::ReadEndOfLog(i) => {
                let high = match next.plan.rules.high {
                    High::Executed => position(next.source.executed),
                    _ => position(next.source.logged),
                };
                let Copying::Read(_, _, unknown) = &mut next.copying[i] else { return None };
                *unknown = Some(high);
            }
            Action::Close(i) => {
                let given = Copying::Given { evicted: false };
                let Copying::Read(window, rows, Some(high)) = std::mem::replace(&mut next.copying[i], given)
                else {
                    return None;
                };
                next.order.close(window, high, ReadRows { range: i, rows });
                next.close_windows();
            }
            Action::GiveBatch => {
                let mut batch = next.order.take_batch();
                let marks = next.marks_of(&mut batch);
                next.give(Arc::new(Work::Batch(batch)), marks)?;
            }
            Action::GiveWaiting => {
                let (work, marks) = next.waiting.pop_front()?;
                next.give(work, marks)?;
            }
            Action::Statement(i) => next.statement(i)?,
            Action::StepAside(i) => next.lanes[i].as_mut()?.phase = Phase::Again,
            Action::Commit(i) => next.commit(i)?,
            Action::CommitLedger(i) => {
                let Phase::RowsCommitted(own) = next.lanes[i].as_ref()?.phase.clone() else { return None };
                next.commit_ledger(i, &own)?;
            }
            Action::Notice(i) => next.copying[i] = Copying::Known,
            Action::Crash => next = Self::resume(&self.plan, self.source, self.target.clone()),
        }
        Some(next)
    }

    fn visible_rows(&self, range: usize) -> Vec<Tuple> {
        let history = &self.plan.history;
        let rows = &history.rows[usize::from(self.source.visible)];
        let inside = rows.iter().filter(|(at, _)| history.ranges[range].holds(**at));
        inside.map(|(at, unique)| history.tuple(*at, *unique)).collect()
    }

    fn pass(&mut self) {
        let mut transaction = self.plan.history.streamed(self.sent + 1);
        if self.half {
            transaction.changes.remove(0);
        }
        self.sent += 1;
        self.heard = Some(self.sent);
        self.half = false;
        self.take(StreamItem::Transaction(transaction));
    }

    /// Only the first change, as if it belonged to the transaction before.
    fn pass_half(&mut self) {
        let Transaction { mut changes, .. } = self.plan.history.streamed(self.sent + 1);
        changes.truncate(1);
        self.half = true;
        let (gtid, end) = (gtid(self.sent), position(self.heard.unwrap_or_default()));
        self.take(StreamItem::Transaction(Transaction {
            gtid,
            commit_micros: None,
            end,
            changes,
            decides: None,
        }));
    }

    fn take(&mut self, item: StreamItem) {
        let known = self.order.batch().marks.len();
        if let Err(contradiction) = self.order.pass(item, |_, _| ()) {
            self.stopped = Some(format!("{contradiction:?}"));
            return;
        }
        if self.plan.rules.batch_keys_in_flight {
            self.schedule.note(self.order.batch_mut(), known);
        }
        if !self.half {
            self.close_windows();
        }
    }

    fn marks_of(&self, batch: &mut Batch) -> Vec<Mark> {
        let marks = std::mem::take(&mut batch.marks);
        if self.plan.rules.batch_keys_in_flight { marks } else { Vec::new() }
    }

    fn close_windows(&mut self) {
        let due = self.order.take_due();
        if let Some(mut batch) = due.batch {
            let marks = self.marks_of(&mut batch);
            self.waiting.push_back((Arc::new(Work::Batch(batch)), marks));
        }
        for mut closed in due.closed {
            let ReadRows { range, rows } = closed.payload;
            let table = self.plan.history.ranges[range].table;
            if !self.plan.rules.evict {
                closed.touched.clear();
            }
            let read = rows.len();
            let rows = self.order.untouched(table, rows, &closed.touched);
            let marks = match self.plan.rules.range_keys_in_flight {
                true => self.order.marks(table, &rows),
                false => Vec::new(),
            };
            self.copying[range] = Copying::Given { evicted: rows.len() < read };
            self.waiting.push_back((Arc::new(Work::Copied(ReadRows { range, rows })), marks));
        }
    }

    fn give(&mut self, work: Arc<Work>, marks: Vec<Mark>) -> Option<()> {
        let free = self.free_lane()?;
        let turn = self.schedule.begin(marks, self.now);
        self.lanes[free] = Some(Lane { turn, work, phase: Phase::Given });
        Some(())
    }

    /// Takes the next statement of a lane; `None` if it waits for a lock.
    fn statement(&mut self, lane: usize) -> Option<()> {
        let Lane { turn, work, phase } = self.lanes[lane].take()?;
        let mut run = match phase {
            Phase::Running(run) => run,
            _ => self.begin(turn),
        };
        let taken = self.take_statement(lane, &work, &mut run);
        let phase = match taken {
            Taken::Blocked => return None,
            Taken::Refused(error) if run.ahead && error.may_come_from_running_ahead() => Phase::Again,
            Taken::Refused(error) => {
                self.stopped = Some(error.to_string());
                Phase::Again
            }
            Taken::Done => Phase::Running(run),
            Taken::Harmed => {
                self.harmed = true;
                Phase::Running(run)
            }
        };
        self.lanes[lane] = Some(Lane { turn, work, phase });
        Some(())
    }

    fn begin(&self, turn: u64) -> Run {
        let known = |table| {
            let ranges = self.plan.history.ranges.iter().zip(&self.copying);
            ranges.filter(|(range, _)| range.table == table).all(|(_, c)| *c == Copying::Known)
        };
        Run {
            ahead: turn != self.now,
            steps: 0,
            here: None,
            copied: [known(0), known(1)],
            ready: false,
            own: Uncommitted::default(),
        }
    }

    fn take_statement(&self, lane: usize, work: &Work, run: &mut Run) -> Taken {
        match self.steps(work, run) {
            Ok(steps) => self.take_steps(lane, &steps, run, work),
            Err(error) => Taken::Refused(error),
        }
    }

    /// The statements of work, as production has them. Those of a range depend on what is read first.
    fn steps<'a>(&'a self, work: &'a Work, run: &mut Run) -> Result<Vec<Step<'a>>, MoveError> {
        let history = &self.plan.history;
        let ReadRows { range: number, rows } = match work {
            Work::Batch(batch) => {
                let copied = run.copied;
                return Ok(effect::of_batch(&batch.tables, |table| copied[table]));
            }
            Work::Copied(read) => read,
        };
        let range = history.ranges[*number];
        let Some(here) = run.here.clone() else {
            let inside = self.target.rows.iter().filter(|(at, _)| range.holds(**at));
            run.here = Some(inside.map(|(at, unique)| history.tuple(*at, *unique)).collect());
            return Ok(Vec::new());
        };
        let (name, shape) = (&history.tables[range.table].name, &history.shapes[range.table]);
        RangeRows { table: range.table, name, shape, rows }.steps(here)
    }

    /// One statement, and those after it that touch only the lane's own row of the ledger.
    fn take_steps(&self, lane: usize, steps: &[Step<'_>], run: &mut Run, work: &Work) -> Taken {
        let Plan { history, rules, .. } = &*self.plan;
        let held = |lock: &Lock| {
            let others = self.lanes.iter().enumerate().filter(|(i, _)| *i != lane);
            others.filter_map(|(_, other)| other.as_ref()).any(|other| match &other.phase {
                Phase::Running(run) => run.own.locks.contains(lock),
                _ => false,
            })
        };
        if steps.is_empty() {
            return Taken::Done;
        }
        let entry = match work {
            Work::Batch(batch) => Entry::Applied(&batch.applied),
            Work::Copied(read) => Entry::Done(read.range),
        };
        let mut first = true;
        let mut outcome = Taken::Done;
        while let Some(step) = steps.get(run.steps) {
            if !first && matches!(step, Step::Delete { .. } | Step::Insert { .. }) {
                return outcome;
            }
            match self.target.take(step, &mut run.own, &held, &history.tables, rules.insert, entry) {
                Taken::Done => {}
                Taken::Harmed => outcome = Taken::Harmed,
                other => return other,
            }
            run.steps += 1;
            first = false;
        }
        run.ready = true;
        outcome
    }

    fn commit(&mut self, lane: usize) -> Option<()> {
        let Phase::Running(run) = self.lanes[lane].as_ref()?.phase.clone() else { return None };
        self.target.commit_rows(&run.own);
        if self.plan.rules.ledger_apart {
            self.lanes[lane].as_mut()?.phase = Phase::RowsCommitted(run.own);
            return Some(());
        }
        self.commit_ledger(lane, &run.own)
    }

    fn commit_ledger(&mut self, lane: usize, own: &Uncommitted) -> Option<()> {
        let Lane { turn, work, .. } = self.lanes[lane].take()?;
        self.target.commit_ledger(own);
        if let Work::Copied(read) = &*work {
            self.copying[read.range] = Copying::Committed;
        }
        self.now = self.now.max(turn + 1);
        Some(())
    }

    /// How far `turn` is from the present, if it is still to come.
    fn relative(&self, turn: Option<u64>) -> Option<u64> {
        turn.filter(|turn| *turn >= self.now).map(|turn| turn - self.now)
    }
}

/// Two states in which the same may happen hash the same: turns count from the present, windows by their age, and which
/// of the lanes has what does not matter.
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.source, &self.order, self.sent, self.heard, self.half, &self.target).hash(state);
        (&self.stopped, self.harmed, self.relative(self.order.batch().after)).hash(state);
        (self.schedule.next_turn() - self.now.min(self.schedule.next_turn())).hash(state);
        for mark in &self.plan.marks {
            self.relative(self.schedule.writer(*mark)).hash(state);
        }
        let held = |copying: &Copying| match copying {
            Copying::Open(id, _) | Copying::HighFirst(id, ..) | Copying::Read(id, ..) => Some(*id),
            _ => None,
        };
        for copying in &self.copying {
            let age =
                held(copying).map(|id| self.copying.iter().filter_map(held).filter(|o| *o < id).count());
            (age, std::mem::discriminant(copying)).hash(state);
            match copying {
                Copying::Open(_, passed) => passed.hash(state),
                Copying::HighFirst(_, passed, high) => (passed, high).hash(state),
                Copying::Read(_, rows, high) => (rows, high).hash(state),
                Copying::Given { evicted } => evicted.hash(state),
                Copying::NotBegun | Copying::Committed | Copying::Known => {}
            }
        }
        let work = |work: &Work, state: &mut H| match work {
            Work::Batch(batch) => (0, &batch.tables, &batch.applied).hash(state),
            Work::Copied(read) => (1, read).hash(state),
        };
        self.waiting.len().hash(state);
        self.waiting.iter().for_each(|(waiting, _)| work(waiting, state));
        let mut lanes: Vec<&Lane> = self.lanes.iter().flatten().collect();
        lanes.sort_unstable_by_key(|lane| lane.turn);
        for lane in lanes {
            (self.relative(Some(lane.turn)), &lane.phase).hash(state);
            work(&lane.work, state);
        }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let hash = |state: &Self| {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

/// What must be so in every state.
impl State {
    /// The target is the source at the ledger's position, restricted to rows copied or touched.
    pub fn is_exact(&self) -> bool {
        let history = &self.plan.history;
        let at = usize::from(self.target.position());
        let copied =
            |row: &At| history.ranges.iter().zip(&self.target.done).any(|(r, done)| *done && r.holds(*row));
        let expected = |row: &At| {
            let there = copied(row) || history.touched[at].contains(row);
            history.rows[at].get(row).filter(|_| there)
        };
        history.names.iter().all(|row| self.target.rows.get(row) == expected(row))
    }

    /// Every range is copied, everything applied, and the target is the source.
    pub fn is_complete(&self) -> bool {
        let all = self.plan.history.transactions();
        self.copying.iter().all(|c| *c == Copying::Known)
            && self.target.position() == all
            && self.target.rows == self.plan.history.rows[usize::from(all)]
    }

    /// Where the lanes are that have work.
    pub fn phases(&self) -> impl Iterator<Item = &Phase> {
        self.lanes.iter().flatten().map(|lane| &lane.phase)
    }

    /// Whether nothing but a crash can still happen.
    pub fn is_at_rest(&self) -> bool {
        let mut actions = Vec::new();
        self.actions(&mut actions);
        !actions.into_iter().any(|a| a != Action::Crash && self.after(a).is_some())
    }
}
