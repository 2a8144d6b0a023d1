//! Where a move stands, as a pure function of the events in its journal.

use model::GtidSet;
use serde::{Deserialize, Serialize};

use crate::plan::Fence;

/// The two ends of a move, by the names they had when it began. Roles (source, target) swap at a switch; these do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// Where the tables came from.
    Old,
    /// Where they are to go.
    New,
}

impl Home {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// The phases of a crossing, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The front door starts no new transaction.
    Hold,
    /// Open transactions finish.
    Drain,
    /// The source refuses writes.
    Fence,
    /// The target has everything the source has.
    Settle,
    /// Every row is proven equal.
    Prove,
    /// The other side serves.
    Switch,
    /// Clients go on.
    Release,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hold => "hold",
            Self::Drain => "drain",
            Self::Fence => "fence",
            Self::Settle => "settle",
            Self::Prove => "prove",
            Self::Switch => "switch",
            Self::Release => "release",
        })
    }
}

/// What is written to the journal, before it is acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A crossing enters a phase before the switch.
    Entered {
        /// The phase.
        phase: Phase,
    },
    /// A rehearsal enters a phase; no switch can follow.
    Rehearsing {
        /// The phase.
        phase: Phase,
    },
    /// A rehearsal came as far as the switch and was put back; the source serves on.
    Rehearsed {
        /// Milliseconds that clients would have been held, had it been real.
        stall_ms: u64,
    },
    /// The crossing, or a rehearsal of it, was given up; the source serves on.
    Aborted {
        /// Why.
        reason: String,
    },
    /// The point of no return: from here the other side serves.
    Switched {
        /// The side that serves now.
        to: Home,
        /// Its GTID set at this moment: where the stream back begins.
        position: GtidSet,
        /// Number of this switch, counting from 1; the front doors must hold the same.
        epoch: u64,
        /// What was not proven, and accepted by the operator; nothing, unless `--accept-unproven` was given.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted_unproven: Vec<String>,
    },
    /// From now on the sides are fenced this way; until there is such an event, the servers as a whole.
    FencedBy {
        /// The kind.
        fence: Fence,
    },
    /// The crossing is complete: clients go on, the stream back runs.
    Completed,
    /// The move is over.
    Finished,
}

/// Where a move stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The side that takes the application's writes.
    pub home: Home,
    /// Switches so far.
    pub epoch: u64,
    /// The serving side's GTID set at the last switch; `None` before the first.
    pub since: Option<GtidSet>,
    /// What was not proven at the last switch, and accepted by the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_unproven: Vec<String>,
    /// The kind of fence that is in force, by which a restart undoes or completes what was begun.
    #[serde(default)]
    pub fence: Fence,
    /// What is under way.
    pub step: Step,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Nothing.
    Steady,
    /// A crossing, before its switch.
    Crossing(Phase),
    /// A rehearsal of a crossing, which never switches.
    Rehearsing(Phase),
    /// A crossing, after its switch: it can only go forward.
    Switched,
    /// The move is over.
    Finished,
}

/// What a process that finds a state in its journal does before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing was under way.
    None,
    /// A crossing, or a rehearsal of one, came as far as this phase and had not switched: the serving side is opened again, and it is given up.
    PutBack(Phase),
    /// A crossing had switched: the side that serves is opened, and it is completed.
    GoForward,
    /// The move is over; there is nothing to run.
    Over,
}

/// An event that cannot happen in this state: a bug, or a journal of something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event:?} cannot follow {step:?}")]
pub struct Illegal {
    event: Event,
    step: Step,
}

impl Default for State {
    fn default() -> Self {
        Self {
            home: Home::Old,
            epoch: 0,
            since: None,
            accepted_unproven: Vec::new(),
            fence: Fence::Server,
            step: Step::Steady,
        }
    }
}

impl State {
    /// What a restart has to do about it.
    pub fn recovery(&self) -> Recovery {
        match self.step {
            Step::Steady => Recovery::None,
            Step::Crossing(phase) | Step::Rehearsing(phase) => Recovery::PutBack(phase),
            Step::Switched => Recovery::GoForward,
            Step::Finished => Recovery::Over,
        }
    }

