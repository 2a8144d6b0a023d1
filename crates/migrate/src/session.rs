//! The settings every connection of ours has, on both sides, so that no value depends on a server's defaults; and which
//! connections those are, so that a statement of ours in a server's log is not taken for a stranger's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mysql::{ConnectOptions, Connection};

use crate::error::{Doing, Result, Side};

/// `time_zone`: TIMESTAMP values travel as UTC, whatever zone the servers live in (a mismatch of exactly this kind
/// shifts them otherwise). `sql_mode`: refuse what does not fit, but take zero and invalid dates and a 0 in an
/// AUTO_INCREMENT column as they are.  `range_optimizer_max_mem_size`: thousands of keys in one statement are looked up,
/// however much memory planning that takes; past its limit the server would scan the table. `foreign_key_checks`: rows arrive in the stream's order, not the constraints'.
/// `group_concat_max_len`: the types of a JSON document's values, a letter each. `show_gipk_...`: a primary key that the
/// server generated is in the binary log, so it must be in the metadata; older servers generate none.
/// `@highwater_session`: by this the triggers of a fence around tables let us through, and nobody else.
const SETTINGS: &str = "SET SESSION time_zone='+00:00', \
    sql_mode='STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', \
    character_set_client=binary, character_set_connection=binary, character_set_results=NULL, \
    foreign_key_checks=0, range_optimizer_max_mem_size=0, max_execution_time=0, wait_timeout=28800, net_read_timeout=600, net_write_timeout=600, \
    group_concat_max_len=1073741824, information_schema_stats_expiry=0, transaction_isolation='READ-COMMITTED', \
    @highwater_session=1 \
    /*!80030 , show_gipk_in_create_table_and_information_schema=ON */";

/// What our connections say of themselves, encoded: a process that comes after us knows by it which are an earlier one's.
const ATTRIBUTES: &[u8] = b"\x0cprogram_name\x09highwater";
/// Connections remembered of one server.
const OPENED_KEPT: usize = 1 << 16;

/// By server address, the numbers that servers gave our connections. A fact of the process, whoever opened them.
static OPENED: Mutex<BTreeMap<String, BTreeSet<u32>>> = Mutex::new(BTreeMap::new());

fn opened() -> MutexGuard<'static, BTreeMap<String, BTreeSet<u32>>> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(options: &ConnectOptions, id: u32) {
    let mut opened = opened();
    let ids = opened.entry(options.address()).or_default();
    ids.insert(id);
    if ids.len() > OPENED_KEPT {
        ids.pop_first();
    }
}

/// Whether a connection of a server is, or was, one of ours.
pub fn is_ours(options: &ConnectOptions, id: u32) -> bool {
    opened().get(&options.address()).is_some_and(|ids| ids.contains(&id))
}

/// Takes the connections that an earlier process has left behind for ours: a server goes on with a statement whose client
/// was killed. A server that does not tell of them stops nobody: such a statement is then taken for a stranger's.
pub async fn adopt(connection: &mut Connection, options: &ConnectOptions) {
    let sql = "SELECT PROCESSLIST_ID FROM performance_schema.session_account_connect_attrs \
               WHERE ATTR_NAME = 'program_name' AND ATTR_VALUE = 'highwater'";
    match connection.rows(sql).await {
        Ok(left) => {
            left.iter().filter_map(|row| row.text(0).parse().ok()).for_each(|id| remember(options, id))
        }
        Err(error) => {
            tracing::info!(target: "highwater::watch", %error, "an earlier process's connections are not known")
        }
    }
}

/// Opens a connection with these settings.
///
/// # Errors
/// If the server cannot be reached, refuses the account, or refuses a setting.
pub async fn open(options: &ConnectOptions, side: Side) -> Result<Connection> {
    open_as(options, side, ATTRIBUTES).await
}

/// Opens a connection that says of itself that it raises and lowers fences; its role has fewer than 251 bytes.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_fence(options: &ConnectOptions, side: Side, role: &str) -> Result<Connection> {
    // A length of more bytes would be written otherwise.
    assert!(role.len() < 251, "a role's length takes one byte");
    let role = [&[role.len() as u8], role.as_bytes()].concat();
    open_as(options, side, &[ATTRIBUTES, b"\x0ehighwater_role", &role].concat()).await
}

async fn open_as(options: &ConnectOptions, side: Side, attributes: &[u8]) -> Result<Connection> {
    let named = ConnectOptions { attributes: attributes.to_vec(), ..options.clone() };
    let mut connection = Connection::connect(&named).await.doing(side, "open a connection")?;
    remember(options, connection.id());
    connection.execute(SETTINGS).await.doing(side, "set up the session")?;
    Ok(connection)
}
