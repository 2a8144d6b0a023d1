//! Which accounts we have made on the target, and as what.

use mysql::Connection;

use super::Name;
use super::definition::Definition;
use crate::error::{Doing, Result, Side};
use crate::schema::quote_text;

/// An account that we have made.
pub(super) struct Made {
    /// Digests of what source and target showed then; `None` if that was not done to the end.
    pub digests: Option<(String, String)>,
}

fn matches(move_name: &str, name: &Name) -> String {
    format!("move_name='{move_name}' AND account={}", quote_text(&name.to_string()))
}

/// What we know of an account; `None` if it is not one we have made.
pub(super) async fn read(target: &mut Connection, move_name: &str, name: &Name) -> Result<Option<Made>> {
    let sql =
        format!("SELECT on_source, on_target FROM highwater.accounts WHERE {}", matches(move_name, name));
    let row = target.row(sql).await.doing(Side::Target, "read which accounts are ours")?;
    Ok(row.map(|row| {
        let done = row.bytes(0).is_some() && row.bytes(1).is_some();
        Made { digests: done.then(|| (row.text(0), row.text(1))) }
    }))
}

/// Before an account is made or changed.
pub(super) async fn begin(target: &mut Connection, move_name: &str, name: &Name) -> Result<()> {
    let sql = format!(
        "REPLACE INTO highwater.accounts (move_name, account) VALUES ('{move_name}', {})",
        quote_text(&name.to_string())
    );
    target.execute(sql).await.doing(Side::Target, "write down which accounts are ours")?;
    Ok(())
}

/// Once it is what it is to be.
pub(super) async fn end(
    target: &mut Connection,
    move_name: &str,
    on_source: &Definition,
    on_target: &Definition,
) -> Result<()> {
    let sql = format!(
        "UPDATE highwater.accounts SET on_source='{}', on_target='{}' WHERE {}",
        on_source.digest(),
        on_target.digest(),
        matches(move_name, &on_source.name)
    );
    target.execute(sql).await.doing(Side::Target, "write down which accounts are ours")?;
    Ok(())
}

/// The statements that take everything away from an account that it is granted.
pub(super) async fn revocations(target: &mut Connection, name: &Name) -> Result<Vec<String>> {
    let quoted = name.quoted();
    let sql = format!(
        "SELECT FROM_USER, FROM_HOST FROM mysql.role_edges WHERE TO_USER = {} AND TO_HOST = {}",
        quote_text(&name.user),
        quote_text(&name.host)
    );
    let roles = target.rows(sql).await.doing(Side::Target, format!("read the roles of {name}"))?;
    let roles = roles.iter().map(|row| Name { user: row.text(0), host: row.text(1) });
    let mut all = vec![format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {quoted}")];
    all.extend(roles.map(|role| format!("REVOKE {} FROM {quoted}", role.quoted())));
    Ok(all)
}
