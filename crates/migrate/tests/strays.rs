//! A fence around schemas in every order there is. The side that follows is open, since a fence would keep us out too: the accounts
//! that are named are locked there, and whoever else writes is a stray, whom the watch or a comparison must find before anything is
//! switched to what he has changed. Controllers die anywhere, servers crash and come back, what was given up is done later.
//!
//! What follows from the journal, and what a restart does about it, is production's own code (`State::next`, `State::recovery`); the
//! order of steps is that of `crossing.rs`, `driver.rs`, `fence/mod.rs` and `mover.rs`, retold here. Not modelled: rows (that a
//! comparison finds what differs), events, the front door, repair. The servers' own fence: `fences.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::time::Instant;

use migrate::cutover::{Event, Home, Phase, Recovery, State as Journal, Step};
use model::GtidSet;
use stateright::{Checker, HasDiscoveries, Model, Property};

const ONE: &str = "no two servers take the writes of the application's accounts";
const HOME: &str = "who takes the application's writes is who the journal says";
const FOUND: &str = "nothing is switched to a side that a stray has written to";
const ENDS: &str = "where nothing more can happen, the journal's side serves, the other one is locked, and every stray is found";
const BACK: &str = "traffic has gone there and come back";
const UNDONE: &str = "a crossing was given up";
const LATE: &str = "a statement was done after its sender had given up";
const SEEN: &str = "the watch has found a stray while a crossing was under way";
const RESUMED: &str = "a proof has outlived its process, and a stray of the time between was found";

/// The rules of a world: those of production, or with one of them broken.
#[derive(Debug, Clone, Copy)]
struct Rules {
    fence_first: bool,
    /// The target's accounts stay locked until the source is fenced and the journal says that it is over.
    locked_until_switched: bool,
    journal_first: bool,
    /// Accounts are locked before the side that follows is opened.
    lock_before_opening: bool,
    end_others: bool,
    recover: bool,
    /// The watch begins at a position taken before the side that follows is opened.
    watched_from_before_opening: bool,
    /// A direction is proven from its beginning only if nobody could write there before it was watched.
    carried_over_only_if_closed: bool,
    /// A proof that outlives its process is taken up with the position up to which the target's log was read for it.
    position_kept: bool,
    /// The proof of a crossing waits until the watch has read the target's log.
    log_read_to_its_end: bool,
}

const KEPT: Rules = Rules {
    fence_first: true,
    locked_until_switched: true,
    journal_first: true,
    lock_before_opening: true,
    end_others: true,
    recover: true,
    watched_from_before_opening: true,
    carried_over_only_if_closed: true,
    position_kept: true,
    log_read_to_its_end: true,
};

/// Each outlives a crash of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Close,
    Open,
    Lock,
    Unlock,
}

const RAISE: [Op; 1] = [Op::Close];
const OPEN: [Op; 2] = [Op::Open, Op::Unlock];

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Server {
    up: bool,
    /// The schemas are read-only, to everybody.
    closed: bool,
    /// The application's accounts are locked.
    locked: bool,
    /// Writes of strays since it follows.
    strays: u8,
    asked: Vec<Op>,
    late: Vec<Vec<Op>>,
}

impl Server {
    fn takes_the_applications_writes(&self) -> bool {
        self.up && !self.closed && !self.locked
    }

    fn does(&mut self, op: Op) {
        match op {
            Op::Close => self.closed = true,
            Op::Open => self.closed = false,
            Op::Lock => self.locked = true,
            Op::Unlock => self.locked = false,
        }
    }

