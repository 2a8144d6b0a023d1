//! Accounts that move along: those who log in, the roles they have, and what they are granted.
//!
//! An account that the target does not have is created there as the source shows it, its password as the hash it is stored
//! as. One that is there already is left alone if it is the same, and refused if it is not, but for one case: we made it, nobody has
//! changed it since, and it has changed on the source. Then it is made anew. `highwater.accounts` remembers what we
//! made: a digest of what each side showed when it was done, none while it is being done.

mod definition;
mod grant;
mod record;

use std::fmt;

use mysql::{ConnectOptions, Connection, ErrPacket};

use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::{Accounts, MoveSpec};
use crate::schema::quote_text;
use crate::session;
use definition::Definition;
use grant::Schemas;
use record::Made;

/// The name of an account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    user: String,
    host: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.host)
    }
}

impl Name {
    /// As statements take it. Our sessions' character set is binary; names of accounts are utf8mb3, and taken as they are.
    fn quoted(&self) -> String {
        let quote = |part: &str| format!("'{}'", part.replace('\\', "\\\\").replace('\'', "''"));
        format!("{}@{}", quote(&self.user), quote(&self.host))
    }
}

/// What a grant needs and the target may not have, since it does not move: a table (1146, 1054), a routine (1305).
const NOT_THERE: [u16; 3] = [1146, 1054, 1305];

/// Brings accounts to the target; returns how many were made there.
///
/// # Errors
/// If a server refuses, a named account does not exist, or one is on the target that is not the same and was not made by us.
pub(crate) async fn bring(
    source: &ConnectOptions,
    target: &ConnectOptions,
    wanted: &Accounts,
    spec: &MoveSpec,
) -> Result<usize> {
    let MoveSpec { name: move_name, renames, .. } = spec;
    if *wanted == Accounts::None {
        return Ok(0);
    }
    let mut source = session::open(source, Side::Source).await?;
    let mut target = session::open(target, Side::Target).await?;
    // The end of a copy and a cutover may both be at it. The lock ends with the connection.
    let lock = "SELECT GET_LOCK('highwater.bring', 60)";
    target.rows(lock).await.doing(Side::Target, "wait for another at the same")?;
    for (server, side) in [(&mut source, Side::Source), (&mut target, Side::Target)] {
        // Else a hash is shown as text, whose bytes are no text.
        let hex = "SET SESSION print_identified_with_as_hex=ON";
        server.execute(hex).await.doing(side, "have password hashes shown as numbers")?;
    }

    let schemas = Schemas::of(&mut target, renames).await?;
    let alike = source.server_version() == target.server_version();
    let mut due = Vec::new();
    for name in list(&mut source, wanted).await? {
        // Gone meanwhile is gone.
        let Some(here) = definition::read(&mut source, Side::Source, &name).await? else { continue };
        let here = here.in_names_of_target(&schemas)?;
        let there = definition::read(&mut target, Side::Target, &name).await?;
        let made = record::read(&mut target, move_name, &name).await?;
        if is_due(&here, there.as_ref(), made.as_ref(), alike)? {
            due.push((here, there));
        }
    }
    // All of them first: grants name roles.
    for (here, there) in &due {
        record::begin(&mut target, move_name, &here.name).await?;
        create(&mut target, here, there.as_ref()).await?;
    }
    for (here, there) in &due {
        grant(&mut target, here, there.as_ref()).await?;
        if let Some(made) = definition::read(&mut target, Side::Target, &here.name).await? {
            record::end(&mut target, move_name, here, &made).await?;
        }
    }
    Ok(due.len())
}

/// Whether an account has to be made, or made anew.
fn is_due(here: &Definition, there: Option<&Definition>, made: Option<&Made>, alike: bool) -> Result<bool> {
    let Some(there) = there else { return Ok(true) };
    match made {
        // It was being made when that was interrupted.
        Some(Made { digests: None }) => Ok(true),
        Some(Made { digests: Some((from, to)) }) if *to == there.digest() => Ok(*from != here.digest()),
        _ if alike && here == there => Ok(false),
        _ => Err(MoveError::Refused {
            what: format!(
                "account {} is on the target already, and is another one: {}",
                here.name,
                here.difference(there)
            ),
            hint: format!(
                "make it the same on both sides, or DROP USER {} on the target, or leave it out of the move's `accounts`",
                here.name.quoted()
            ),
        }),
    }
}

