//! A seed that exists already: the target was restored from a physical backup of the source, and is followed from there.
//!
//! What can be known is checked before anything is written: that the set is one the source passed through, that its
//! logs go on from there, that the target has executed just that much of the source's history, and that every table is
//! there and defined as on the source. That the rows are the source's as of that set is the backup's promise; `verify`
//! finds out whether it was kept, and no cutover begins without it.

use model::{GtidSet, Table};
use mysql::Connection;

use crate::ddl::renamed;
use crate::error::{Doing, MoveError, Result, Side};
use crate::ledger::{self, LedgerName};
use crate::mover::{gtid_executed, variable};
use crate::plan::Renames;

/// Takes the target's tables over as of `set`: the ledger begins there, and every table counts as copied.
///
/// Both connections are left with another character set than our others have; they should be closed.
///
/// # Errors
/// If something of the above does not hold, or a server refuses.
pub(crate) async fn adopt(
    (source, target): (&mut Connection, &mut Connection),
    (tables, renames): (&[Table], &Renames),
    name: &LedgerName,
    set: &GtidSet,
) -> Result<()> {
    refuse_other_history(source, set).await?;
    refuse_other_point(source, target, set).await?;
    refuse_other_shape(source, target, tables, renames).await?;
    ledger::adopt(target, name, set, tables).await
}

async fn refuse_other_history(source: &mut Connection, set: &GtidSet) -> Result<()> {
    let executed = gtid_executed(source, Side::Source).await?;
    if set.is_empty() || !executed.contains(set) {
        return Err(MoveError::Refused {
            what: format!("the backup's GTID set {set} is not part of what the source has executed"),
            hint: "give the set the backup was taken at: gtid_executed of the restored server before anything else \
                   wrote there, or xtrabackup_binlog_info"
                .into(),
        });
    }
    let purged = variable(source, Side::Source, "@@GLOBAL.gtid_purged").await?;
    if !set.contains(&ledger::parse_set(&purged)?) {
        return Err(MoveError::Refused {
            what: format!("the source has removed binary logs that the backup needs: it has purged {purged}"),
            hint: "take a newer backup, and keep the logs until it is followed (binlog_expire_logs_seconds)"
                .into(),
        });
    }
    Ok(())
}

/// A physical backup brings `gtid_executed` along. One that lacks part of the set would lose rows in silence.
async fn refuse_other_point(source: &mut Connection, target: &mut Connection, set: &GtidSet) -> Result<()> {
    let of_source = variable(source, Side::Source, "@@GLOBAL.gtid_executed").await?;
    let sql = format!(
        "SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{of_source}'))"
    );
    let row = target.row(sql).await.doing(Side::Target, "see what it has executed")?;
    let common = ledger::parse_set(&row.map(|r| r.text(0)).unwrap_or_default())?;
    // None of it: a backup that leaves GTIDs out, such as a restored dump. Then the set is the operator's word.
    if common.is_empty() || common == *set {
        return Ok(());
    }
    Err(MoveError::Refused {
        what: format!("the target has executed {common} of the source's transactions, and not {set}"),
        hint:
            "give that set; if the target still replicates, stop that first (STOP REPLICA; RESET REPLICA ALL)"
                .into(),
    })
}

async fn refuse_other_shape(
    source: &mut Connection,
    target: &mut Connection,
    tables: &[Table],
    renames: &Renames,
) -> Result<()> {
    // Comments, defaults and labels are text: they are compared as text.
    source.execute("SET NAMES utf8mb4").await.doing(Side::Source, "set the character set")?;
    target.execute("SET NAMES utf8mb4").await.doing(Side::Target, "set the character set")?;
    for table in tables {
        let show = |side| format!("SHOW CREATE TABLE {}", table.on(side).quoted());
        let here =
            source.row(show(Side::Source)).await.doing(Side::Source, format!("show {}", table.name))?;
        let there = match target.row(show(Side::Target)).await {
            Err(error) if error.is_unknown_table() => None,
            other => other.doing(Side::Target, format!("show {}", table.name))?,
        };
        let definition = |text: &[u8]| without_counter(&String::from_utf8_lossy(text));
        let there = there.map(|row| definition(row.bytes(1).unwrap_or_default()));
        let here = match here.as_ref().and_then(|row| row.bytes(1)) {
            Some(here) => renamed::table(here, renames).ok().map(|here| definition(&here)),
            None => None,
        };
        let problem = match (&here, &there) {
            (Some(here), Some(there)) if here == there => continue,
            (_, None) => "is not there",
            _ => "is defined differently there",
        };
        return Err(MoveError::Refused {
            what: format!("the target is no copy of the source: table {} {problem}", table.name),
            hint: "compare SHOW CREATE TABLE on both; a change of the source since the backup means a new backup".into(),
        });
    }
    Ok(())
}

/// A table's definition without its AUTO_INCREMENT counter, which goes on while the backup does not.
fn without_counter(definition: &str) -> String {
    let (table, options) = definition.rsplit_once("\n)").unwrap_or(("", definition));
    let kept: Vec<&str> = options.split(' ').filter(|word| !word.starts_with("AUTO_INCREMENT=")).collect();
    format!("{table}\n){}", kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_that_differ_in_their_counter_only_are_the_same() {
        let with = |options: &str| {
            without_counter(&format!(
                "CREATE TABLE `t` (\n  `id` int COMMENT 'AUTO_INCREMENT=3 \\n)'\n) {options}"
            ))
        };
        assert_eq!(
            with("ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4"),
            with("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")
        );
        assert_ne!(with("ENGINE=InnoDB"), with("ENGINE=InnoDB ROW_FORMAT=COMPRESSED"));
        assert!(with("ENGINE=InnoDB").contains("AUTO_INCREMENT=3"));
    }
}
