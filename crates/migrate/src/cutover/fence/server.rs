//! The fence around a whole server: `read_only` and `super_read_only`, persisted, so that a server that restarts is still fenced.
//! This is the only file that sets them.

use model::GtidSet;
use mysql::Connection;

use crate::cutover::Phase;
use crate::cutover::in_the_way::{self, InTheWay};
use crate::error::{Doing, MoveError, Result, Side};

/// The statement that raises it on the serving side.
pub(super) const RAISING: &str = "SET PERSIST super_read_only = ON";

/// Lets a server take the application's writes. Leaves no persisted setting behind, if its disk has room: see [`stay_open`].
pub(super) async fn open_for_writes(server: &mut Connection, side: Side) -> Result<()> {
    let sql = "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF; \
               RESET PERSIST IF EXISTS super_read_only; RESET PERSIST IF EXISTS read_only";
    server.query_all(sql).await.doing(side, "open it for writes")?;
    Ok(())
}

/// Sees to it that a server that is open is so after a restart too.
///
/// Seen of 9.7.4: where the disk is full, RESET PERSIST answers that it is done, the server forgets the setting, and
/// `mysqld-auto.cnf` keeps it: the next start would be read-only, and no later RESET PERSIST removes what the server does not know
/// of. SET PERSIST says that there is no room (3549). So it goes first.
///
/// # Errors
/// If the server refuses; [`MoveError::can_resume`] says whether it may have room later.
pub(super) async fn stay_open(server: &mut Connection, side: Side) -> Result<()> {
    let sql = "SET PERSIST super_read_only = OFF, PERSIST read_only = OFF; \
               RESET PERSIST IF EXISTS super_read_only; RESET PERSIST IF EXISTS read_only";
    server.query_all(sql).await.doing(side, "keep it open for writes when it restarts")?;
    Ok(())
}

/// Keeps the application out, and lets us in: the state of the side that follows.
pub(super) async fn follow_only(server: &mut Connection, side: Side) -> Result<()> {
    let sql = "SET PERSIST read_only = ON; SET PERSIST super_read_only = OFF";
    server.query_all(sql).await.doing(side, "make it read-only for applications")?;
    Ok(())
}

/// Whether it is up, for everybody.
pub(super) async fn is_closed(server: &mut Connection, side: Side) -> Result<bool> {
    let row = server.row("SELECT @@GLOBAL.super_read_only").await.doing(side, "look at the fence")?;
    Ok(row.is_some_and(|row| row.text(0) == "1"))
}

/// Ends transactions that were open when the fence went up, and says whose they were. They could not commit any more;
/// ending them frees their locks and tells their owners at once.
pub(super) async fn end_strays(server: &mut Connection) -> Result<Vec<InTheWay>> {
    let sql = format!(
        "SELECT t.trx_mysql_thread_id FROM information_schema.INNODB_TRX t \
         WHERE t.trx_rows_modified > 0 AND t.trx_mysql_thread_id NOT IN (0, {})",
        server.id()
    );
    let rows = server.rows(sql).await.doing(Side::Source, "look for open transactions")?;
    let ids: Vec<u64> = rows.iter().filter_map(|row| row.number(0)).collect();
    let named = in_the_way::named(server, Phase::Fence, &ids).await?;
    for id in ids {
        in_the_way::kill(server, id, Side::Source).await?;
    }
    let row = server.row("SELECT @@GLOBAL.super_read_only").await.doing(Side::Source, "look at the fence")?;
    match row.map(|r| r.text(0)).as_deref() {
        Some("1") => Ok(named),
        _ => Err(MoveError::Refused {
            what: "the source says it is not read-only although the fence was raised".into(),
            hint: "someone lowers it: find out who sets super_read_only".into(),
        }),
    }
}

/// Sees that it is still up, and that nothing was written since this position.
pub(super) async fn still_up(server: &mut Connection, since: &GtidSet) -> Result<()> {
    let sql = format!("SELECT @@GLOBAL.super_read_only, GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{since}')");
    let row = server.row(sql).await.doing(Side::Source, "look at the fence")?;
    let (fenced, since) = row.map(|row| (row.text(0), row.text(1))).unwrap_or_default();
    let what = match (fenced.as_str(), since.as_str()) {
        ("1", "") => return Ok(()),
        (_, "") => "the source is not read-only any more: somebody has lowered the fence".to_owned(),
        (_, since) => format!("the source has executed {since} since it was fenced, which nobody has proven"),
    };
    Err(MoveError::Refused { what, hint: "find out who sets super_read_only there, then try again".into() })
}
