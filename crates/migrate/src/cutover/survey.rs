//! A look ahead: every guardrail, and how long a crossing would stall the clients. It changes nothing.

use std::time::{Duration, Instant};

use model::Trouble;
use mysql::{ConnectOptions, Connection};
use serde::{Deserialize, Serialize};

use super::guard::servers::{Look, Open, open_now};
use super::guard::{self, Guardrail};
use super::state::Home;
use super::{CutoverOptions, MoveDriver, Phase, Run, TrafficGate, Unproven};
use crate::error::{Doing, MoveError, Result, Side};
use crate::mover::Mover;
use crate::plan::Fence;
use crate::schema::objects::Kind;
use crate::session;

/// How long, and how often, the lag is looked at.
const LAG_SAMPLES: u32 = 50;
const LAG_EVERY: Duration = Duration::from_millis(20);

/// What creating a trigger or an event is taken for, until a rehearsal has measured it: a statement with a log write of its own.
const OBJECT_MS: f64 = 15.0;

/// What creating or removing a trigger of a fence is taken for, as was measured: 3 to 4 ms where a write to the disk takes 1.
const FENCE_TRIGGER_MS: f64 = 3.5;

/// Statements behind the fence, one after another: fence 3, positions 2, counters 2, opening 4, and a few of the proof's.
const ROUND_TRIPS: f64 = 14.0;

/// Writes to a disk that are waited for, the journal's and the servers' own persisted settings.
const SYNCED_WRITES: f64 = 12.0;

/// What one of them is taken for.
const SYNCED_WRITE_MS: f64 = 1.0;

/// What an operator is told before a crossing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Survey {
    /// What would be run.
    pub run: Run,
    /// Whether it would be begun.
    pub would_begin: bool,
    /// Everything that was looked at.
    pub guardrails: Vec<Guardrail>,
    /// How long clients would be held.
    pub estimate: Estimate,
}

/// How long clients would be held, and what that is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// Their sum, in milliseconds.
    pub stall_ms: f64,
    /// What the hooks between hold and release may take at most, on top of that, in milliseconds.
    pub hooks_max_ms: f64,
}

/// A part of the stall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The phase it falls into.
    pub phase: Phase,
    /// Milliseconds.
    pub ms: f64,
    /// What that comes from.
    pub from: String,
}

impl CutoverOptions {
    fn replicas(&self, of: Home) -> &[ConnectOptions] {
        let [old, new] = &self.replicas;
        match of {
            Home::Old => old,
            Home::New => new,
        }
    }
}

impl<G: TrafficGate> MoveDriver<G> {
    /// Looks at everything a crossing to `to` would look at, and estimates its stall.
    ///
    /// # Errors
    /// If traffic is there already, the stream does not run, another command is at work, or a server cannot be asked.
    pub async fn survey(&self, to: Home, unproven: Unproven) -> std::result::Result<Survey, Trouble> {
        let journal = self.command()?;
        if journal.state().home == to {
            return Err(Trouble::new(
                "traffic is there already",
                "nothing was changed",
                "see `highwater status` for where it is",
            ));
        }
        let mover = self.running_mover()?;
        let estimate = self.estimate(&mover, to).await.map_err(|e| Trouble {
            state: "nothing was changed; traffic is where it was".into(),
            ..e.trouble()
        })?;
        let mut guardrails = self.look(&mover, to).await;
        guardrails.extend(self.gate.hold_max().map(|max| long_enough(&estimate, max)));
        let would_begin = !guardrails.iter().any(|g| g.refuses() && !unproven.accepts(g));
        let run = if to == Home::New { Run::Cutover } else { Run::Rollback };
        Ok(Survey { run, would_begin, guardrails, estimate })
    }

    /// Every guardrail, as seen now.
    pub(super) async fn look(&self, mover: &Mover, to: Home) -> Vec<Guardrail> {
        let look = Look {
            source: self.at(to.other()),
            target: self.at(to),
            replicas: self.options.replicas(to),
            spec: self.spec_from(to.other()),
            tables: mover.tables(),
            drain_deadline: self.options.drain_deadline,
            lag_max: self.options.lag_max,
            fence: self.state().fence,
        };
        let mut all = guard::look(mover, self.options.lag_max);
        all.extend(look.ask().await);
        all.extend(self.gate.guardrails(to));
        all
    }

    async fn estimate(&self, mover: &Mover, to: Home) -> Result<Estimate> {
        let mut source = session::open(self.at(to.other()), Side::Source).await?;
        let mut target = session::open(self.at(to), Side::Target).await?;
        let parts = vec![
            self.drain_part(&mut source, to).await?,
            fence_part(&mut source, &mut target, self.fence_triggers()).await?,
            settle_part(mover).await,
            prove_part(mover).await?,
            self.objects_part(&mut source, to.other()).await?,
        ];
        let hooks = &self.options.hooks;
        let phases = hooks.before.keys().chain(hooks.after.keys());
        // The last one runs when clients have gone on, if a door holds them.
        let hooks_there = phases.count() as f64;
        Ok(Estimate {
            stall_ms: parts.iter().map(|part| part.ms).sum(),
            hooks_max_ms: hooks_there * hooks.deadline.as_secs_f64() * 1000.0,
            parts,
        })
    }