    fn left_alone(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        if !asked.is_empty() {
            self.late.push(asked);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    Idle,
    Raising,
    /// Fenced; the target had so many strays when its position was taken.
    Proving(u8),
    Opening,
    /// Opened, but not in the journal: only where rules are broken.
    OpenedFirst,
    Undoing,
    /// The other side is made to follow: how many strays there were, and whether it was closed, when that began.
    Following(u8, bool),
    /// It follows; the ledger is to begin.
    Beginning(u8, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    None,
    Awaited,
    Done,
    Lost,
}

/// What the running direction knows; gone with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mover {
    /// So many strays of the target lie before what the watch has read.
    read: u8,
    found: bool,
    proven: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    crossings: u8,
    deaths: u8,
    crashes: u8,
    silences: u8,
    strays: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    servers: [Server; 2],
    journal: Seen,
    /// On the side that follows: whether this direction's ledger has begun, and what is kept of its proof: how much of that side's
    /// log was read for it.
    ledger: bool,
    kept: Option<u8>,
    work: Option<Work>,
    answer: Answer,
    mover: Option<Mover>,
    left: Left,
    /// Something was switched to what a stray had changed.
    slipped: bool,
    undone: bool,
    done_late: bool,
    seen_amid: bool,
    resumed: bool,
    seen_after: bool,
}

/// The journal, as far as it can tell states apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen(Journal);

impl std::hash::Hash for Seen {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let phase = match self.0.step {
            Step::Crossing(phase) | Step::Rehearsing(phase) => Some(phase as u8),
            _ => None,
        };
        let (home, step) = (std::mem::discriminant(&self.0.home), std::mem::discriminant(&self.0.step));
        (home, step, phase, self.0.epoch).hash(state);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Step,
    GiveUp,
    Die,
    Start,
    Does(usize),
    DoesLate(usize, usize),
    Crash(usize),
    Restart(usize),
    /// Somebody who is not named writes to the side that follows.
    Stray,
    /// The watch reads the next thing in the target's log.
    Watch,
    /// Every row is compared.
    Compare,
    /// What is proven is written down for the next process.
    Keep,
}

impl State {
    fn start(left: Left) -> Self {
        let server =
            |locked| Server { up: true, closed: false, locked, strays: 0, asked: vec![], late: vec![] };
        Self {
            servers: [server(false), server(true)],
            journal: Seen(Journal::default()),
            ledger: true,
            kept: None,
            work: Some(Work::Idle),
            answer: Answer::None,
            mover: Some(Mover { read: 0, found: false, proven: false }),
            left,
            slipped: false,
            undone: false,
            done_late: false,
            seen_amid: false,
            resumed: false,
            seen_after: false,
        }
    }

    fn record(&mut self, event: Event) {
        self.undone |= matches!(event, Event::Aborted { .. });
        self.journal = Seen(self.journal.0.next(&event).unwrap());
    }

    fn home(&self) -> usize {
        usize::from(self.journal.0.home == Home::New)
    }

    fn follows(&self) -> usize {
        1 - self.home()
    }

    fn whom(&self, rules: Rules) -> usize {
        match self.work {
            Some(Work::Raising | Work::Undoing) => self.home(),
            Some(Work::Opening) if rules.journal_first || self.journal.0.step == Step::Switched => {
                self.home()
            }
            _ => self.follows(),
        }
    }

    fn switch(&mut self) {
        let target = self.follows();
        // What he wrote after the position was taken the stream back brings, like any write of the new side.
        self.slipped |= matches!(self.work, Some(Work::Proving(position)) if position > 0);
        let (to, epoch) = (self.journal.0.home.other(), self.journal.0.epoch + 1);
        self.record(Event::Switched { to, position: GtidSet::default(), epoch, accepted_unproven: vec![] });
        self.servers[target].strays = 0;
        (self.ledger, self.kept, self.mover) = (false, None, None);
    }

    fn turn_to(&mut self, work: Work) {
        (self.work, self.answer) = (Some(work), Answer::None);
    }

    /// To what follows, of which it is known how it is now.
    fn turn_to_following(&mut self) {
        let follows = &self.servers[self.follows()];
        self.turn_to(Work::Following(follows.strays, follows.closed));
    }

    fn ask(&mut self, server: usize, ops: &[Op], rules: Rules) {
        let server = &mut self.servers[server];
        if rules.end_others {
            server.late.clear();
        }
        server.asked = ops.to_vec();
        self.answer = Answer::Awaited;
    }

    fn step(&mut self, rules: Rules) -> Option<()> {
        let work = self.work?;
        let whom = self.whom(rules);
        match (work, self.answer) {
            (_, Answer::Awaited) => return None,
            (Work::Idle, _) => {
                let ready = self.mover.is_some_and(|mover| mover.proven && !mover.found);
                if self.journal.0.recovery() != Recovery::None || !ready {
                    return None;
                }
                self.left.crossings = self.left.crossings.checked_sub(1)?;
                self.kept = None;
                for phase in [Phase::Hold, Phase::Drain, Phase::Fence] {
                    self.record(Event::Entered { phase });
                }
                let target = self.follows();
                if !rules.fence_first && self.servers[target].up {
                    OPEN.iter().for_each(|op| self.servers[target].does(*op));
                }
                if !rules.locked_until_switched && self.servers[target].up {
                    self.servers[target].does(Op::Unlock);
                }
                self.turn_to(Work::Raising);
            }
            (Work::Raising, Answer::None) if self.servers[whom].up => self.ask(whom, &RAISE, rules),
            (Work::Raising, Answer::Done) if self.servers[self.follows()].up => {
                for phase in [Phase::Settle, Phase::Prove] {
                    self.record(Event::Entered { phase });
                }
                self.turn_to(Work::Proving(self.servers[self.follows()].strays));
            }
            (Work::Raising, _) => self.turn_to(Work::Undoing),
            (Work::Proving(position), _) => {
                let mover = self.mover?;
                if mover.read < position && rules.log_read_to_its_end {
                    return None;
                }
                if mover.found {
                    self.turn_to(Work::Undoing);
                } else {
                    if rules.journal_first {
                        self.switch();
                    }
                    self.turn_to(Work::Opening);
                }
            }
            (Work::Opening, Answer::Done) if self.journal.0.step == Step::Switched => {
                self.turn_to_following()
            }
            (Work::Opening, Answer::Done) => self.turn_to(Work::OpenedFirst),
            (Work::OpenedFirst, _) => {
                self.switch();
                self.turn_to_following();
            }
            (Work::Undoing, Answer::Done) => {
                self.record(Event::Aborted { reason: String::new() });
                match self.mover {
                    Some(_) => self.turn_to(Work::Idle),
                    None => self.turn_to_following(),
                }
            }
            (Work::Following(before, closed), Answer::Done) => {
                let now = self.servers[whom].strays;
                let from = if rules.watched_from_before_opening { before } else { now };
                self.turn_to(Work::Beginning(from, closed));
            }
            (Work::Beginning(from, closed), _) if self.servers[whom].up => {
                let carried_over = !self.ledger && (closed || !rules.carried_over_only_if_closed);
                let kept = self.kept.filter(|_| self.ledger);
                let from = kept.filter(|_| rules.position_kept).unwrap_or(from);
                let proven = carried_over || kept.is_some();
                self.resumed |= kept.is_some();
                self.ledger = true;
                self.mover = Some(Mover { read: from, found: false, proven });
                if self.journal.0.step == Step::Switched {
                    self.record(Event::Completed);
                }
                self.turn_to(Work::Idle);
            }
            // Tried again, from the beginning: what is known of that side now is another thing than before.
            (Work::Following(..) | Work::Beginning(..), Answer::Lost) => self.turn_to_following(),
            (Work::Opening | Work::Undoing, Answer::Lost) => self.answer = Answer::None,
            (Work::Opening | Work::Undoing, Answer::None) if self.servers[whom].up => {
                self.ask(whom, &OPEN, rules);
            }
            (Work::Following(..), Answer::None) if self.servers[whom].up => {
                let ops = if rules.lock_before_opening { [Op::Lock, Op::Open] } else { [Op::Open, Op::Lock] };
                // A moment may have passed since the last look; this is when it is asked.
                let (strays, closed) = (self.servers[whom].strays, self.servers[whom].closed);
                self.work = Some(Work::Following(strays, closed));
                self.ask(whom, &ops, rules);
            }
            _ => return None,
        }
        Some(())
    }

    fn apply(&mut self, action: Action, rules: Rules) -> Option<()> {
        match action {
            Action::Step => self.step(rules)?,
            Action::GiveUp => {
                self.left.silences = self.left.silences.checked_sub(1)?;
                match (self.work?, self.answer) {
                    (Work::Proving(_), _) => self.turn_to(Work::Undoing),
                    (Work::Beginning(..), _) => self.turn_to_following(),
                    (work, Answer::Awaited) => {
                        let whom = self.whom(rules);
                        self.servers[whom].left_alone();
                        match work {
                            Work::Raising => self.turn_to(Work::Undoing),
                            Work::Following(..) => self.turn_to_following(),
                            work => self.turn_to(work),
                        }
                    }
                    _ => return None,
                }
            }
            Action::Die => {
                self.left.deaths = self.left.deaths.checked_sub(1)?;
                self.work.take()?;
                (self.answer, self.mover) = (Answer::None, None);
                self.servers.iter_mut().for_each(Server::left_alone);
            }
            Action::Start => {
                if self.work.is_some() {
                    return None;
                }
                match self.journal.0.recovery() {
                    Recovery::PutBack(_) if rules.recover => self.turn_to(Work::Undoing),
                    Recovery::GoForward => self.turn_to(Work::Opening),
                    _ => self.turn_to_following(),
                }
            }
            Action::Does(server) => {
                let server = &mut self.servers[server];
                if server.asked.is_empty() {
                    return None;
                }
                let op = server.asked.remove(0);
                server.does(op);
                if server.asked.is_empty() {
                    self.answer = Answer::Done;
                }
            }
            Action::DoesLate(server, sender) => {
                let server = &mut self.servers[server];
                let ops = server.late.get_mut(sender)?;
                let op = ops.remove(0);
                if ops.is_empty() {
                    server.late.remove(sender);
                }
                server.does(op);
                self.done_late = true;
            }
            Action::Crash(server) => {
                self.left.crashes = self.left.crashes.checked_sub(1)?;
                let server = &mut self.servers[server];
                if !std::mem::take(&mut server.up) {
                    return None;
                }
                server.late.clear();
                if !std::mem::take(&mut server.asked).is_empty() {
                    self.answer = Answer::Lost;
                }
            }
            Action::Restart(server) => {
                if std::mem::replace(&mut self.servers[server].up, true) {
                    return None;
                }
            }
            Action::Stray => {
                let follows = self.follows();
                let server = &mut self.servers[follows];
                if !server.up || server.closed {
                    return None;
                }
                self.left.strays = self.left.strays.checked_sub(1)?;
                server.strays += 1;
            }
            Action::Watch => {
                let (strays, up) = (self.servers[self.follows()].strays, self.servers[self.follows()].up);
                let mover = self.mover.as_mut()?;
                if mover.read >= strays || !up {
                    return None;
                }
                mover.read += 1;
                self.seen_after |= self.resumed && !mover.found;
                mover.found = true;
                self.seen_amid |= matches!(self.work, Some(Work::Proving(_) | Work::Raising));
            }
            Action::Compare => {
                let follows = &self.servers[self.follows()];
                let (strays, up) = (follows.strays, follows.up);
                let mover = self.mover.as_mut()?;
                if mover.proven || mover.found || !up || self.work != Some(Work::Idle) {
                    return None;
                }
                // What differs is found, whoever wrote it.
                (mover.proven, mover.found) = (true, strays > 0);
                // A pass takes back what was kept.
                self.kept = None;
            }
            Action::Keep => {
                let follows = &self.servers[self.follows()];
                let mover = self.mover?;
                let sound = mover.proven && !mover.found && mover.read == follows.strays;
                if !sound || !follows.up || self.work != Some(Work::Idle) || self.kept == Some(mover.read) {
                    return None;
                }
                self.kept = Some(mover.read);
            }
        }
        Some(())
    }

    fn is_known(&self) -> bool {
        let (home, follows) = (&self.servers[self.home()], &self.servers[self.follows()]);
        let unfound = follows.strays > 0 && self.mover.is_none_or(|mover| mover.proven && !mover.found);
        self.journal.0.step == Step::Steady
            && home.takes_the_applications_writes()
            && follows.locked
            && !follows.closed
            && !unfound
    }
}

struct World {
    rules: Rules,
    left: Left,
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start(self.left)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut all = vec![Action::Step, Action::GiveUp, Action::Die, Action::Start];
        all.extend([Action::Stray, Action::Watch, Action::Compare, Action::Keep]);
        for server in [0, 1] {
            all.extend([Action::Does(server), Action::Crash(server), Action::Restart(server)]);
            all.extend((0..state.servers[server].late.len()).map(|sender| Action::DoesLate(server, sender)));
        }
        actions.extend(all.into_iter().filter(|a| state.clone().apply(*a, self.rules).is_some()));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.apply(action, self.rules).map(|()| next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, s: &State| {
                !s.servers.iter().all(Server::takes_the_applications_writes)
            }),
            Property::always(HOME, |_, s: &State| !s.servers[s.follows()].takes_the_applications_writes()),
            Property::always(FOUND, |_, s: &State| !s.slipped),
            Property::always(ENDS, |world: &World, s: &State| {
                let mut next = Vec::new();
                world.actions(s, &mut next);
                !next.is_empty() || s.is_known()
            }),
            Property::sometimes(BACK, |_, s: &State| s.journal.0.epoch == 2 && s.is_known()),
            Property::sometimes(UNDONE, |_, s: &State| s.undone),
            Property::sometimes(LATE, |_, s: &State| s.done_late),
            Property::sometimes(SEEN, |_, s: &State| s.seen_amid),
            Property::sometimes(RESUMED, |_, s: &State| s.seen_after),
        ]
    }
}

