//! Guardrails that only the servers can tell of. What cannot be read is said, and stops nobody: the phases themselves look
//! again at what they depend on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Table;
use mysql::{ConnectOptions, Connection};

use super::Guardrail;
use crate::definition::in_names_of_target;
use crate::error::{Doing, Result, Side};
use crate::plan::{Fence, MoveSpec};
use crate::schema::{foreign_keys, quote_text};
use crate::session;
use crate::throttle;

/// What one server may take to answer one of these.
const PATIENCE: Duration = Duration::from_secs(5);

/// What counting rows that break a foreign key may take, of all keys together.
const COUNTING: Duration = Duration::from_secs(3);

/// How far the servers' clocks may be apart: what is more is seen by whoever compares NOW() with a row's time.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(500);

/// Names shown of a list.
const SHOWN: usize = 6;

/// What is looked at.
pub(in crate::cutover) struct Look<'a> {
    pub source: &'a ConnectOptions,
    pub target: &'a ConnectOptions,
    /// Replicas of the target, as far as the settings name them.
    pub replicas: &'a [ConnectOptions],
    pub spec: &'a MoveSpec,
    pub tables: Arc<Vec<Table>>,
    pub drain_deadline: Duration,
    pub lag_max: Duration,
    /// The kind of fence.
    pub fence: Fence,
}

