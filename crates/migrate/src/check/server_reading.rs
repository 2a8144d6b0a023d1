//! Reads what there is to know about one server: a dozen small statements, none of which looks at a user table.

use std::collections::{BTreeMap, BTreeSet};

use mysql::{Connection, Error, Row};

use super::accounts;
use super::facts::{
    Channel, Clock, Gtids, LogFilters, OpenTransaction, ServerFacts, Variables, quoted_account,
};
use super::grants::Grants;
use super::probe;
use super::report::Side;
use super::rule::{Fact, Unread};
use super::server::Server;
use super::writers;
use crate::plan::{Accounts, Along, Fence};

/// The global variables the rules look at. SHOW leaves out those a server does not have; a SELECT would fail.
const VARIABLES: &[&str] = &[
    "version",
    "version_comment",
    "server_uuid",
    "server_id",
    "log_bin",
    "log_replica_updates",
    "log_slave_updates",
    "binlog_format",
    "binlog_row_image",
    "binlog_checksum",
    "binlog_order_commits",
    "binlog_expire_logs_seconds",
    "binlog_expire_logs_auto_purge",
    "gtid_mode",
    "enforce_gtid_consistency",
    "sync_binlog",
    "innodb_flush_log_at_trx_commit",
    "innodb_page_size",
    "innodb_native_foreign_keys",
    "log_bin_trust_function_creators",
    "innodb_default_row_format",
    "innodb_lock_wait_timeout",
    "innodb_strict_mode",
    "read_only",
    "super_read_only",
    "persisted_globals_load",
    "time_zone",
    "system_time_zone",
    "sql_mode",
    "character_set_server",
    "collation_server",
    "default_collation_for_utf8mb4",
    "lower_case_table_names",
    "max_connections",
    "max_allowed_packet",
    "local_infile",
    "event_scheduler",
    "transaction_isolation",
    "autocommit",
    "auto_increment_increment",
    "auto_increment_offset",
    "explicit_defaults_for_timestamp",
    "group_concat_max_len",
    "init_connect",
    "wait_timeout",
    "interactive_timeout",
    "datadir",
    "innodb_directories",
    "innodb_data_home_dir",
    "innodb_undo_directory",
    "sql_generate_invisible_primary_key",
];

/// Reads one server.
///
/// # Errors
/// If the connection breaks.
pub(super) async fn read(
    server: &mut Server,
    side: Side,
    along: &Along,
    fence: Fence,
) -> mysql::Result<ServerFacts> {
    let behaviour = probe::read(&mut server.application).await?;
    let conn = &mut server.ours;
    let variables = read_variables(conn).await?;
    let who = ask(conn, "SELECT CURRENT_USER(), CURRENT_ROLE()", "move between MySQL servers").await?;
    let (account, active_roles) = match who.as_deref() {
        Ok([row, ..]) => (row.text(0), row.text(1)),
        _ => Default::default(),
    };
    let us = quoted_account(&account);
    let grants = ask(conn, "SHOW GRANTS", "log in as an account of MySQL 8.0 or later").await?;
    Ok(ServerFacts {
        gtids: read_gtids(conn).await?,
        clock: read_clock(conn).await?,
        grants: grants.map(|rows| Grants::parse(texts(&rows).iter().map(String::as_str))),
        accounts: accounts::read(conn, &us).await?,
        writers: match fence {
            Fence::Server | Fence::Tables => Ok(Vec::new()),
            Fence::Schemas => match writers::read(conn).await {
                Ok(all) => Ok(all),
                Err(error @ Error::Server(_)) => Err(Unread {
                    error: error.to_string(),
                    fix: grant("SELECT", &us).replace("*.*", "mysql.*"),
                }),
                Err(error) => return Err(error),
            },
        },
        login_plugins: match along.accounts {
            Accounts::None => Ok(BTreeSet::new()),
            _ => read_login_plugins(conn).await?,
        },
        log_filters: read_log_filters(conn, &us).await?,
        channels: read_channels(conn, &us).await?,
        replicas: read_replicas(conn, &us).await?,
        xa_prepared: ask(conn, "XA RECOVER", &grant("XA_RECOVER_ADMIN", &us)).await?.map(|rows| rows.len()),
        open_transactions: read_open_transactions(conn, &us).await?,
        connections_max_used: read_connections_max_used(conn).await?,
        behaviour,
        side,
        variables,
        account,
        active_roles,
    })
}

/// Runs a statement; a server's refusal is a fact that could not be read, a broken connection an error.
pub(super) async fn ask(conn: &mut Connection, sql: &str, fix: &str) -> mysql::Result<Fact<Vec<Row>>> {
    match conn.rows(sql).await {
        Ok(rows) => Ok(Ok(rows)),
        Err(error @ Error::Server(_)) => Ok(Err(Unread { error: error.to_string(), fix: fix.to_owned() })),
        Err(error) => Err(error),
    }
}

/// The statement that lets our account read something.
pub(super) fn grant(privilege: &str, account: &str) -> String {
    format!("GRANT {privilege} ON *.* TO {account};")
}

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.text(0)).collect()
}

fn first<'a>(rows: &'a [Row], statement: &str) -> Result<&'a Row, Unread> {
    let error =
        || Unread { error: format!("no answer to {statement}"), fix: "see the server's error log".into() };
    rows.first().ok_or_else(error)
}

async fn read_variables(conn: &mut Connection) -> mysql::Result<Variables> {
    let names: Vec<String> = VARIABLES.iter().map(|v| format!("'{v}'")).collect();
    let rows =
        conn.rows(format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(","))).await?;
    let all: BTreeMap<String, String> = rows.iter().map(|row| (row.text(0), row.text(1))).collect();
    Ok(Variables(all))
}

