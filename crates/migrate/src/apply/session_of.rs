//! Taking on the session a logged statement was written in: what it leaves unsaid, the session says.
//!
//! Foreign keys are never checked: the source has, and here a parent's rows may not be copied yet. What the log does not
//! carry either cannot matter or is set to what `check` demands of both sides (InnoDB).

use mysql::Connection;

use crate::ddl::Statement;
use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::session;

/// `sql_mode` bits that MySQL 5.7 knew and 8.0 refuses: NO_AUTO_CREATE_USER, and the modes named after other products.
const OBSOLETE_MODES: u64 = 0x1003_FF00;

/// Moments at which zones differ: before and after changes of their rules, in both halves of the year.
const MOMENTS: &[&str] = &[
    "1972-01-15 12:00:00",
    "1985-07-15 12:00:00",
    "2000-01-15 12:00:00",
    "2006-03-20 12:00:00",
    "2015-07-15 12:00:00",
    "2026-01-15 12:00:00",
    "2026-07-15 12:00:00",
    "2026-10-28 12:00:00",
    "2037-07-15 12:00:00",
];

/// Makes a connection's session the statement's.
///
/// # Errors
/// If the target refuses, or a setting cannot be the same here.
pub(super) async fn assume(
    target: &mut Connection,
    direction: &Direction,
    statement: &Statement,
) -> Result<()> {
    if let Some(schema) = &statement.schema {
        let sql = format!("USE {}", model::quote_ident(schema));
        target.query(sql).await.doing(Side::Target, format!("use schema {schema}"))?;
    }
    let vars = &statement.status;
    let zone = match vars.time_zone.as_deref() {
        Some("SYSTEM") => system_zone(target, direction, &statement.shown).await?,
        Some(zone) => zone.to_owned(),
        None => "+00:00".to_owned(),
    };
    let micros = vars.micros.unwrap_or(0);
    let (increment, offset) = vars.auto_increment.unwrap_or((1, 1));
    let mut set = vec![
        format!("timestamp={}.{micros:06}", statement.timestamp),
        format!("time_zone={}", quoted(&zone)),
        format!("auto_increment_increment={increment}, auto_increment_offset={offset}"),
        format!("unique_checks={}", u8::from(vars.unique_checks())),
        format!("sql_auto_is_null={}", u8::from(vars.auto_is_null())),
        "default_storage_engine='InnoDB', foreign_key_checks=0".to_owned(),
    ];
    set.extend(vars.sql_mode.map(|mode| format!("sql_mode={}", mode & !OBSOLETE_MODES)));
    set.extend(vars.lc_time_names.map(|locale| format!("lc_time_names={locale}")));
    set.extend(vars.collations.map(|(client, connection, server)| {
        format!("character_set_client={client}, collation_connection={connection}, collation_server={server}")
    }));
    // These may need a privilege, or not be known to an older server: they are set only where they differ.
    let on_off = |on: bool| if on { "ON" } else { "OFF" };
    let mut where_different = vec![
        ("sql_require_primary_key", on_off(false)),
        ("sql_generate_invisible_primary_key", on_off(false)),
    ];
    where_different.extend(
        vars.explicit_defaults_for_timestamp.map(|on| ("explicit_defaults_for_timestamp", on_off(on))),
    );
    where_different.extend(vars.default_table_encryption.map(|on| ("default_table_encryption", on_off(on))));
    for (name, value) in where_different {
        let sql = format!(
            "SELECT VARIABLE_VALUE FROM performance_schema.session_variables WHERE VARIABLE_NAME='{name}'"
        );
        let row = target.row(sql).await.doing(Side::Target, format!("read {name}"))?;
        if row.is_some_and(|r| r.text(0) != value) {
            set.push(format!("{name}={value}"));
        }
    }
    if let Some(collation) = vars.default_collation_for_utf8mb4 {
        set.push(format!("default_collation_for_utf8mb4={collation}"));
    }
    let doing = format!("take on the session of {}", statement.shown);
    target.execute(format!("SET SESSION {}", set.join(", "))).await.doing(Side::Target, doing)?;
    Ok(())
}

/// What the source's own zone is called here. A zone that keeps one distance from UTC is that distance; another one has
/// to be the target's own zone as well.
async fn system_zone(target: &mut Connection, direction: &Direction, shown: &str) -> Result<String> {
    let mut source = session::open(&direction.options.source, Side::Source).await?;
    let here = distances(&mut source, Side::Source).await?;
    if let [first, rest @ ..] = here.as_slice()
        && rest.iter().all(|distance| distance == first)
        && first % 60 == 0
    {
        let minutes = first.abs() / 60;
        let sign = if *first < 0 { '-' } else { '+' };
        return Ok(format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
    if here == distances(target, Side::Target).await? {
        return Ok("SYSTEM".into());
    }
    Err(MoveError::Refused {
        what: format!("{shown} depends on the source's system time zone, which the target does not have"),
        hint: "set the target host's time zone to the source's, and start it again".into(),
    })
}

/// Seconds from UTC of the server's own zone, at each of the moments.
async fn distances(server: &mut Connection, side: Side) -> Result<Vec<i64>> {
    let doing = "read the system time zone";
    server.execute("SET SESSION time_zone='SYSTEM'").await.doing(side, doing)?;
    let each = MOMENTS.iter().map(|m| {
        format!("TIMESTAMPDIFF(SECOND, '1970-01-01', '{m}') - UNIX_TIMESTAMP(CAST('{m}' AS DATETIME))")
    });
    let sql = format!("SELECT {}", each.collect::<Vec<_>>().join(", "));
    let row = server.row(sql).await.doing(side, doing)?;
    server.execute("SET SESSION time_zone='+00:00'").await.doing(side, doing)?;
    Ok(row.map(|r| (0..MOMENTS.len()).map(|i| r.number(i).unwrap_or(0)).collect()).unwrap_or_default())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
