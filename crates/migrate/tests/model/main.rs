//! The copy, the stream and the lanes in every order there is, in small worlds; and that each rule is needed.
//!
//! `stateright` walks every state a world can reach. What decides is production's own code: `order`, `window`, `fold`,
//! `apply::effect`, `apply::schedule`. What is modelled, and what is not: `docs/decisions/0007-model.md`.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod rules;
mod scripts;
mod source;
mod target;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use rules::{High, Rules};
use scripts::{changing_keys, handing_on, longer, reinserting, swapping, two_tables};
use source::{History, Script};
use target::Insert;
use world::{Action, Copying, Phase, Plan, State};

const EXACT: &str = "the target is the source at the ledger's position, restricted to rows copied or touched";
const UNSTOPPED: &str = "nothing is found that should not be there, and nothing missed";
const HARMLESS: &str = "no statement removes a row that it does not name";
const ARRIVES: &str = "where nothing more can happen, the move has stopped or the target is the source";
const ALL: [&str; 4] = [EXACT, UNSTOPPED, HARMLESS, ARRIVES];

const TWO_READS: &str = "two ranges are read at once";
const LEFT_OUT: &str = "a row is left out when its window closes";
const AGAIN: &str = "a lane has run ahead in vain";
const AHEAD: &str = "a lane has run ahead and waits for its turn";

/// A world, and which of the properties are asked for.
struct World {
    plan: Arc<Plan>,
    asked: Vec<&'static str>,
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start(&self.plan)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        state.after(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(EXACT, |_, state: &State| state.is_exact()),
            Property::always(UNSTOPPED, |_, state: &State| state.stopped.is_none()),
            Property::always(HARMLESS, |_, state: &State| !state.harmed),
            Property::always(ARRIVES, |_, state: &State| {
                state.stopped.is_some() || state.is_complete() || !state.is_at_rest()
            }),
        ];
        properties.retain(|property| self.asked.contains(&property.name));
        properties.extend([
            Property::sometimes(TWO_READS, |_, state: &State| {
                state.copying.iter().filter(|c| matches!(c, Copying::Read(..))).count() > 1
            }),
            Property::sometimes(LEFT_OUT, |_, state: &State| {
                state.copying.contains(&Copying::Given { evicted: true })
            }),
            Property::sometimes(AGAIN, |_, state: &State| state.phases().any(|p| matches!(p, Phase::Again))),
            Property::sometimes(AHEAD, |_, state: &State| {
                state.phases().any(|p| matches!(p, Phase::Running(run) if run.ahead && run.ready))
            }),
        ]);
        properties
    }
}

/// Walks every state of a world, or until one has not what is asked for. Which that is, and all that was seen.
fn explore(
    script: &Script,
    rules: Rules,
    asked: &[&'static str],
) -> (Option<&'static str>, BTreeSet<&'static str>) {
    let begun = Instant::now();
    let world = World { plan: Arc::new(Plan::new(History::of(script), rules)), asked: asked.to_vec() };
    let checker = world.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discoveries = checker.discoveries();
    let seen: BTreeSet<_> = discoveries.keys().copied().collect();
    let broken = asked.iter().copied().find(|property| seen.contains(property));
    println!("{}: {} states in {:.1?}", script.name, checker.unique_state_count(), begun.elapsed());
    if let Some(path) = broken.and_then(|property| discoveries.get(property)).cloned() {
        let stopped = path.last_state().stopped.clone().map(|e| format!(" ({e})")).unwrap_or_default();
        println!("  not so: {}{stopped}, after {:?}", broken.unwrap_or_default(), path.into_actions());
    }
    (broken, seen)
}

#[test]
fn in_every_order_there_is_the_target_stays_exact_and_arrives() {
    let mut seen = BTreeSet::new();
    for script in [swapping(), changing_keys(), handing_on(), reinserting(), two_tables(), longer()] {
        let (broken, also) = explore(&script, Rules::kept(), &ALL);
        assert_eq!(broken, None, "{}", script.name);
        seen.extend(also);
    }
    assert_eq!(seen, BTreeSet::from([TWO_READS, LEFT_OUT, AGAIN, AHEAD]), "the worlds are too small");
}

/// Plays a world by a broken rule, which must show.
#[track_caller]
fn check(script: &Script, rules: Rules) {
    assert_ne!(explore(script, rules, &ALL).0, None, "the broken rule was not missed");
}

#[test]
fn an_end_of_log_taken_from_gtid_executed_is_found() {
    check(&reinserting(), Rules { high: High::Executed, ..Rules::kept() });
}

#[test]
fn an_end_of_log_read_before_the_rows_is_found() {
    check(&reinserting(), Rules { high: High::EndOfLogBeforeRead, ..Rules::kept() });
}

#[test]
fn a_read_without_barrier_is_found() {
    check(&handing_on(), Rules { barrier: false, ..Rules::kept() });
}

#[test]
fn touched_keys_that_are_not_evicted_are_found() {
    check(&changing_keys(), Rules { evict: false, ..Rules::kept() });
}

#[test]
fn a_window_opened_in_the_middle_of_a_transaction_is_found() {
    check(&two_tables(), Rules { split: true, ..Rules::kept() });
}

#[test]
fn a_ledger_committed_apart_from_its_rows_is_found() {
    check(&reinserting(), Rules { ledger_apart: true, ..Rules::kept() });
}

#[test]
fn keys_of_copied_rows_that_lanes_do_not_wait_for_are_found() {
    check(&handing_on(), Rules { range_keys_in_flight: false, ..Rules::kept() });
}

#[test]
fn keys_of_batches_that_lanes_do_not_wait_for_are_found() {
    check(&reinserting(), Rules { batch_keys_in_flight: false, ..Rules::kept() });
}

#[test]
fn lanes_that_commit_out_of_turn_are_found() {
    check(&reinserting(), Rules { turns: false, ..Rules::kept() });
}

#[test]
fn replace_is_found_removing_a_row_it_does_not_name() {
    let replace = Rules { insert: Insert::Replace, ..Rules::kept() };
    assert_eq!(explore(&handing_on(), replace, &[HARMLESS]).0, Some(HARMLESS));
    // Its lane steps aside for the locks of work that comes before. Nothing else shows: no test of the outcome would.
    assert_eq!(explore(&handing_on(), replace, &[EXACT, UNSTOPPED, ARRIVES]).0, None);
}

/// What REPLACE is for is to hide what is wrong elsewhere. The same mistake stops the move where INSERT is plain, and
/// loses a row without a word where it is not.
#[test]
fn replace_turns_a_mistake_that_stops_the_move_into_a_row_lost_in_silence() {
    let plain = Rules { evict: false, ..Rules::kept() };
    assert_eq!(explore(&handing_on(), plain, &[ARRIVES]).0, None);
    let replace = Rules { insert: Insert::Replace, ..plain };
    assert_eq!(explore(&handing_on(), replace, &[ARRIVES]).0, Some(ARRIVES));
}
