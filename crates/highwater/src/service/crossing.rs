//! A crossing, a rehearsal or a look ahead as an operator asks for it, and the file that is left of it.

use std::time::{Duration, Instant};

use migrate::cutover::{CrossingLog, CrossingReport, Home, How, Phase, Run, Unproven};
use model::Trouble;
use proxy::{Held, PinnedPolicy};
use serde_json::{Value, json};

use super::{RunningMove, Service};
use crate::config::Pinned;
use crate::control::{Asker, Crossing, CrossingMode, Progress};
use crate::crossing_report::{End, FileOf, Stall, Step, unix_ms};

/// How long the clients that were held may take to go on until they are counted.
const GOING_ON: Duration = Duration::from_secs(2);

impl Service {
    /// Moves the traffic of a move to the other side, or does as if.
    ///
    /// # Errors
    /// If it is there, is refused, or was given up; the trouble says where traffic is.
    pub(super) async fn crossing(
        &self,
        name: &str,
        to: Home,
        how: Crossing,
        asker: &Asker,
        progress: &Progress,
    ) -> Result<Value, Trouble> {
        let running = self.running(name)?;
        if how.mode == CrossingMode::DryRun {
            self.set_pinned(&running, how);
            return Ok(json!(running.driver.survey(to, self.unproven(how)).await?));
        }
        let (log, begun) = (CrossingLog::default(), unix_ms());
        let (outcome, end) = match how.mode {
            CrossingMode::Rehearsal => {
                self.set_pinned(&running, how);
                let told = |phase: Phase| progress.line(phase.to_string());
                let outcome = running.driver.rehearse(to, self.unproven(how), &told, &log).await;
                let end = outcome.as_ref().map(End::rehearsed).unwrap_or_else(End::given_up);
                (outcome.map(|report| json!(report)), end)
            }
            _ => {
                let outcome = self.cross_logged(&running, to, how, progress, &log).await;
                let end = outcome.as_ref().map(End::crossed).unwrap_or_else(End::given_up);
                (outcome.map(|report| json!(report)), end)
            }
        };
        let record = log.record();
        if record.phases.is_empty() {
            // Refused before anyone was held: there is nothing to report.
            return outcome;
        }
        let (from, onto) = match to {
            Home::New => (self.config.source_of(&running.config), self.config.target_of(&running.config)),
            Home::Old => (self.config.target_of(&running.config), self.config.source_of(&running.config)),
        };
        let file = FileOf {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            move_name: name.to_owned(),
            number: 0,
            run: record.run.unwrap_or(Run::Cutover),
            asked_by: asker.user.clone(),
            closed_pinned: self.closes_pinned(how),
            accepts_unproven: how.accept_unproven,
            from: format!("{} ({}:{})", from.name, from.host, from.port),
            to: format!("{} ({}:{})", onto.name, onto.host, onto.port),
            begun_unix_ms: begun,
            end,
            stall: self.stall().await,
            record,
        };
        // What has happened has happened, whether or not it can be written down.
        match (file.write(&self.config.state_dir), outcome) {
            (Ok(page), outcome) => {
                progress.line(format!("report: {}", page.display()));
                outcome.map(|mut answer| {
                    answer["report"] = json!(page);
                    answer
                })
            }
            (Err(unwritten), outcome) => {
                tracing::warn!(target: "highwater::move", "{}", unwritten.what);
                progress.line(unwritten.what);
                outcome
            }
        }
    }

    /// Moves the traffic of a move to the other side.
    ///
    /// # Errors
    /// As for an operator's.
    pub async fn cross(
        &self,
        name: &str,
        to: Home,
        how: Crossing,
        progress: &Progress,
    ) -> Result<CrossingReport, Trouble> {
        self.cross_logged(&*self.running(name)?, to, how, progress, &CrossingLog::default()).await
    }

    async fn cross_logged(
        &self,
        running: &RunningMove,
        to: Home,
        how: Crossing,
        progress: &Progress,
        log: &CrossingLog,
    ) -> Result<CrossingReport, Trouble> {
        self.set_pinned(running, how);
        let told = |phase: Phase| progress.line(phase.to_string());
        let kill_after = how.kill_after_ms.map(Duration::from_millis);
        running.driver.cross_logged(to, How { unproven: self.unproven(how), kill_after }, &told, log).await
    }

    fn closes_pinned(&self, how: Crossing) -> bool {
        how.close_pinned || self.settings().cutover.pinned == Pinned::Close
    }

    fn set_pinned(&self, running: &RunningMove, how: Crossing) {
        let close = self.closes_pinned(how);
        running.gate.set_pinned(if close { PinnedPolicy::Close } else { PinnedPolicy::Refuse });
    }

    fn unproven(&self, how: Crossing) -> Unproven {
        if how.accept_unproven { Unproven::Accept } else { Unproven::Refuse }
    }

    /// How long the clients of the front door were held, when they have gone on.
    async fn stall(&self) -> Option<Stall> {
        let control = self.door.as_ref()?.control();
        let begun = Instant::now();
        while control.stats().held > 0 && begun.elapsed() < GOING_ON {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(stall(&control.held()))
    }
}

fn stall(held: &Held) -> Stall {
    let ms = |of: Duration| of.as_secs_f64() * 1000.0;
    Stall {
        statements: held.statements,
        longest_ms: ms(held.longest),
        steps: held
            .steps
            .iter()
            .map(|(up_to, count)| Step { up_to_ms: up_to.map(ms), statements: *count })
            .collect(),
    }
}
