//! What besides rows must be in place before the other side serves: counters, triggers, events.
//!
//! Triggers and events are on the side that takes the application's writes, and nowhere else: a trigger on the side that
//! follows would fire on rows that arrive with what the source's own trigger did to others. They are created behind the
//! fence, and events do not run there before the switch: until then they are `DISABLE ON REPLICA`, which is also how a
//! restart knows which of them to enable. `check` refuses events that are in that state on the source.

use model::Table;
use mysql::{ConnectOptions, Connection};

use crate::cutover::in_the_way;
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::{MoveSpec, Selection};
use crate::schema::objects::{self, Definition, Kind};
use crate::schema::quote_text;
use crate::schema::statement::EventStatus;
use crate::session;

const ACTIVE: &[Kind] = &[Kind::Trigger, Kind::Event];

/// Two connections for objects, opened before anyone is held; what is created with them leaves its session behind.
pub(super) struct Hands {
    source: Connection,
    target: Connection,
}

impl Hands {
    pub async fn open(source: &ConnectOptions, target: &ConnectOptions) -> Result<Self> {
        let source = session::open(source, Side::Source).await?;
        let target = session::open(target, Side::Target).await?;
        Ok(Self { source, target })
    }

    /// Creates the source's triggers and events on the target, and sees that they came out the same, in the same order.
    /// The source must be fenced.
    pub async fn raise(&mut self, spec: &MoveSpec) -> Result<()> {
        let mut wanted = objects::read_for_target(&mut self.source, spec, ACTIVE).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        for event in wanted.iter_mut().filter(|o| o.status == Some(EventStatus::Enabled)) {
            event.status = Some(EventStatus::DisabledOnReplica);
        }
        for object in &wanted {
            objects::create(&mut self.target, Side::Target, object).await?;
        }
        let there = objects::read(&mut self.target, Side::Target, &spec.on(Side::Target), ACTIVE).await?;
        let alike = self.source.server_version() == self.target.server_version();
        let same = |(w, t): &(&Definition, &Definition)| w.same_but_for_quotes(t, &spec.renames);
        let different = wanted.iter().zip(&there).find(|pair| !same(pair)).map(|(w, _)| w);
        match different.filter(|_| alike).or(wanted.get(there.len())) {
            None => Ok(()),
            Some(object) => Err(MoveError::Refused {
                what: format!("{object} did not come out on the target as the source has it"),
                hint: "compare SHOW CREATE on both sides; this is a bug, please report it".into(),
            }),
        }
    }

    /// The connection that creates, as KILL takes it.
    pub fn target_id(&self) -> u32 {
        self.target.id()
    }
}