impl Look<'_> {
    /// Asks both servers.
    pub async fn ask(&self) -> Vec<Guardrail> {
        let (transactions, clocks, fence, writers, replicated, replicas, tables, definers, keys) = tokio::join!(
            told("open transactions", self.open_transactions()),
            told("clocks", self.clocks()),
            told("read_only", async {
                match self.fence {
                    Fence::Server => self.read_only().await,
                    Fence::Schemas => self.schemas_open().await,
                    Fence::Tables => self.tables_open().await,
                }
            }),
            self.direct_writers(),
            told("replication", self.replication()),
            self.replicas(),
            told("tables", self.definitions()),
            told("definers", self.definers()),
            told("foreign keys", self.foreign_keys()),
        );
        let mut all = vec![fence, tables, transactions, replicated];
        all.extend(writers);
        all.extend(replicas);
        all.extend([clocks, definers, keys]);
        all
    }

    /// Who has a transaction open on the source, with the form of the last statement, in which there are no values.
    async fn open_transactions(&self) -> Result<Guardrail> {
        let mut source = session::open(self.source, Side::Source).await?;
        let open = open_now(self.source, &mut source).await?;
        let oldest = open.iter().map(|o| o.for_ms).fold(0.0, f64::max);
        let named = open.iter().map(|o| {
            let statement = match (o.statement.is_empty(), o.running) {
                (true, _) => String::new(),
                (false, true) => format!(", running {}", o.statement),
                (false, false) => format!(", idle after {}", o.statement),
            };
            format!(
                "connection {} of '{}'@'{}' for {:.1} s{statement}",
                o.connection,
                o.user,
                o.host,
                o.for_ms / 1000.0
            )
        });
        let seen = if open.is_empty() { "none".to_owned() } else { listed(named) };
        let limit = self.drain_deadline;
        Ok(Guardrail::new(
            "open transactions",
            oldest <= limit.as_secs_f64() * 1000.0,
            seen,
            "end them, or wait: one through the front door makes the drain give up, another one is ended at the fence if it has \
             changed rows",
        )
        .limit(format!("none for longer than {} s", limit.as_secs_f64()))
        .why("a drain waits for open transactions, and clients wait for the drain")
        .only_warns())
    }

    /// How far the clocks are apart, as seen from here: half of what the answers took is not known.
    async fn clocks(&self) -> Result<Guardrail> {
        let mut source = session::open(self.source, Side::Source).await?;
        let mut target = session::open(self.target, Side::Target).await?;
        let (here, asked_here) = clock(&mut source, Side::Source).await?;
        let (there, asked_there) = clock(&mut target, Side::Target).await?;
        let between = (asked_there.0 - asked_here.0).as_secs_f64();
        let apart = (there - here) - between;
        let unsure = (asked_here.1 + asked_there.1).as_secs_f64();
        let seen = match apart {
            apart if apart.abs() <= unsure => format!("apart by less than {:.0} ms", unsure * 1000.0 + 1.0),
            apart if apart > 0.0 => format!("the target's is {:.0} ms ahead", apart * 1000.0),
            apart => format!("the target's is {:.0} ms behind", -apart * 1000.0),
        };
        Ok(Guardrail::new(
            "clocks",
            apart.abs() <= CLOCKS_APART_MAX.as_secs_f64() + unsure,
            seen,
            "let both servers follow the same time servers (chrony, ntpd)",
        )
        .limit(format!("{} ms apart", CLOCKS_APART_MAX.as_millis()))
        .why("NOW() and CURRENT_TIMESTAMP jump by the difference at the switch")
        .only_warns())
    }

    async fn read_only(&self) -> Result<Guardrail> {
        let mut source = session::open(self.source, Side::Source).await?;
        let mut target = session::open(self.target, Side::Target).await?;
        let sql = "SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only";
        let here = source.row(sql).await.doing(Side::Source, "look at the fence")?;
        let there = target.row(sql).await.doing(Side::Target, "look at the fence")?;
        let is = |row: &Option<mysql::Row>| row.as_ref().is_some_and(|row| row.text(0) == "1");
        let on = |yes| if yes { "on" } else { "off" };
        Ok(Guardrail::new(
            "read_only",
            !is(&here) && is(&there),
            format!("{} on the source, {} on the target", on(is(&here)), on(is(&there))),
            "SET PERSIST read_only = ON on the target and OFF on the source, after finding out who changed it",
        )
        .limit("off on the source, on on the target")
        .why("only one side takes the application's writes"))
    }

    async fn replication(&self) -> Result<Guardrail> {
        let mut target = session::open(self.target, Side::Target).await?;
        let sql = "SELECT c.CHANNEL_NAME, c.HOST, c.PORT, s.SERVICE_STATE, a.SERVICE_STATE \
                   FROM performance_schema.replication_connection_configuration c \
                   JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME) \
                   JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME) \
                   WHERE c.CHANNEL_NAME NOT LIKE 'group\\_replication\\_%'";
        let rows = target.rows(sql).await.doing(Side::Target, "look for replication")?;
        let runs = |row: &&mysql::Row| row.text(3) != "OFF" || row.text(4) != "OFF";
        let named = rows.iter().map(|row| {
            let state = if runs(&row) { "running" } else { "stopped" };
            format!("channel '{}' from {}:{}, {state}", row.text(0), row.text(1), row.text(2))
        });
        let seen = if rows.is_empty() { "none".to_owned() } else { listed(named) };
        Ok(Guardrail::new(
            "replication",
            !rows.iter().any(|row| runs(&row)),
            seen,
            "STOP REPLICA; RESET REPLICA ALL",
        )
        .limit("the target follows nobody but us")
        .why("what replicates to the target writes there, and makes it another one than was proven"))
    }

    /// Each replica of the target, asked itself.
    async fn replicas(&self) -> Vec<Guardrail> {
        let mut all = Vec::new();
        for replica in self.replicas {
            let behind = tokio::time::timeout(PATIENCE, throttle::replica_lag(replica)).await;
            let (holds, seen) = match behind {
                Ok(Ok(Some(lag))) => {
                    (lag <= self.lag_max.max(Duration::from_secs(1)), format!("{} s behind", lag.as_secs()))
                }
                Ok(Ok(None)) => (false, "does not replicate".to_owned()),
                Ok(Err(error)) => (false, error.to_string()),
                Err(_) => (false, format!("no answer within {PATIENCE:?}")),
            };
            all.push(
                Guardrail::new(
                    "replica",
                    holds,
                    format!("{}: {seen}", replica.address()),
                    "wait until it has caught up, or mend it; readers that go there will see old rows",
                )
                .limit("up to date")
                .why("readers of the new side follow its replicas")
                .only_warns(),
            );
        }
        all
    }

    /// Whether the tables are defined alike. Between versions the same definition may be shown otherwise.
    async fn definitions(&self) -> Result<Guardrail> {
        let mut source = session::open(self.source, Side::Source).await?;
        let mut target = session::open(self.target, Side::Target).await?;
        let why = "statements of the application mean on the target what they meant on the source only with the same tables";
        if source.server_version() != target.server_version() {
            let seen = format!("not compared: {} and {}", source.server_version(), target.server_version());
            return Ok(Guardrail::new("tables", true, seen, "").limit("defined alike").why(why));
        }
        let mut different = Vec::new();
        for table in self.tables.iter() {
            let renames = &self.spec.renames;
            let (here, there) = tokio::join!(
                in_names_of_target(&mut source, Side::Source, table, renames),
                in_names_of_target(&mut target, Side::Target, table, renames)
            );
            if here? != there? {
                different.push(table.name.to_string());
            }
        }
        let seen = match different.is_empty() {
            true => format!("{} defined alike", self.tables.len()),
            false => format!("not alike: {}", listed(different.iter())),
        };
        let hint = "if a statement has just changed them, wait; else compare SHOW CREATE TABLE on both sides, and alter the target's";
        Ok(Guardrail::new("tables", different.is_empty(), seen, hint).limit("defined alike").why(why))
    }

    async fn definers(&self) -> Result<Guardrail> {
        let mut source = session::open(self.source, Side::Source).await?;
        let mut target = session::open(self.target, Side::Target).await?;
        let mut schemas: Vec<String> =
            self.tables.iter().map(|t| quote_text(t.on(Side::Source).schema)).collect();
        schemas.extend(self.spec.on(Side::Source).whole_schemas().into_iter().map(quote_text));
        schemas.sort_unstable();
        schemas.dedup();
        let of = |from: &str, schema: &str| {
            format!("SELECT DEFINER FROM information_schema.{from} WHERE {schema} IN ({})", schemas.join(","))
        };
        let used = [
            of("TRIGGERS", "TRIGGER_SCHEMA"),
            of("EVENTS", "EVENT_SCHEMA"),
            of("VIEWS", "TABLE_SCHEMA"),
            of("ROUTINES", "ROUTINE_SCHEMA"),
        ];
        let used = source.rows(used.join(" UNION ")).await.doing(Side::Source, "read definers")?;
        let known = "SELECT CONCAT(User, '@', Host) FROM mysql.user";
        let known = target.rows(known).await.doing(Side::Target, "read accounts")?;
        let missing: Vec<String> = used
            .iter()
            .map(|row| row.text(0))
            .filter(|definer| !known.iter().any(|account| account.text(0) == *definer))
            .collect();
        let seen = match (used.len(), missing.is_empty()) {
            (0, _) => "none in use".to_owned(),
            (n, true) => format!("{n} in use, all on the target"),
            _ => format!("not on the target: {}", listed(missing.iter().map(|m| plain(m)))),
        };
        Ok(Guardrail::new(
            "definers",
            missing.is_empty(),
            seen,
            "create these accounts there, with their grants",
        )
        .limit("all on the target")
        .why("a view, routine, trigger or event runs with the rights of its definer")
        .only_warns())
    }

    /// Our sessions check no foreign key; this counts what breaks one, within a bound.
    async fn foreign_keys(&self) -> Result<Guardrail> {
        let mut target = session::open(self.target, Side::Target).await?;
        let bound = format!("SET SESSION max_execution_time = {}", COUNTING.as_millis());
        target.execute(bound).await.doing(Side::Target, "bound its statements")?;
        let keys = foreign_keys::read(&mut target, Side::Target, &self.tables).await?;
        let counted = match keys.is_empty() {
            true => Some(Ok(Vec::new())),
            false => {
                let counting = foreign_keys::broken(&mut target, Side::Target, &self.tables);
                tokio::time::timeout(COUNTING, counting).await.ok()
            }
        };
        // 3024: the server's own bound.
        let too_long = |e: &crate::MoveError| matches!(e, crate::MoveError::Server { error, .. } if error.server_code() == Some(3024));
        let (holds, seen) = match counted {
            None => (true, format!("{} there; not counted within {COUNTING:?}", keys.len())),
            Some(Err(error)) if too_long(&error) => {
                (true, format!("{} there; not counted within {COUNTING:?}", keys.len()))
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(broken)) if broken.is_empty() => (true, format!("{} there, all hold", keys.len())),
            Some(Ok(broken)) => {
                let named = broken
                    .iter()
                    .map(|b| format!("{} rows of {} break '{}'", b.orphans, b.key.child, plain(&b.key.name)));
                (false, listed(named))
            }
        };
        Ok(Guardrail::new(
            "foreign keys",
            holds,
            seen,
            "the source has these rows too if it is proven equal: someone wrote them with foreign_key_checks off. Remove or mend them \
             there",
        )
        .limit("no row breaks one")
        .why("rows were applied without foreign key checks")
        .only_warns())
    }
}

