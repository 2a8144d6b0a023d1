//! The settings every connection of ours has, on both sides, so that no value depends on a server's defaults.

use mysql::{ConnectOptions, Connection};

use crate::error::{Doing, Result, Side};

/// `time_zone`: TIMESTAMP values travel as UTC, whatever zone the servers live in (a mismatch of exactly this kind
/// shifts them otherwise). `sql_mode`: refuse what does not fit, but take zero and invalid dates and a 0 in an
/// AUTO_INCREMENT column as they are.  `range_optimizer_max_mem_size`: thousands of keys in one statement are looked up,
/// however much memory planning that takes; past its limit the server would scan the table. `foreign_key_checks`: rows arrive in the stream's order, not the constraints'.
/// `group_concat_max_len`: the types of a JSON document's values, a letter each. `show_gipk_...`: a primary key that the
/// server generated is in the binary log, so it must be in the metadata; older servers generate none.
const SETTINGS: &str = "SET SESSION time_zone='+00:00', \
    sql_mode='STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', \
    character_set_client=binary, character_set_connection=binary, character_set_results=NULL, \
    foreign_key_checks=0, range_optimizer_max_mem_size=0, max_execution_time=0, wait_timeout=28800, net_read_timeout=600, net_write_timeout=600, \
    group_concat_max_len=1073741824, information_schema_stats_expiry=0, transaction_isolation='READ-COMMITTED' \
    /*!80030 , show_gipk_in_create_table_and_information_schema=ON */";

/// Opens a connection with these settings.
///
/// # Errors
/// If the server cannot be reached, refuses the account, or refuses a setting.
pub async fn open(options: &ConnectOptions, side: Side) -> Result<Connection> {
    let mut connection = Connection::connect(options).await.doing(side, "open a connection")?;
    connection.execute(SETTINGS).await.doing(side, "set up the session")?;
    Ok(connection)
}