/// The server makes a temporary table to list them.
async fn read_login_plugins(conn: &mut Connection) -> mysql::Result<Fact<BTreeSet<String>>> {
    let rows = ask(conn, "SHOW PLUGINS", "see the server's error log").await?;
    let active = |row: &&Row| row.text(1) == "ACTIVE" && row.text(2) == "AUTHENTICATION";
    Ok(rows.map(|rows| rows.iter().filter(active).map(|row| row.text(0)).collect()))
}

async fn read_gtids(conn: &mut Connection) -> mysql::Result<Fact<Gtids>> {
    // Not from SHOW VARIABLES, which cuts long values.
    let sql = "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged";
    let rows = ask(conn, sql, "move between MySQL servers").await?;
    Ok(rows.and_then(|rows| {
        let row = first(&rows, sql)?;
        let plain = |column| row.text(column).replace('\n', "");
        Ok(Gtids { executed: plain(0), purged: plain(1) })
    }))
}

async fn read_clock(conn: &mut Connection) -> mysql::Result<Fact<Clock>> {
    // Through CONVERT_TZ, because our own session has another zone than the application's; SYSTEM needs no zone tables.
    let offset =
        |utc: &str| format!("TIMESTAMPDIFF(SECOND, {utc}, CONVERT_TZ({utc}, '+00:00', @@GLOBAL.time_zone))");
    let sql = format!(
        "SELECT {}, CONVERT_TZ('2026-01-01', 'UTC', 'America/Los_Angeles') IS NOT NULL FROM (SELECT UTC_TIMESTAMP() AS \
         now, YEAR(UTC_TIMESTAMP()) AS y) AS t",
        ["now", "CONCAT(y, '-01-15 12:00:00')", "CONCAT(y, '-07-15 12:00:00')"].map(offset).join(", ")
    );
    let rows = ask(conn, &sql, "SET PERSIST time_zone = '+00:00';").await?;
    Ok(rows.and_then(|rows| {
        let row = first(&rows, "CONVERT_TZ")?;
        let seconds = |column| {
            row.number::<i64>(column).ok_or_else(|| Unread {
                error: "the server cannot convert to its own time zone".into(),
                fix: "mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql".into(),
            })
        };
        let (now, january, july) = (seconds(0)?, seconds(1)?, seconds(2)?);
        Ok(Clock { now, january, july, names_loaded: row.text(3) == "1" })
    }))
}

async fn read_log_filters(conn: &mut Connection, us: &str) -> mysql::Result<Fact<LogFilters>> {
    let fix = grant("REPLICATION CLIENT", us);
    let mut rows = ask(conn, "SHOW BINARY LOG STATUS", &fix).await?;
    // Servers before 8.2 know the statement by its old name only.
    if rows.as_ref().is_err_and(|e| e.error.contains("1064")) {
        rows = ask(conn, "SHOW MASTER STATUS", &fix).await?;
    }
    // No row: the log is off, which another rule refuses.
    Ok(rows.map(|rows| {
        rows.first().map(|r| LogFilters { only: r.text(2), ignored: r.text(3) }).unwrap_or_default()
    }))
}

async fn read_channels(conn: &mut Connection, us: &str) -> mysql::Result<Fact<Vec<Channel>>> {
    let fix = grant("REPLICATION CLIENT", us);
    // Columns 1, 3 and 11: Source_Host, Source_Port and Replica_SQL_Running, the same since 8.0.22.
    let rows = ask(conn, "SHOW REPLICA STATUS", &fix).await?;
    Ok(rows.map(|rows| {
        let channel = |row: &Row| Channel {
            from: format!("{}:{}", row.text(1), row.text(3)),
            applying: row.text(11) == "Yes",
        };
        rows.iter().map(channel).collect()
    }))
}

async fn read_replicas(conn: &mut Connection, us: &str) -> mysql::Result<Fact<Vec<String>>> {
    // Columns 1 and 2: Host and Port. Followers that do not register themselves, ours among them, are not listed.
    let rows = ask(conn, "SHOW REPLICAS", &grant("REPLICATION SLAVE", us)).await?;
    Ok(rows.map(|rows| rows.iter().map(|row| format!("{}:{}", row.text(1), row.text(2))).collect()))
}

async fn read_open_transactions(
    conn: &mut Connection,
    us: &str,
) -> mysql::Result<Fact<Vec<OpenTransaction>>> {
    // trx_started is in the machine's zone, whatever the session's.
    let sql = "SELECT trx_mysql_thread_id, \
               TIMESTAMPDIFF(SECOND, CONVERT_TZ(trx_started, 'SYSTEM', '+00:00'), UTC_TIMESTAMP()) \
               FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id <> CONNECTION_ID()";
    let rows = ask(conn, sql, &grant("PROCESS", us)).await?;
    Ok(rows.map(|rows| {
        let open = |row: &Row| OpenTransaction {
            connection: row.number(0).unwrap_or(0),
            open_s: row.number(1).unwrap_or(0),
        };
        rows.iter().map(open).collect()
    }))
}

async fn read_connections_max_used(conn: &mut Connection) -> mysql::Result<Fact<u64>> {
    let sql = "SHOW GLOBAL STATUS LIKE 'Max_used_connections'";
    let rows = ask(conn, sql, "move between MySQL servers").await?;
    Ok(rows.and_then(|rows| Ok(first(&rows, sql)?.number(1).unwrap_or(0))))
}
