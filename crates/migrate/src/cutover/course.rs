//! A crossing on its way: each phase is journaled, then its hooks run, then it acts.

use model::Trouble;

use super::clock::PhaseClock;
use super::hooks::{self, Facts, Hooks, When};
use super::point::{ForReal, Purpose};
use super::report::CrossingLog;
use super::state::Step;
use super::{Journal, MoveDriver, Phase, Run, State, TrafficGate};

/// What is written and told of a crossing while it goes on.
pub(super) struct Course<'a> {
    pub journal: &'a mut Journal,
    pub clock: PhaseClock<'a>,
    pub log: &'a CrossingLog,
    pub hooks: &'a Hooks,
    pub facts: Facts,
}

impl Course<'_> {
    /// Runs what the site has asked for when a phase begins. It must be in the journal.
    ///
    /// # Errors
    /// If it fails.
    pub async fn begin(&mut self, phase: Phase) -> Result<(), Trouble> {
        self.hook(phase, When::Before).await
    }

    /// Runs what the site has asked for when a phase has ended.
    ///
    /// # Errors
    /// If it fails.
    pub async fn end(&mut self, phase: Phase) -> Result<(), Trouble> {
        self.hook(phase, When::After).await
    }

    /// After the switch: a hook that fails is in the log, and stops nothing.
    pub async fn beyond(&mut self, phase: Phase, when: When) {
        let _ = self.hook(phase, when).await;
    }

    /// Runs what the site has asked for when everything has been put back.
    ///
    /// # Errors
    /// If it fails.
    pub async fn undone(&mut self) -> Result<(), Trouble> {
        match self.clock.phase() {
            Some(phase) => self.hook(phase, When::Undone).await,
            None => Ok(()),
        }
    }

    async fn hook(&mut self, phase: Phase, when: When) -> Result<(), Trouble> {
        let Some(run) = hooks::run(self.hooks, &self.facts, phase, when).await else { return Ok(()) };
        let outcome = if run.ok { Ok(()) } else { Err(run.trouble()) };
        self.log.lock().hooks.push(run);
        outcome
    }

    /// Writes down how long the phases have taken so far.
    pub fn note_phases(&self) {
        self.log.lock().phases = self.clock.read().0;
    }

    /// Writes down that the clients go on; for how long they were held, in milliseconds.
    pub fn note_held(&self) -> f64 {
        let (_, held_ms) = self.clock.read();
        self.log.lock().held_ms = held_ms;
        held_ms
    }
}

impl<G: TrafficGate> MoveDriver<G> {
    /// Runs the hooks that a crash has left out, or cut short: those of putting back, or those from the switch on. One that
    /// fails is in the log; the site's traffic depends on them, but the move goes on without.
    pub(super) async fn hooks_after_a_crash(&self, state: &State) {
        let (hooks, run) = match state.step {
            Step::Crossing(phase) => (vec![(phase, When::Undone)], ForReal::run(state.home.other())),
            Step::Rehearsing(phase) => (vec![(phase, When::Undone)], Run::Rehearsal),
            Step::Switched => {
                let beyond = [
                    (Phase::Switch, When::After),
                    (Phase::Release, When::Before),
                    (Phase::Release, When::After),
                ];
                (beyond.to_vec(), ForReal::run(state.home))
            }
            Step::Steady | Step::Finished => return,
        };
        let facts = match state.step {
            // The state is that after the switch, and hooks are told of the way there.
            Step::Switched => {
                let before =
                    State { home: state.home.other(), epoch: state.epoch.saturating_sub(1), ..state.clone() };
                self.facts(&before, run)
            }
            _ => self.facts(state, run),
        };
        for (phase, when) in hooks {
            hooks::run(&self.options.hooks, &facts, phase, when).await;
        }
    }
}
