//! What statements cost, as the front door has counted it, for outsiders.

use std::time::Duration;

use model::Trouble;
use proxy::DigestFigures;

use super::Service;
use crate::control::{DigestView, DigestsView};

impl Service {
    /// The figures of every digest; `anew`: and counts from nothing from now on.
    ///
    /// # Errors
    /// If this process has no front door, or it counts nothing.
    pub(super) fn digests(&self, anew: bool) -> Result<DigestsView, Trouble> {
        let Some(door) = &self.door else {
            return Err(Trouble::new(
                "the running process has no front door",
                "nothing was changed",
                "ask the process of `highwater serve` or `highwater proxy`",
            ));
        };
        let control = door.control();
        let digests = control.digests(anew);
        if !digests.counting && digests.digests.is_empty() {
            return Err(Trouble::new(
                "the front door does not count statements",
                "nothing was changed",
                "set `front_door.digests = true`, then `highwater reload`",
            ));
        }
        Ok(DigestsView {
            counting: digests.counting,
            since_s: digests.since.as_secs_f64(),
            digests: digests.digests.into_iter().map(view).collect(),
            other: digests.other.map(view),
            evicted: digests.evicted,
            slow_lost: control.slow_lost(),
        })
    }
}

fn view(figures: DigestFigures) -> DigestView {
    let ms = |of: Duration| (of.as_secs_f64() * 1e6).round() / 1000.0;
    DigestView {
        digest: format!("{:016x}", figures.digest),
        user: figures.user,
        statement: figures.text,
        count: figures.count,
        errors: figures.errors,
        total_ms: ms(figures.total),
        max_ms: ms(figures.max),
        p50_ms: ms(figures.p50),
        p95_ms: ms(figures.p95),
        p99_ms: ms(figures.p99),
        waited_ms: ms(figures.waited),
        held_ms: ms(figures.held),
        bytes: figures.bytes,
    }
}