/// Walks every state, or until one is not as it must be: which property that is, and all that was seen.
fn explore(rules: Rules, left: Left) -> (Option<&'static str>, BTreeSet<&'static str>) {
    let begun = Instant::now();
    let world = World { rules, left };
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discoveries = checker.discoveries();
    let seen: BTreeSet<_> = discoveries.keys().copied().collect();
    let broken = [ONE, HOME, FOUND, ENDS].into_iter().find(|property| seen.contains(property));
    println!("{} states in {:.1?}", checker.unique_state_count(), begun.elapsed());
    if let Some(path) = broken.and_then(|property| discoveries.get(property)).cloned() {
        println!("  not so: {}, after {:?}", broken.unwrap_or_default(), path.into_actions());
    }
    (broken, seen)
}

const LEFT: Left = Left { crossings: 2, deaths: 1, crashes: 1, silences: 1, strays: 1 };

#[test]
fn in_every_order_one_server_takes_the_applications_writes_and_no_stray_is_missed() {
    let (broken, seen) = explore(KEPT, LEFT);
    assert_eq!(broken, None);
    assert_eq!(seen, BTreeSet::from([BACK, UNDONE, LATE, SEEN, RESUMED]), "the world is too small");
}

/// Plays by a broken rule, which must show, as this.
#[track_caller]
fn check(rules: Rules, shows: &[&str]) {
    let broken = explore(rules, LEFT).0.expect("the broken rule was not missed");
    assert!(shows.contains(&broken), "{broken}");
}