    /// Triggers that a fence is made of.
    fn fence_triggers(&self) -> usize {
        match self.state().fence {
            Fence::Server | Fence::Schemas => 0,
            Fence::Tables => 3 * self.spec().tables.len(),
        }
    }

    /// What is open now has been open for so long already, and is taken to last as long again; past the deadline it is
    /// not waited for.
    async fn drain_part(&self, source: &mut Connection, to: Home) -> Result<Part> {
        let part = |ms, from| Ok(Part { phase: Phase::Drain, ms, from });
        let deadline = self.options.drain_deadline.as_secs_f64() * 1000.0;
        match open_now(self.at(to.other()), source).await {
            Ok(open) => match open.first() {
                None => part(0.0, "no transaction is open".to_owned()),
                Some(oldest) => {
                    let Open { connection, user, for_ms, .. } = oldest;
                    let from = format!(
                        "the oldest open transaction is {for_ms:.0} ms old (connection {connection} of '{user}')"
                    );
                    part(for_ms.min(deadline), from)
                }
            },
            Err(MoveError::Refused { what, .. }) => part(0.0, format!("not known: {what}")),
            Err(error) => Err(error),
        }
    }

    async fn objects_part(&self, source: &mut Connection, home: Home) -> Result<Part> {
        let objects = match self.copy.along.objects {
            true => {
                let kinds = [Kind::Trigger, Kind::Event];
                crate::schema::objects::read(source, Side::Source, &self.moved_at(home), &kinds).await?.len()
            }
            false => 0,
        };
        Ok(Part {
            phase: Phase::Prove,
            ms: objects as f64 * OBJECT_MS,
            from: format!("{objects} triggers and events to create, taken for {OBJECT_MS} ms each"),
        })
    }
}

/// The fence and everything that does not depend on how much there is to do.
async fn fence_part(source: &mut Connection, target: &mut Connection, triggers: usize) -> Result<Part> {
    let begun = Instant::now();
    source.row("SELECT 1").await.doing(Side::Source, "ask for nothing")?;
    target.row("SELECT 1").await.doing(Side::Target, "ask for nothing")?;
    let round_trip = begun.elapsed().as_secs_f64() * 1000.0 / 2.0;
    let mut from = format!(
        "fixed: {ROUND_TRIPS} round trips of {round_trip:.1} ms, {SYNCED_WRITES} writes to disks, taken for \
         {SYNCED_WRITE_MS} ms each"
    );
    if triggers > 0 {
        from.push_str(&format!(
            "; {triggers} triggers to create here and to remove there, taken for {FENCE_TRIGGER_MS} ms each"
        ));
    }
    // Created on one side, removed from the other.
    let triggers = 2.0 * triggers as f64 * (FENCE_TRIGGER_MS + round_trip);
    let ms = ROUND_TRIPS * round_trip + SYNCED_WRITES * SYNCED_WRITE_MS + triggers;
    Ok(Part { phase: Phase::Fence, ms, from })
}

/// What the target is behind now, in all but the worst of a hundred moments.
async fn settle_part(mover: &Mover) -> Part {
    let mut lags = Vec::new();
    for _ in 0..LAG_SAMPLES {
        lags.push(mover.progress().lag());
        tokio::time::sleep(LAG_EVERY).await;
    }
    lags.sort_unstable();
    let p99 = lags.get(lags.len() * 99 / 100).copied().unwrap_or_default();
    Part {
        phase: Phase::Settle,
        ms: p99.as_secs_f64() * 1000.0,
        from: format!("99th percentile of the lag over {:?}", LAG_EVERY * LAG_SAMPLES),
    }
}

/// The keys in flight, at the pace at which a lot of them is proven now.
async fn prove_part(mover: &Mover) -> Result<Part> {
    let in_flight = mover.keys_in_flight();
    let part = |ms, from| Part { phase: Phase::Prove, ms, from };
    if in_flight == 0 {
        return Ok(part(0.0, "no key is unproven now".to_owned()));
    }
    let mut verifier = mover.verifier().await?;
    let begun = Instant::now();
    let proven = verifier.dirty_keys().await?;
    let took = begun.elapsed().as_secs_f64() * 1000.0;
    Ok(match proven {
        // The prover has them in hand.
        0 => part(took, format!("{in_flight} keys are being proven now")),
        proven => {
            let each = took / proven as f64;
            part(
                each * in_flight as f64,
                format!("{in_flight} keys unproven, {proven} just proven in {took:.1} ms"),
            )
        }
    })
}

/// Whether clients would wait that long.
fn long_enough(estimate: &Estimate, hold_max: Duration) -> Guardrail {
    let worst = estimate.stall_ms + estimate.hooks_max_ms;
    let max = hold_max.as_secs_f64() * 1000.0;
    Guardrail::new(
        "hold",
        worst <= max,
        format!(
            "an estimated stall of {:.0} ms, and hooks of up to {:.0} ms",
            estimate.stall_ms, estimate.hooks_max_ms
        ),
        "raise `front_door.hold_max`, or make the hooks and what takes so long shorter",
    )
    .limit(format!("{max:.0} ms"))
    .why("a statement that is held for longer fails with error 1205")
    .only_warns()
}
