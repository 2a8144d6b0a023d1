//! A move whose servers cannot all be reached: it says so, is tried again, and goes on by itself.
//!
//! ```text
//! mend (the side that serves) --> reach both --> check --> stream      any server away: wait, and from the beginning
//! ```
//! Nothing else is waited for: what a check, a journal or a server refuses is refused, at the start with the process, later
//! with the move.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use migrate::check::TargetState;
use migrate::cutover::{Home, MoveDriver, NotBegun};
use migrate::throttle::Throttle;
use model::Trouble;

use super::gate::DoorGate;
use super::greeting;
use crate::config::{MoveConfig, ResolvedConfig};
use crate::preflight::{self, Unready};

/// The pause before the second try; each later one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// No pause is longer: so long after its server is back a move goes on, at most.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// How long the stream's start may take while the front door waits for it to be tried once.
const FIRST_START: Duration = Duration::from_secs(10);
/// The same, later.
const LATER_START: Duration = Duration::from_secs(30);

/// A move of this process, and its gate.
pub(super) struct RunningMove {
    pub config: MoveConfig,
    pub driver: MoveDriver<DoorGate>,
    pub gate: Arc<DoorGate>,
    pub throttle: Arc<Throttle>,
    /// Why it does not run.
    not_begun: RwLock<Option<Unready>>,
}

/// How often a start has been tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Later,
}

impl RunningMove {
    pub(super) fn new(
        config: MoveConfig,
        driver: MoveDriver<DoorGate>,
        gate: Arc<DoorGate>,
        throttle: Arc<Throttle>,
    ) -> Self {
        Self { config, driver, gate, throttle, not_begun: RwLock::default() }
    }

    /// The clusters it waits for; none if it does not wait.
    pub(super) fn waits_for(&self) -> Vec<String> {
        match &*self.not_begun.read().unwrap_or_else(PoisonError::into_inner) {
            Some(Unready::Away { clusters, .. }) => clusters.clone(),
            Some(Unready::Passing(_) | Unready::Refused(_)) | None => Vec::new(),
        }
    }

    /// Whether it will be tried again by itself.
    pub(super) fn waits(&self) -> bool {
        let not_begun = self.not_begun.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*not_begun, Some(Unready::Away { .. } | Unready::Passing(_)))
    }

    /// Why it does not run, as an operator reads it; nothing if it does.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let not_begun = self.not_begun.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(match not_begun {
            Unready::Away { .. } => Trouble::new(not_begun.sentence(), self.meanwhile(), self.what_to_do()),
            Unready::Passing(trouble) => {
                Trouble::new(format!("waiting: {}", trouble.what), self.meanwhile(), trouble.hint)
            }
            Unready::Refused(trouble) => trouble,
        })
    }

    /// The cluster that serves, and the other one.
    fn serving_and_other(&self) -> (&str, &str) {
        match self.driver.state().home {
            Home::Old => (&self.config.source, &self.config.target),
            Home::New => (&self.config.target, &self.config.source),
        }
    }

    fn meanwhile(&self) -> String {
        let (serving, other) = self.serving_and_other();
        if self.driver.is_half_way() {
            return format!(
                "by the journal cluster '{serving}' serves, and a crossing is half-way: clients of the front door are held until that is \
                 mended there"
            );
        }
        match self.waits_for().iter().any(|cluster| cluster == serving) {
            true => {
                format!("by the journal cluster '{serving}' serves; no other takes writes of the application")
            }
            false => format!(
                "cluster '{serving}' serves; what is applied on cluster '{other}' is applied, and nothing more until then"
            ),
        }
    }

    fn what_to_do(&self) -> String {
        let (serving, _) = self.serving_and_other();
        let mend = "bring it back, or mend the way to it: the move goes on by itself within seconds";
        match self.waits_for().iter().any(|cluster| cluster == serving) {
            true => mend.to_owned(),
            false => format!(
                "{mend}; to do without it for good, take the move out of highwater.toml, set `front_door.cluster` to '{serving}' and restart"
            ),
        }
    }

    /// Tries once to start it.
    async fn attempt(&self, config: &ResolvedConfig, which: Try, from_backup: bool) -> Result<(), Unready> {
        let (source, target) = (config.source_of(&self.config), config.target_of(&self.config));
        let of = |not_begun: NotBegun| match not_begun {
            NotBegun::Away { server, why, trouble } => {
                let cluster = if server == Home::Old { source } else { target };
                Unready::Away { clusters: vec![cluster.name.clone()], why, trouble }
            }
            NotBegun::Passing(trouble) => Unready::Passing(trouble),
            NotBegun::Refused(trouble) => Unready::Refused(trouble),
        };
        // First, and without the other side: clients may be held for it.
        self.driver.mend().await.map_err(of)?;
        let versions = preflight::reach_both(config, &self.config).await?;
        for (cluster, version) in [source, target].into_iter().zip(versions) {
            greeting::remember(&config.state_dir, cluster, &version);
        }
        let patience = match preflight::refuse_unless_checked(config, &self.config, from_backup).await? {
            // Every table is created, which takes what it takes.
            TargetState::Fresh => None,
            TargetState::Underway if which == Try::First => Some(FIRST_START),
            TargetState::Underway => Some(LATER_START),
        };
        self.driver.begin(patience).await.map_err(of)
    }

    /// Tries for the first time. Answers whether it runs; if not, it waits.
    ///
    /// # Errors
    /// If it is refused for another reason than that a server is away.
    pub(super) async fn first_try(
        &self,
        config: &ResolvedConfig,
        from_backup: bool,
    ) -> Result<Option<Trouble>, Trouble> {
        match self.attempt(config, Try::First, from_backup).await {
            Ok(()) => Ok(None),
            Err(away @ Unready::Away { .. }) => {
                let trouble = away.clone().into_trouble();
                self.note(Some(away));
                Ok(Some(trouble))
            }
            Err(other) => Err(other.into_trouble()),
        }
    }

    /// Tries until it runs, or is refused.
    pub(super) async fn go_on_when_it_can(self: Arc<Self>, config: ResolvedConfig) {
        let name = &self.config.spec.name;
        let mut pause = PAUSE_MIN;
        while self.waits() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            match self.attempt(&config, Try::Later, false).await {
                Ok(()) => {
                    tracing::warn!(target: "highwater::move", name, "its servers are back; the move goes on");
                    self.note(None);
                }
                Err(not_begun) => self.note(Some(not_begun)),
            }
        }
    }

    /// Starts it again in a process that goes on. What is in the way is noted: it is tried again, or said.
    pub(super) async fn start_again(&self, config: &ResolvedConfig) {
        if let Err(not_begun) = self.attempt(config, Try::Later, false).await {
            self.note(Some(not_begun));
        }
    }

    fn note(&self, not_begun: Option<Unready>) {
        let before = self.trouble();
        *self.not_begun.write().unwrap_or_else(PoisonError::into_inner) = not_begun;
        let now = self.trouble();
        // Not once for each try.
        if let Some(trouble) = now.filter(|now| before.is_none_or(|before| before.what != now.what)) {
            let name = &self.config.spec.name;
            tracing::warn!(target: "highwater::move", name, "{}; {}", trouble.what, trouble.state);
        }
    }
}