/// The accounts that are to move along, and the roles they have, in name order.
async fn list(source: &mut Connection, wanted: &Accounts) -> Result<Vec<Name>> {
    let chosen = match wanted {
        Accounts::None => return Ok(Vec::new()),
        Accounts::All => "u.User NOT IN ('mysql.infoschema', 'mysql.session', 'mysql.sys', 'root') \
             AND CONCAT(u.User, '@', u.Host) <> CURRENT_USER()"
            .to_owned(),
        Accounts::Named(names) => {
            let names: Vec<String> = names.iter().map(|name| quote_text(name)).collect();
            format!("CONCAT(u.User, '@', u.Host) IN ({})", names.join(","))
        }
    };
    // An edge leads from a role to its holder.
    let sql = format!(
        "WITH RECURSIVE a (User, Host) AS (SELECT CAST(u.User AS CHAR(32) CHARACTER SET utf8mb4), CAST(u.Host AS CHAR(255) CHARACTER SET utf8mb4) FROM mysql.user u WHERE {chosen} \
         UNION SELECT e.FROM_USER, e.FROM_HOST FROM mysql.role_edges e JOIN a ON e.TO_USER = a.User AND e.TO_HOST = a.Host) \
         SELECT User, Host FROM a ORDER BY 1, 2"
    );
    let rows = source.rows(sql).await.doing(Side::Source, "list the accounts")?;
    let found: Vec<Name> = rows.iter().map(|row| Name { user: row.text(0), host: row.text(1) }).collect();
    if let Accounts::Named(names) = wanted
        && let Some(missing) = names.iter().find(|name| !found.iter().any(|f| f.to_string() == **name))
    {
        return Err(MoveError::Refused {
            what: format!("account {missing}, which is to move along, is not on the source"),
            hint: "write it as `user@host`, as SELECT User, Host FROM mysql.user shows it".into(),
        });
    }
    Ok(found)
}

async fn create(target: &mut Connection, account: &Definition, there: Option<&Definition>) -> Result<()> {
    let doing = format!("create account {}", account.name);
    let statement = match there {
        None => account.create().to_vec(),
        Some(_) => account.alter(),
    };
    target.execute(statement).await.doing(Side::Target, doing)?;
    Ok(())
}

/// Gives an account what it has on the source, and nothing else.
async fn grant(target: &mut Connection, account: &Definition, there: Option<&Definition>) -> Result<()> {
    let doing = format!("grant account {} what it has on the source", account.name);
    if there.is_some() {
        for sql in record::revocations(target, &account.name).await? {
            target.execute(sql).await.doing(Side::Target, &doing)?;
        }
    }
    for sql in account.grants() {
        match target.execute(sql).await {
            Err(mysql::Error::Server(ErrPacket { code, .. })) if NOT_THERE.contains(&code) => {
                tracing::warn!(
                    target: "highwater::accounts",
                    account = %account.name,
                    grant = %sql.escape_ascii(),
                    "what is granted is not on the target, and was left out"
                );
            }
            done => {
                done.doing(Side::Target, &doing)?;
            }
        }
    }
    if let Some(sql) = account.default_roles() {
        target.execute(sql).await.doing(Side::Target, doing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(create: &str) -> Definition {
        let name = Name { user: "shop".into(), host: "%".into() };
        Definition::new(name, create.into(), vec![b"GRANT USAGE ON *.* TO `shop`@`%`".to_vec()])
    }

    #[test]
    fn an_account_is_made_anew_only_where_nobody_else_has_touched_it() {
        let (old, new) = (account("CREATE USER `shop`@`%` A"), account("CREATE USER `shop`@`%` B"));
        let made = |from: &Definition, to: &Definition| Made { digests: Some((from.digest(), to.digest())) };
        assert!(is_due(&old, None, None, true).unwrap(), "not there");
        assert!(!is_due(&old, Some(&old), None, true).unwrap(), "the same by itself");
        assert!(!is_due(&old, Some(&old), Some(&made(&old, &old)), true).unwrap(), "made by us");
        assert!(
            is_due(&new, Some(&old), Some(&made(&old, &old)), true).unwrap(),
            "changed on the source since"
        );
        assert!(is_due(&new, Some(&old), Some(&Made { digests: None }), true).unwrap(), "half made");
        assert!(is_due(&old, Some(&new), None, true).is_err(), "someone else's");
        assert!(
            is_due(&old, Some(&new), Some(&made(&old, &old)), true).is_err(),
            "changed on the target since"
        );
        // Another version shows the same account in other words: then only what we remember counts.
        assert!(is_due(&old, Some(&old), None, false).is_err());
        assert!(!is_due(&old, Some(&new), Some(&made(&old, &new)), false).unwrap());
    }
}
