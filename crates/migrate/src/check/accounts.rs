//! The accounts of a server, and which of them a read-only fence does not hold back by itself.

use std::collections::{BTreeMap, BTreeSet};

use mysql::{Connection, Row};

use super::facts::Account;
use super::rule::Fact;
use super::server_reading::{ask, grant};

/// Dynamic privileges that lift a fence or write through it. SUPER, a static one, does both.
const POWERS: &str = "_utf8mb4'SYSTEM_VARIABLES_ADMIN', _utf8mb4'CONNECTION_ADMIN'";

/// Reads all accounts from the grant tables: information_schema would show our own alone, without saying so.
pub(super) async fn read(conn: &mut Connection, us: &str) -> mysql::Result<Fact<Vec<Account>>> {
    let fix = grant("SELECT", us).replace("*.*", "mysql.*");
    let users = "SELECT CONCAT(User, '@', Host), account_locked = 'Y', Super_priv = 'Y', plugin, \
         IFNULL(JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password'), 0) FROM mysql.user";
    let powers =
        format!("SELECT CONCAT(USER, '@', HOST), PRIV FROM mysql.global_grants WHERE PRIV IN ({POWERS})");
    let edges =
        "SELECT CONCAT(FROM_USER, '@', FROM_HOST), CONCAT(TO_USER, '@', TO_HOST) FROM mysql.role_edges";
    let users = ask(conn, users, &fix).await?;
    let powers = ask(conn, &powers, &fix).await?;
    let edges = ask(conn, edges, &fix).await?;
    let (users, powers, edges) = match (users, powers, edges) {
        (Ok(users), Ok(powers), Ok(edges)) => (users, powers, edges),
        (Err(e), ..) | (_, Err(e), _) | (.., Err(e)) => return Ok(Err(e)),
    };
    let mut own: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &powers {
        own.entry(row.text(0)).or_default().insert(row.text(1));
    }
    for row in users.iter().filter(|row| row.text(2) == "1") {
        own.entry(row.text(0)).or_default().insert("SUPER".into());
    }
    let edges = edges.iter().map(|row| (row.text(0), row.text(1))).collect();
    let all = with_roles(own, edges);
    let account = |row: &Row| Account {
        name: row.text(0),
        locked: row.text(1) == "1",
        plugin: row.text(3),
        second_password: row.text(4) == "1",
        powers: all.get(&row.text(0)).cloned().unwrap_or_default(),
    };
    Ok(Ok(users.iter().map(account).collect()))
}

/// Hands each role's powers on to whoever has the role, through any number of roles. An edge leads from a role to
/// its holder; a role may be inactive now, but its holder can activate it.
fn with_roles(
    mut powers: BTreeMap<String, BTreeSet<String>>,
    edges: Vec<(String, String)>,
) -> BTreeMap<String, BTreeSet<String>> {
    loop {
        let mut changed = false;
        for (role, holder) in &edges {
            let given = powers.get(role).cloned().unwrap_or_default();
            let held = powers.entry(holder.clone()).or_default();
            let before = held.len();
            held.extend(given);
            changed |= held.len() > before;
        }
        if !changed {
            return powers;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_reach_their_holder_through_roles_of_roles() {
        let set = |p: &str| BTreeSet::from([p.to_owned()]);
        let powers = BTreeMap::from([("dba@%".to_owned(), set("SUPER"))]);
        let edge = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let all =
            with_roles(powers, vec![edge("ops@%", "ann@%"), edge("dba@%", "ops@%"), edge("ann@%", "ops@%")]);
        assert_eq!((&all["ann@%"], &all["ops@%"]), (&set("SUPER"), &set("SUPER")));
    }
}
