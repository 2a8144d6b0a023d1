//! Everything that can be known to go wrong with a move before anything is written, asked of both servers.
//!
//! ```text
//!  server_reading, probe --> ServerFacts x 2 --\
//!                                               > Facts --> RULES (pure) --> CheckReport --> terminal
//!  schema_reading --> SchemaFacts -------------/
//! ```
//!
//! Invariant: a check writes nothing on either server, and a fact that cannot be read is never taken for a good one.

mod access;
mod accounts;
mod activity;
mod behaviour;
mod columns;
mod expression;
mod expressions;
mod facts;
mod fences;
mod foreign_keys;
pub(crate) mod grants;
mod identity;
mod log;
mod logins;
mod nearest;
mod object_privileges;
mod objects;
mod placement;
mod probe;
mod renames;
mod report;
mod rule;
mod schema_reading;
mod server;
mod server_reading;
mod settings;
mod shape;
mod terminal;
pub(crate) mod writers;
mod zone;

#[cfg(test)]
mod sample;

pub use report::{Check, CheckReport, Outcome, Side};
pub use server::Server;

use crate::plan::{Along, Fence, MoveSpec};
use facts::Facts;
use rule::Rule;

/// How far the move has come, which decides what the target must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// Before the copy: the target must not have the tables.
    Fresh,
    /// The copy has begun: the tables on the target are ours.
    Underway,
}

/// What to check for, and what the operator has decided to live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOptions {
    /// How far the move has come.
    pub state: TargetState,
    /// Names of checks whose refusal becomes a warning, recorded as accepted. A check without which rows could be lost
    /// or invented cannot be accepted; the report says so.
    pub accept: Vec<String>,
    /// What moves along with the tables.
    pub along: Along,
    /// What is to keep a side from taking writes.
    pub fence: Fence,
    /// Accounts that are to be locked on the side that follows, as `user@host`.
    pub fence_accounts: Vec<String>,
    /// Replicas of the source that the copy is told to spare, as `host:port`.
    pub spared: Vec<String>,
}

impl From<TargetState> for CheckOptions {
    fn from(state: TargetState) -> Self {
        Self {
            state,
            accept: Vec::new(),
            along: Along::default(),
            fence: Fence::default(),
            fence_accounts: Vec::new(),
            spared: Vec::new(),
        }
    }
}

/// Every rule there is, in the order a report lists them.
fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        identity::RULES,
        log::RULES,
        access::RULES,
        object_privileges::RULES,
        fences::RULES,
        logins::RULES,
        activity::RULES,
        zone::RULES,
        settings::RULES,
        behaviour::RULES,
        shape::RULES,
        placement::RULES,
        columns::RULES,
        foreign_keys::RULES,
        objects::RULES,
        renames::RULES,
    ]
    .into_iter()
    .flatten()
}

/// Reads the facts from both servers and judges them.
///
/// It sets `information_schema_stats_expiry` of our own sessions to 0: with any other value, reading a table's size makes
/// the server store it, and a check writes nothing. And it has them show generated invisible primary keys.
///
/// # Errors
/// If a connection breaks. A statement that a server refuses does not end the check: what could not be read is
/// reported as such.
pub async fn check(
    source: &mut Server,
    target: &mut Server,
    spec: &MoveSpec,
    options: impl Into<CheckOptions>,
) -> mysql::Result<CheckReport> {
    let options = options.into();
    let facts = read(source, target, spec, &options).await?;
    Ok(rule::judge(rules(), &facts, &options.accept))
}

async fn read(
    source: &mut Server,
    target: &mut Server,
    spec: &MoveSpec,
    options: &CheckOptions,
) -> mysql::Result<Facts> {
    let (state, along) = (options.state, options.along.clone());
    let source_facts = server_reading::read(source, Side::Source, &along, options.fence).await?;
    let target_facts = server_reading::read(target, Side::Target, &along, options.fence).await?;
    let schema = schema_reading::read(&mut source.ours, &source_facts, spec, &along).await?;
    let conn = &mut target.ours;
    let there = schema_reading::read_target(conn, &source_facts, &target_facts, spec, state, &schema).await?;
    Ok(Facts {
        spec: spec.clone(),
        state,
        along,
        fence: options.fence,
        fence_accounts: options.fence_accounts.clone(),
        spared: options.spared.clone(),
        source: source_facts,
        target: target_facts,
        schema,
        there,
    })
}