    /// The state after an event.
    ///
    /// # Errors
    /// If the event cannot happen now.
    pub fn next(&self, event: &Event) -> Result<Self, Illegal> {
        let mut next = self.clone();
        next.step = match (self.step, event) {
            (Step::Steady, Event::Entered { phase: Phase::Hold }) => Step::Crossing(Phase::Hold),
            (Step::Crossing(was), Event::Entered { phase }) if *phase > was && *phase < Phase::Switch => {
                Step::Crossing(*phase)
            }
            (Step::Steady, Event::Rehearsing { phase: Phase::Hold }) => Step::Rehearsing(Phase::Hold),
            (Step::Rehearsing(was), Event::Rehearsing { phase })
                if *phase > was && *phase < Phase::Switch =>
            {
                Step::Rehearsing(*phase)
            }
            (Step::Rehearsing(Phase::Prove), Event::Rehearsed { .. }) => Step::Steady,
            (Step::Crossing(_) | Step::Rehearsing(_), Event::Aborted { .. }) => Step::Steady,
            (Step::Crossing(Phase::Prove), Event::Switched { to, position, epoch, accepted_unproven })
                if *to == self.home.other() && *epoch == self.epoch + 1 =>
            {
                next.home = *to;
                next.epoch = *epoch;
                next.since = Some(position.clone());
                next.accepted_unproven.clone_from(accepted_unproven);
                Step::Switched
            }
            (Step::Switched, Event::Completed) => Step::Steady,
            (Step::Steady, Event::FencedBy { fence }) => {
                next.fence = *fence;
                Step::Steady
            }
            (Step::Steady, Event::Finished) => Step::Finished,
            _ => return Err(Illegal { event: event.clone(), step: self.step }),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(phase: Phase) -> Event {
        Event::Entered { phase }
    }

    fn switched(to: Home, epoch: u64) -> Event {
        Event::Switched { to, position: GtidSet::default(), epoch, accepted_unproven: Vec::new() }
    }

    fn check(events: &[Event]) -> Result<State, Illegal> {
        events.iter().try_fold(State::default(), |state, event| state.next(event))
    }

    const BEFORE: [Phase; 5] = [Phase::Hold, Phase::Drain, Phase::Fence, Phase::Settle, Phase::Prove];

    #[test]
    fn there_and_back_again_is_two_switches() {
        let mut events: Vec<Event> = BEFORE.map(entered).to_vec();
        events.extend([switched(Home::New, 1), Event::Completed]);
        events.extend(BEFORE.map(entered));
        events.extend([switched(Home::Old, 2), Event::Completed]);
        let state = check(&events).unwrap();
        assert_eq!((state.home, state.epoch, state.step), (Home::Old, 2, Step::Steady));
    }

    #[test]
    fn nothing_but_a_proof_leads_to_a_switch() {
        for n in 0..BEFORE.len() - 1 {
            let mut events: Vec<Event> = BEFORE[..=n].iter().copied().map(entered).collect();
            events.push(switched(Home::New, 1));
            assert!(check(&events).is_err(), "switched after {:?}", BEFORE[n]);
        }
        assert!(check(&[entered(Phase::Drain)]).is_err());
    }

    #[test]
    fn what_was_accepted_unproven_is_known_until_the_next_switch() {
        let accepted = vec!["3 rows differ".to_owned()];
        let mut events: Vec<Event> = BEFORE.map(entered).to_vec();
        let Event::Switched { to, position, epoch, .. } = switched(Home::New, 1) else { unreachable!() };
        events.extend([
            Event::Switched { to, position, epoch, accepted_unproven: accepted.clone() },
            Event::Completed,
        ]);
        assert_eq!(check(&events).unwrap().accepted_unproven, accepted);
        events.extend(BEFORE.map(entered));
        events.push(switched(Home::Old, 2));
        assert!(check(&events).unwrap().accepted_unproven.is_empty());
        let old = r#"{"event":"switched","to":"new","position":"","epoch":1}"#;
        let read: Event = serde_json::from_str(old).unwrap();
        assert_eq!(read, switched(Home::New, 1), "a journal from before there was such a thing");
    }

    #[test]
    fn a_journal_that_says_nothing_of_a_fence_is_one_of_servers() {
        let fenced = |fence| Event::FencedBy { fence };
        let old = r#"{"home":"new","epoch":1,"since":null,"step":"steady"}"#;
        assert_eq!(serde_json::from_str::<State>(old).unwrap().fence, Fence::Server);
        assert_eq!(State::default().fence, Fence::Server);
        let mut events = vec![fenced(Fence::Schemas)];
        events.extend(BEFORE.map(entered));
        events.extend([switched(Home::New, 1), Event::Completed]);
        assert_eq!(check(&events).unwrap().fence, Fence::Schemas, "it outlives a crossing");
        let amid = [&events[..3], &[fenced(Fence::Server)]].concat();
        assert!(check(&amid).is_err(), "what is under way ends as it has begun");
        let read: Event = serde_json::from_str(r#"{"event":"fenced_by","fence":"schemas"}"#).unwrap();
        assert_eq!(read, fenced(Fence::Schemas));
    }

    #[test]
    fn no_rehearsal_leads_to_a_switch() {
        let rehearsing = |phase| Event::Rehearsing { phase };
        for n in 0..BEFORE.len() {
            let mut events: Vec<Event> = BEFORE[..=n].iter().copied().map(rehearsing).collect();
            let given_up = [&events[..], &[Event::Aborted { reason: "tried".into() }]].concat();
            assert_eq!(check(&given_up).unwrap(), State::default());
            events.push(switched(Home::New, 1));
            assert!(check(&events).is_err(), "switched after rehearsing {:?}", BEFORE[n]);
            events.pop();
            events.push(entered(Phase::Prove));
            assert!(check(&events).is_err(), "a rehearsal became real after {:?}", BEFORE[n]);
        }
        let mut events: Vec<Event> = BEFORE.map(rehearsing).to_vec();
        events.push(Event::Rehearsed { stall_ms: 12 });
        assert_eq!(check(&events).unwrap(), State::default());
        let early = [rehearsing(Phase::Hold), Event::Rehearsed { stall_ms: 12 }];
        assert!(check(&early).is_err(), "what was not gone through was not rehearsed");
    }

    #[test]
    fn after_the_switch_there_is_no_abort() {
        let mut events: Vec<Event> = BEFORE.map(entered).to_vec();
        events.extend([switched(Home::New, 1), Event::Aborted { reason: "late".into() }]);
        assert!(check(&events).is_err());
    }
}
