//! The pass over every row of every table, which makes a proof.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use model::GtidSet;

use super::{Mover, PIPELINE_WAIT, gtid_executed};
use crate::direction::Direction;
use crate::error::{MoveError, Result, Side};
use crate::ledger::proven;
use crate::proof::TableVerdict;
use crate::prover;
use crate::session;
use crate::verify::{Verification, Verifier};

/// How long a comparison waits for the watch to read the target's log.
const WATCH_WAIT: Duration = Duration::from_secs(5);

impl Mover {
    /// Compares every row of every table while the stream goes on, then keeps the proof current in the background.
    /// `seen` is told of rows as they are compared.
    ///
    /// # Errors
    /// If a server fails or the copy is not complete.
    pub async fn verify(&self, workers: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<Verification> {
        self.pass(workers, false, seen).await
    }

    /// The same, and what the rows of each table come to ([`TableVerdict::hash`]), for a proof that is kept or was.
    ///
    /// # Errors
    /// As [`Mover::verify`].
    pub async fn verify_summing(&self, workers: usize, seen: &(dyn Fn(u64) + Sync)) -> Result<Verification> {
        self.pass(workers, true, seen).await
    }

    async fn pass(&self, workers: usize, sums: bool, seen: &(dyn Fn(u64) + Sync)) -> Result<Verification> {
        self.unless_copying()?;
        drop(self.set_prover(None));
        loop {
            let direction = self.now();
            match self.verify_once(&direction, workers, sums, seen).await {
                // A statement of the stream has changed the tables under the comparison: it begins again with what they are.
                Err(error) if self.changed_since(&direction, &error).await => {}
                outcome => return outcome,
            }
        }
    }

    pub(super) fn unless_copying(&self) -> Result<()> {
        if self.progress.all_copied() {
            return Ok(());
        }
        Err(MoveError::Refused {
            what: "cannot verify: the copy is not complete".into(),
            hint: "wait until `highwater status` shows every table copied".into(),
        })
    }

    /// Whether a failed comparison is explained by a statement of the stream, which may have to come by yet.
    pub(super) async fn changed_since(&self, direction: &Arc<Direction>, error: &MoveError) -> bool {
        if !matches!(error, MoveError::Stopped | MoveError::SourceMoved)
            && !error.may_come_from_being_behind()
        {
            return false;
        }
        let mut now = self.direction.clone();
        let changed = now.wait_for(|now| !Arc::ptr_eq(now, direction));
        matches!(tokio::time::timeout(PIPELINE_WAIT, changed).await, Ok(Ok(_)))
            && self.unless_failed().is_ok()
    }

    async fn verify_once(
        &self,
        direction: &Arc<Direction>,
        workers: usize,
        sums: bool,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Verification> {
        let begun = Instant::now();
        *self.last_pass.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.proof.restart();
        direction.dirty.reset();
        let written = self.watch_what_was_written(direction).await?;
        let foreign_writes = self.watched().count();
        let begun_at = self.applied_now();
        direction.dirty.start();
        let next = AtomicUsize::new(0);
        let lanes = (0..workers.max(1)).map(|_| self.verify_lane(direction, &next, sums, seen));
        let mut verdicts = Vec::new();
        for lane in join_all(lanes).await {
            verdicts.extend(lane?);
        }
        verdicts.sort_by(|a, b| a.table.cmp(&b.table));
        self.proof.complete(self.applied_now(), verdicts);

        // What was touched meanwhile is proven once here, so that a difference there shows in this answer too.
        let mut verifier = self.verifier_of(direction).await?;
        let mut left = direction.dirty.waiting();
        while left > 0 {
            match verifier.dirty_keys().await? {
                0 => break,
                proven => left = left.saturating_sub(proven),
            }
        }
        let (mut tables, different) = (self.proof.verdicts(), self.proof.different());
        for verdict in &mut tables {
            let place = direction.tables.iter().position(|t| t.name == verdict.table);
            verdict.last_change = place.map(|i| direction.changes.of(i)).unwrap_or_default();
        }
        *self.last_pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(foreign_writes);
        if different == 0 {
            self.watched().settle(foreign_writes);
        }
        if let Err(error) = prover::keep(&mut verifier, self.watched(), &begun_at, &written).await {
            tracing::warn!(target: "highwater::proof", %error, "a restart would have to prove it again");
        }
        self.start_proving();
        Ok(Verification {
            rows: tables.iter().map(|t| t.rows).sum(),
            different,
            as_of: self.applied_now(),
            keys_in_flight: self.keys_in_flight(),
            seconds: begun.elapsed().as_secs_f64(),
            watched_since: direction.changes.since(),
            newest: None,
            left_out: Vec::new(),
            tables,
        })
    }

    /// Before a pass begins: an earlier proof is taken back, and what a stranger has written so far is the pass's to find, once,
    /// and not a dirty key beside it. Returns what that is part of.
    async fn watch_what_was_written(&self, direction: &Direction) -> Result<GtidSet> {
        let mut target = session::open(&direction.options.target, Side::Target).await?;
        proven::withdraw(&mut target, &self.ledger()).await?;
        let written = gtid_executed(&mut target, Side::Target).await?;
        // Past that, a difference may be counted twice.
        let _ = tokio::time::timeout(WATCH_WAIT, self.watched().has_read(&written)).await;
        Ok(written)
    }

    /// A pair of connections that compares these tables and no others.
    pub(super) async fn verifier_of(&self, direction: &Arc<Direction>) -> Result<Verifier> {
        let verifier = self.verifier().await?;
        if verifier.is_of(direction) { Ok(verifier) } else { Err(MoveError::Stopped) }
    }

    /// A verifier of the tables as they are now, in place of one whose tables a statement of the stream has changed.
    ///
    /// # Errors
    /// As [`Mover::verifier`].
    pub(crate) async fn renew(&self, verifier: &mut Verifier) -> Result<()> {
        if !verifier.is_of(&self.now()) {
            *verifier = self.verifier().await?;
        }
        Ok(())
    }

    async fn verify_lane(
        &self,
        direction: &Arc<Direction>,
        next: &AtomicUsize,
        sums: bool,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<TableVerdict>> {
        let mut verifier = self.verifier_of(direction).await?;
        verifier.sums = sums;
        let mut verdicts = Vec::new();
        loop {
            let table = next.fetch_add(1, Ordering::Relaxed);
            if table >= direction.tables.len() {
                return Ok(verdicts);
            }
            let begun_at = self.applied_now();
            let verdict = verifier.table(table, seen).await?;
            verdicts.push(verdict.compared_between(begun_at, self.applied_now()));
        }
    }
}

/// Runs futures of one type together in this task, and returns their results in order.
pub(super) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(move |cx| {
        let mut all_done = true;
        for (future, output) in &mut pending {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => all_done = false,
                }
            }
        }
        if all_done {
            std::task::Poll::Ready(pending.iter_mut().filter_map(|(_, output)| output.take()).collect())
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
