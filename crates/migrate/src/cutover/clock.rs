//! The phases of a crossing as they pass: when each began, and who is told.

use std::time::Instant;

use super::Phase;
use super::report::PhaseTime;

/// Measures the phases.
pub(super) struct PhaseClock<'a> {
    told: &'a (dyn Fn(Phase) + Sync),
    entered: Vec<(Phase, Instant)>,
}

impl<'a> PhaseClock<'a> {
    pub fn new(told: &'a (dyn Fn(Phase) + Sync)) -> Self {
        Self { told, entered: Vec::new() }
    }

    pub fn enter(&mut self, phase: Phase) {
        self.entered.push((phase, Instant::now()));
        (self.told)(phase);
    }

    /// The phase that goes on, if one has begun.
    pub fn phase(&self) -> Option<Phase> {
        self.entered.last().map(|(phase, _)| *phase)
    }

    /// Each phase's duration up to now, and that of all together, in milliseconds.
    pub fn read(&self) -> (Vec<PhaseTime>, f64) {
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1000.0;
        let end = Instant::now();
        let ends = self.entered.iter().skip(1).map(|(_, at)| *at).chain([end]);
        let phases = self
            .entered
            .iter()
            .zip(ends)
            .map(|((phase, at), to)| PhaseTime { phase: *phase, ms: ms(*at, to) });
        let all = self.entered.first().map_or(0.0, |(_, at)| ms(*at, end));
        (phases.collect(), all)
    }
}