/// A transaction that is open, or a statement that runs, on the source.
pub(in crate::cutover) struct Open {
    pub connection: u32,
    pub user: String,
    pub host: String,
    /// Milliseconds for which it has been open.
    pub for_ms: f64,
    /// Whether a statement runs.
    pub running: bool,
    /// The form of the last statement, without values.
    pub statement: String,
}

/// The transactions of others, the oldest first.
///
/// From the performance schema rather than from INNODB_TRX: that one answers from a copy, which is renewed only if nobody has
/// asked for 100 ms, and the fence must not get ours.
pub(in crate::cutover) async fn open_now(
    options: &ConnectOptions,
    source: &mut Connection,
) -> Result<Vec<Open>> {
    let doing = "look for open transactions";
    let sql = "SELECT (SELECT COUNT(*) FROM performance_schema.setup_consumers WHERE ENABLED = 'YES' AND NAME IN \
               ('global_instrumentation', 'thread_instrumentation', 'events_transactions_current')), \
               (SELECT COUNT(*) FROM performance_schema.setup_instruments WHERE ENABLED = 'YES' AND NAME = 'transaction')";
    let row = source.row(sql).await.doing(Side::Source, doing)?;
    if row.is_none_or(|row| row.text(0) != "3" || row.text(1) != "1") {
        return Err(crate::MoveError::Refused {
            what: "the performance schema of the source does not follow transactions".into(),
            hint: "enable its instrument `transaction` and its consumer `events_transactions_current`".into(),
        });
    }
    let sql = "SELECT h.PROCESSLIST_ID, IFNULL(h.PROCESSLIST_USER, ''), IFNULL(h.PROCESSLIST_HOST, ''), t.TIMER_WAIT / 1e9, \
               s.EVENT_ID IS NOT NULL AND s.END_EVENT_ID IS NULL, IFNULL(LEFT(s.DIGEST_TEXT, 80), '') \
               FROM performance_schema.events_transactions_current t \
               JOIN performance_schema.threads h USING (THREAD_ID) \
               LEFT JOIN performance_schema.events_statements_current s \
                 ON s.THREAD_ID = t.THREAD_ID AND s.NESTING_EVENT_LEVEL = 0 \
               WHERE t.STATE = 'ACTIVE' AND h.TYPE = 'FOREGROUND' AND h.PROCESSLIST_ID IS NOT NULL \
               ORDER BY t.TIMER_WAIT DESC";
    let rows = source.rows(sql).await.doing(Side::Source, doing)?;
    let open = rows.iter().map(|row| Open {
        connection: row.number(0).unwrap_or(0),
        user: plain(&row.text(1)),
        host: plain(&row.text(2)),
        for_ms: row.number(3).unwrap_or(0.0),
        running: row.text(4) == "1",
        statement: plain(&row.text(5)),
    });
    Ok(open.filter(|o| !session::is_ours(options, o.connection)).collect())
}

/// Seconds since 1970 by the server's clock, when it was asked, and half of how long that took.
async fn clock(server: &mut Connection, side: Side) -> Result<(f64, (Instant, Duration))> {
    let begun = Instant::now();
    let row = server.row("SELECT UNIX_TIMESTAMP(SYSDATE(6))").await.doing(side, "read its clock")?;
    let half = begun.elapsed() / 2;
    Ok((row.and_then(|row| row.number(0)).unwrap_or(0.0), (begun + half, half)))
}

/// The guardrail, or that it could not be looked at.
pub(super) async fn told(name: &str, look: impl Future<Output = Result<Guardrail>>) -> Guardrail {
    let unknown = |why: String| {
        Guardrail::new(name, false, format!("cannot be told: {why}"), "see why, and look again").only_warns()
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => unknown(error.to_string()),
        Err(_) => unknown(format!("no answer within {PATIENCE:?}")),
    }
}

pub(super) fn listed(items: impl ExactSizeIterator<Item = impl ToString>) -> String {
    let more = items.len().saturating_sub(SHOWN);
    let mut text = items.take(SHOWN).map(|item| item.to_string()).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// What a terminal can be shown.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
