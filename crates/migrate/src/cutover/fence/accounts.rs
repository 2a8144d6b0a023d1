//! Accounts kept from logging in to the side that follows, where no fence lets us in and them not.
//!
//! That it was us who locked an account, the account itself says, in its attribute (`ATTRIBUTE`, MySQL 8.0.21), set by the statement
//! that locks it: a crash cannot come between, and nobody else's lock is ever opened. Several moves may lock the same
//! account; the last one opens it.

use std::time::Duration;

use mysql::{Connection, Row};

use crate::cutover::in_the_way;
use crate::error::{Doing, MoveError, Result, Side};
use crate::schema::quote_text;

/// The key of the attribute; its value is an object that has the names of moves as keys.
const MARK: &str = "highwater_fence";

/// Locks these accounts, but for those that are locked by somebody else, and ends their sessions. One that does not exist there
/// does nobody harm.
///
/// # Errors
/// If the server refuses, or one of them is our own.
pub(super) async fn lock(
    server: &mut Connection,
    side: Side,
    accounts: &[String],
    move_name: &str,
) -> Result<()> {
    if accounts.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = accounts.iter().map(|account| quote_text(account)).collect();
    let sql = format!(
        "SELECT User, Host, account_locked = 'Y', IFNULL(JSON_CONTAINS_PATH(User_attributes, _utf8mb4'one', _utf8mb4'$.metadata.{MARK}'), 0), \
         CONCAT(User, '@', Host) = CURRENT_USER() FROM mysql.user WHERE CONCAT(User, '@', Host) IN ({})",
        names.join(",")
    );
    let rows = server.rows(sql).await.doing(side, "look at the accounts to lock")?;
    for row in &rows {
        let (locked, by_us, ourselves) = (row.text(2) == "1", row.text(3) == "1", row.text(4) == "1");
        let account = format!("{}@{}", row.text(0), row.text(1));
        if ourselves {
            return Err(MoveError::Refused {
                what: format!(
                    "account {account} is the one this program uses on the {side}, and cannot be locked"
                ),
                hint: "take it out of the move's `fence_accounts`".into(),
            });
        }
        if locked && !by_us {
            continue;
        }
        let sql = format!("ALTER USER {} ACCOUNT LOCK ATTRIBUTE '{}'", quoted(row), mark(move_name, "true"));
        server.execute(sql).await.doing(side, format!("lock account {account}"))?;
    }
    end_sessions(server, side, &rows).await
}

/// Ends every session of these users, whichever of their accounts it came by, and waits until they are gone: a locked account's
/// sessions would go on.
async fn end_sessions(server: &mut Connection, side: Side, accounts: &[Row]) -> Result<()> {
    let users: Vec<String> = accounts.iter().map(|row| quote_text(&row.text(0))).collect();
    if users.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT PROCESSLIST_ID FROM performance_schema.threads WHERE TYPE = 'FOREGROUND' AND PROCESSLIST_ID IS NOT NULL \
         AND PROCESSLIST_USER <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1) AND PROCESSLIST_USER IN ({})",
        users.join(",")
    );
    loop {
        let left = server.rows(&sql).await.doing(side, "look for sessions of locked accounts")?;
        if left.is_empty() {
            return Ok(());
        }
        for row in left {
            in_the_way::kill(server, row.number(0).unwrap_or_default(), side).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Unlocks what this move has locked, but for those to keep, and nothing else.
///
/// # Errors
/// If the server refuses.
pub(super) async fn unlock(
    server: &mut Connection,
    side: Side,
    keep: &[String],
    move_name: &str,
) -> Result<()> {
    let sql = format!(
        "SELECT User, Host, JSON_LENGTH(User_attributes, _utf8mb4'$.metadata.{MARK}') FROM mysql.user \
         WHERE JSON_CONTAINS_PATH(User_attributes, _utf8mb4'one', _utf8mb4'$.metadata.{MARK}.\"{move_name}\"')"
    );
    let rows = match server.rows(sql).await {
        // Whoever may not look has locked nothing: that takes a look as well.
        Err(error) if matches!(error.server_code(), Some(1142 | 1143)) => return Ok(()),
        rows => rows.doing(side, "look for accounts that we have locked")?,
    };
    for row in rows.iter().filter(|row| !keep.contains(&format!("{}@{}", row.text(0), row.text(1)))) {
        let change = match row.text(2).as_str() {
            "1" => format!("ACCOUNT UNLOCK ATTRIBUTE '{{\"{MARK}\": null}}'"),
            _ => format!("ATTRIBUTE '{}'", mark(move_name, "null")),
        };
        let sql = format!("ALTER USER {} {change}", quoted(row));
        server.execute(sql).await.doing(side, format!("unlock account {}@{}", row.text(0), row.text(1)))?;
    }
    Ok(())
}

/// What is merged into an account's attribute; `null` takes a key out. A move's name needs no quoting: the settings allow letters,
/// digits, `-` and `_`.
fn mark(move_name: &str, value: &str) -> String {
    format!("{{\"{MARK}\": {{\"{move_name}\": {value}}}}}")
}

/// `'user'@'host'`, as statements take it.
fn quoted(row: &Row) -> String {
    let quote = |part: &str| format!("'{}'", part.replace('\\', "\\\\").replace('\'', "''"));
    format!("{}@{}", quote(&row.text(0)), quote(&row.text(1)))
}
