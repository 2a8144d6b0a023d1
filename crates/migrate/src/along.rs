//! What moves along with the tables, and is on both sides: accounts, views and routines.

use mysql::ConnectOptions;

use crate::accounts;
use crate::error::Result;
use crate::plan::{Along, MoveSpec};
use crate::schema::objects;

/// Creates on the target what goes along with the tables and is not there: accounts, views and routines. Triggers and
/// events are the cutover's.
///
/// # Errors
/// If a server refuses, or something of the same name and another definition is there.
pub async fn bring(
    source: &ConnectOptions,
    target: &ConnectOptions,
    spec: &MoveSpec,
    along: &Along,
) -> Result<()> {
    if along.objects {
        let created = objects::bring(source, target, spec).await?;
        tracing::info!(target: "highwater::copy", created, "views and routines are on the target");
    }
    // After them: rights on a view or routine can only be given once it is there. Whoever defines one need not exist yet.
    let made = accounts::bring(source, target, &along.accounts, spec).await?;
    if made > 0 {
        tracing::info!(target: "highwater::copy", made, "accounts are on the target");
    }
    Ok(())
}