/// Ends a connection that may still be creating something, and waits until it is gone. A server that has been restarted
/// may have given its number to a client.
pub(super) async fn end_connection(options: &ConnectOptions, id: u32) -> Result<()> {
    let mut server = session::open(options, Side::Target).await?;
    let alive = format!(
        "SELECT 1 FROM performance_schema.threads \
         WHERE PROCESSLIST_ID = {id} AND PROCESSLIST_USER = SUBSTRING_INDEX(USER(), '@', 1)"
    );
    while server.row(&alive).await.doing(Side::Target, "look for a connection of ours")?.is_some() {
        in_the_way::kill(&mut server, id.into(), Side::Target).await?;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Removes the triggers and events of the side that follows. Each must be on the serving side as well: what is
/// nowhere else is not ours to remove. `spec` is the move from the serving side to the other one.
pub(super) async fn clear(
    serving: &ConnectOptions,
    following: &ConnectOptions,
    spec: &MoveSpec,
) -> Result<()> {
    let mut following = session::open(following, Side::Target).await?;
    let there = objects::read(&mut following, Side::Target, &spec.on(Side::Target), ACTIVE).await?;
    if there.is_empty() {
        return Ok(());
    }
    let mut serving = session::open(serving, Side::Source).await?;
    let alike = serving.server_version() == following.server_version();
    let kept = objects::read_for_target(&mut serving, spec, ACTIVE).await?;
    let on_both = |o: &Definition| {
        kept.iter().any(|k| {
            let named = k.kind == o.kind && k.schema == o.schema && k.name == o.name;
            named && (!alike || k.same_but_for_status(o, &spec.renames))
        })
    };
    if let Some(alone) = there.iter().find(|o| !on_both(o)) {
        return Err(MoveError::Refused {
            what: format!("{alone} is on the side that follows and not, or not so, on the side that serves"),
            hint: "drop it there, or create it on the serving side; then start again".into(),
        });
    }
    for object in &there {
        objects::remove(&mut following, Side::Target, object).await?;
    }
    Ok(())
}

/// Lets the events run that are marked to run here: after the switch, and after a fence of schemas has gone down again.
pub(super) async fn enable_events(serving: &ConnectOptions, side: Side, moved: &Selection<'_>) -> Result<()> {
    let mut server = session::open(serving, side).await?;
    let events = objects::read(&mut server, side, moved, &[Kind::Event]).await?;
    for event in events.iter().filter(|e| e.status == Some(EventStatus::DisabledOnReplica)) {
        objects::set_status(&mut server, side, event, EventStatus::Enabled).await?;
    }
    Ok(())
}

/// Before a fence of schemas: keeps the serving side's events from running, and marks them for [`enable_events`]. An event that
/// falls due in a schema that is read-only ends the event scheduler of the whole server, as was seen of MySQL 9.7 ("Unable to
/// schedule event" in its error log): it cannot write down when the event has run.
pub(super) async fn mark_events(serving: &mut Connection, moved: &Selection<'_>) -> Result<()> {
    let events = objects::read(serving, Side::Source, moved, &[Kind::Event]).await?;
    for event in events.iter().filter(|e| e.status == Some(EventStatus::Enabled)) {
        objects::set_status(serving, Side::Source, event, EventStatus::DisabledOnReplica).await?;
    }
    Ok(())
}

/// Whether a fenced server's event scheduler was stopped for [`start_scheduler`] to start again. An event whose definer
/// may write through `read_only` would otherwise run between the moment the full fence goes down and its removal. If we
/// die in between, the scheduler stays off on the side that follows.
pub(super) async fn stop_scheduler(server: &mut Connection, moved: &Selection<'_>) -> Result<bool> {
    let schemas: Vec<String> = moved.whole_schemas().into_iter().map(quote_text).collect();
    if schemas.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "SELECT @@GLOBAL.event_scheduler FROM information_schema.EVENTS WHERE EVENT_SCHEMA IN ({}) AND STATUS = 'ENABLED' \
         LIMIT 1",
        schemas.join(",")
    );
    let row = server.row(sql).await.doing(Side::Target, "look for events")?;
    let runs = row.is_some_and(|r| r.text(0) == "ON");
    if runs {
        server
            .execute("SET GLOBAL event_scheduler = OFF")
            .await
            .doing(Side::Target, "stop the event scheduler")?;
    }
    Ok(runs)
}

/// See [`stop_scheduler`].
pub(super) async fn start_scheduler(server: &mut Connection) -> Result<()> {
    server
        .execute("SET GLOBAL event_scheduler = ON")
        .await
        .doing(Side::Target, "start the event scheduler")?;
    Ok(())
}

/// Puts every AUTO_INCREMENT counter of the target at or past the source's. Rows alone do not bring it there: numbers
/// given to rows that were deleted or rolled back must not be given again.
pub(super) async fn advance_counters(
    source: &mut Connection,
    target: &mut Connection,
    tables: &[Table],
) -> Result<()> {
    let ask = |side| {
        let schemas: Vec<String> = tables.iter().map(|t| quote_text(t.on(side).schema)).collect();
        format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES \
             WHERE AUTO_INCREMENT IS NOT NULL AND TABLE_SCHEMA IN ({})",
            schemas.join(",")
        )
    };
    let (here, there) = tokio::join!(source.rows(ask(Side::Source)), target.rows(ask(Side::Target)));
    let here = here.doing(Side::Source, "read AUTO_INCREMENT counters")?;
    let there = there.doing(Side::Target, "read AUTO_INCREMENT counters")?;
    for table in tables {
        let counter = |rows: &[mysql::Row], side| {
            let name = table.on(side);
            let row = rows.iter().find(|r| r.text(0) == name.schema && r.text(1) == name.table);
            row.and_then(|r| r.number::<u64>(2)).unwrap_or(0)
        };
        let wanted = counter(&here, Side::Source);
        if counter(&there, Side::Target) < wanted {
            let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {wanted}", table.on(Side::Target).quoted());
            target.execute(sql).await.doing(Side::Target, "advance an AUTO_INCREMENT counter")?;
        }
    }
    Ok(())
}