#[test]
fn a_new_side_opened_before_the_fence_is_found() {
    check(Rules { fence_first: false, ..KEPT }, &[ONE, HOME]);
}

#[test]
fn accounts_unlocked_before_the_fence_is_up_are_found() {
    check(Rules { locked_until_switched: false, ..KEPT }, &[ONE, HOME]);
}

#[test]
fn a_journal_written_after_the_new_side_is_open_is_found() {
    check(Rules { journal_first: false, ..KEPT }, &[ONE, HOME]);
}

#[test]
fn a_side_that_is_opened_to_follow_before_its_accounts_are_locked_is_found() {
    check(Rules { lock_before_opening: false, ..KEPT }, &[ONE, HOME]);
}

#[test]
fn a_statement_that_was_given_up_and_is_done_later_is_found() {
    check(Rules { end_others: false, ..KEPT }, &[ONE, HOME, ENDS]);
}

#[test]
fn a_restart_that_leaves_an_unfinished_crossing_as_it_is_is_found() {
    check(Rules { recover: false, ..KEPT }, &[ENDS]);
}

#[test]
fn a_watch_that_begins_after_the_side_is_open_is_found_missing_a_stray() {
    check(Rules { watched_from_before_opening: false, ..KEPT }, &[FOUND, ENDS]);
}

#[test]
fn a_proof_carried_over_by_a_second_try_is_found_missing_a_stray() {
    check(Rules { carried_over_only_if_closed: false, ..KEPT }, &[FOUND, ENDS]);
}

#[test]
fn a_proof_taken_up_without_its_position_in_the_log_is_found_missing_a_stray() {
    check(Rules { position_kept: false, ..KEPT }, &[FOUND, ENDS]);
}

#[test]
fn a_switch_that_does_not_wait_for_the_watch_is_found() {
    check(Rules { log_read_to_its_end: false, ..KEPT }, &[FOUND]);
}
