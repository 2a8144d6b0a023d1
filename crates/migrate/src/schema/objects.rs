//! Views, routines, triggers and events: read as one server shows them, created on another under the session each was
//! created under.
//!
//! A definition is bytes in the character set of the session that wrote it, so it is read without conversion and sent
//! under that same character set; its sql_mode, collations and time zone are part of it (SHOW CREATE gives them).
//!
//! Views and routines are on both sides ([`bring`]). Triggers and events are on the side that takes the application's
//! writes only, and belong to the cutover.

use model::quote_ident;
use mysql::{ConnectOptions, Connection, Row};

use super::quote_text;
use super::statement::{EventStatus, split_event};
use crate::ddl::Dialect;
use crate::ddl::renamed::{self, Unsure};
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::{MoveSpec, Renames, Selection};
use crate::session;

/// How the names of the triggers begin that a fence around tables is made of: they are each server's own, and never go along.
pub(crate) const FENCE_TRIGGERS: &str = "highwater_fence_";

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Function,
    Procedure,
    View,
    Trigger,
    Event,
}

/// All kinds.
pub(crate) const ALL: &[Kind] = &[Kind::Function, Kind::Procedure, Kind::View, Kind::Trigger, Kind::Event];

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Function => "FUNCTION",
            Self::Procedure => "PROCEDURE",
            Self::View => "VIEW",
            Self::Trigger => "TRIGGER",
            Self::Event => "EVENT",
        }
    }
}

/// An object and everything that makes it what it is. Two of them are equal if no client can tell them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub kind: Kind,
    pub schema: String,
    pub name: String,
    sql_mode: String,
    client: String,
    connection: String,
    /// The schema's collation when it was created; not for views.
    database: String,
    /// For events.
    time_zone: String,
    /// For events, up to the clause that says whether it runs; then `status` and `rest` follow.
    statement: Vec<u8>,
    pub status: Option<EventStatus>,
    rest: Vec<u8>,
}

impl std::fmt::Display for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}.{}", self.kind.word().to_ascii_lowercase(), self.schema, self.name)
    }
}

impl Definition {
    /// Whether the other is the same but for whether it runs.
    pub fn same_but_for_status(&self, other: &Self, renames: &Renames) -> bool {
        let without = |one: &Self| Self { status: None, ..one.clone() };
        without(self).same_but_for_quotes(&without(other), renames)
    }

    /// The same object for the target, which calls some schemas otherwise.
    ///
    /// # Errors
    /// What its text holds, if that cannot be written anew with certainty.
    pub fn in_names_of_target(&self, renames: &Renames) -> std::result::Result<Self, Unsure> {
        let dialect = Dialect::named(&self.sql_mode, &self.client);
        let is_view = self.kind == Kind::View;
        Ok(Self {
            schema: renames.on_target(&self.schema).to_owned(),
            statement: renamed::object(&self.statement, dialect, is_view, renames)?,
            rest: renamed::object(&self.rest, dialect, is_view, renames)?,
            ..self.clone()
        })
    }

    /// Whether the other is the same, where names of schemas were replaced but for their quotes: there and back again, a name
    /// that had none has them.
    pub fn same_but_for_quotes(&self, other: &Self, renames: &Renames) -> bool {
        let bare = |text: &[u8]| -> Vec<u8> {
            text.iter().copied().filter(|b| renames.is_empty() || *b != b'`').collect()
        };
        let without =
            |one: &Self| Self { statement: bare(&one.statement), rest: bare(&one.rest), ..one.clone() };
        without(self) == without(other)
    }

    /// What is not the same, in a word.
    fn difference(&self, other: &Self) -> String {
        let texts = [
            ("sql_mode", &self.sql_mode, &other.sql_mode),
            ("character_set_client", &self.client, &other.client),
            ("collation_connection", &self.connection, &other.connection),
            ("database collation", &self.database, &other.database),
            ("time zone", &self.time_zone, &other.time_zone),
        ];
        match texts.iter().find(|(_, here, there)| here != there) {
            Some((what, here, there)) => format!("its {what} is '{there}' there, '{here}' on the source"),
            None => "its text differs".into(),
        }
    }

    fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// The statement that creates it. A semicolon at its end is part of the definition where it was one of several sent
    /// together; alone, the server would drop it.
    fn sent(&self) -> Vec<u8> {
        let status = self.status.map_or("", EventStatus::clause);
        let mut statement = [&self.statement, status.as_bytes(), &self.rest].concat();
        if statement.ends_with(b";") {
            statement.extend_from_slice(b"DO 0");
        }
        statement
    }
}

/// A list of objects: which kind, and the query for schema, name and kind of each.
fn listing(kind: Kind, schemas: &str) -> String {
    match kind {
        Kind::View => format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, '' FROM information_schema.VIEWS WHERE TABLE_SCHEMA IN ({schemas}) \
             ORDER BY 1, 2"
        ),
        Kind::Function | Kind::Procedure => format!(
            "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, '' FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA IN ({schemas}) \
             AND ROUTINE_TYPE = '{}' ORDER BY 1, 2",
            kind.word()
        ),
        // In the order in which those of one table and event fire, which is the order of their creation.
        Kind::Trigger => format!(
            "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS \
             WHERE TRIGGER_SCHEMA IN ({schemas}) \
             ORDER BY 1, 3, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER"
        ),
        Kind::Event => format!(
            "SELECT EVENT_SCHEMA, EVENT_NAME, '' FROM information_schema.EVENTS WHERE EVENT_SCHEMA IN ({schemas}) \
             ORDER BY 1, 2"
        ),
    }
}

/// Reads the objects of these kinds that go along with a move; what moves is selected in the names of the server that is asked.
///
/// # Errors
/// If the server refuses, or does not show a definition to our account.
pub(crate) async fn read(
    server: &mut Connection,
    side: Side,
    moved: &Selection<'_>,
    kinds: &[Kind],
) -> Result<Vec<Definition>> {
    server
        .execute(
            "SET SESSION character_set_client=binary, character_set_results=NULL, sql_quote_show_create=1, sql_mode=''",
        )
        .await
        .doing(side, "set up the session")?;
    let mut found = Vec::new();
    for &kind in kinds {
        let schemas = if kind == Kind::Trigger { moved.schemas() } else { moved.whole_schemas() };
        if schemas.is_empty() {
            continue;
        }
        let list: Vec<String> = schemas.into_iter().map(quote_text).collect();
        let rows =
            server.rows(listing(kind, &list.join(","))).await.doing(side, "list the schema's objects")?;
        let goes = |row: &&Row| {
            kind != Kind::Trigger
                || moved.takes(&row.text(0), &row.text(2)) && !row.text(1).starts_with(FENCE_TRIGGERS)
        };
        for row in rows.iter().filter(goes) {
            // Gone meanwhile is gone.
            found.extend(show(server, side, kind, &row.text(0), &row.text(1)).await?);
        }
    }
    Ok(found)
}

/// The source's objects of these kinds, as the target is to have them.
///
/// # Errors
/// As [`read`], and if the text of one cannot be written anew with certainty.
pub(crate) async fn read_for_target(
    source: &mut Connection,
    spec: &MoveSpec,
    kinds: &[Kind],
) -> Result<Vec<Definition>> {
    let all = read(source, Side::Source, &spec.on(Side::Source), kinds).await?;
    let each = all.iter().map(|object| {
        object.in_names_of_target(&spec.renames).map_err(|Unsure(why)| MoveError::Refused {
            what: format!("the text of {object} cannot be written anew for the target: it holds {why}"),
            hint: format!(
                "change it on the source, or drop it there; SHOW CREATE {} shows it",
                object.kind.word()
            ),
        })
    });
    each.collect()
}

/// What the server says to whoever lacks a privilege for a setting (ER_SPECIFIC_ACCESS_DENIED_ERROR).
const NOT_GRANTED: u16 = 1227;

/// What the server says when an event is to be enabled that would run once and whose time has passed (ER_EVENT_CANNOT_ALTER_IN_THE_PAST).
const PAST: u16 = 1589;

/// 1305, 1360, 1539 and 1146: there is no such routine, trigger, event or view.
const NONE_SUCH: [u16; 4] = [1305, 1360, 1539, 1146];

async fn show(
    server: &mut Connection,
    side: Side,
    kind: Kind,
    schema: &str,
    name: &str,
) -> Result<Option<Definition>> {
    let word = kind.word();
    let doing = format!("show {} {schema}.{name}", word.to_ascii_lowercase());
    // Within its schema a view's tables are shown without it.
    server.query(format!("USE {}", quote_ident(schema))).await.doing(side, doing.as_str())?;
    let row = match server.row(format!("SHOW CREATE {word} {}", quote_ident(name))).await {
        Err(error) if error.server_code().is_some_and(|code| NONE_SUCH.contains(&code)) => return Ok(None),
        shown => shown.doing(side, doing.as_str())?,
    };
    match row.as_ref().and_then(|row| definition(row, kind, schema, name)) {
        Some(definition) => Ok(Some(definition)),
        None => Err(MoveError::Refused {
            what: format!(
                "the {side} does not show the definition of {} {schema}.{name}",
                word.to_ascii_lowercase()
            ),
            hint: format!(
                "GRANT SHOW_ROUTINE, SHOW VIEW, TRIGGER, EVENT ON *.* to our account on the {side}"
            ),
        }),
    }
}

fn definition(row: &Row, kind: Kind, schema: &str, name: &str) -> Option<Definition> {
    // The columns of SHOW CREATE FUNCTION, PROCEDURE and TRIGGER; of VIEW; of EVENT.
    let (mode, zone, text, sets) = match kind {
        Kind::Function | Kind::Procedure | Kind::Trigger => (Some(1), None, 2, 3),
        Kind::View => (None, None, 1, 2),
        Kind::Event => (Some(1), Some(2), 3, 4),
    };
    let text = row.bytes(text)?;
    let (statement, status, rest) = match kind {
        Kind::Event => {
            let (before, status, after) = split_event(text)?;
            (before, Some(status), after)
        }
        _ => (text, None, [].as_slice()),
    };
    Some(Definition {
        kind,
        schema: schema.into(),
        name: name.into(),
        sql_mode: mode.map(|i| row.text(i)).unwrap_or_default(),
        client: row.text(sets),
        connection: row.text(sets + 1),
        database: row.text(sets + 2),
        time_zone: zone.map(|i| row.text(i)).unwrap_or_default(),
        statement: statement.to_vec(),
        status,
        rest: rest.to_vec(),
    })
}

/// Creates an object as it was defined elsewhere. The session is left with the object's settings.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn create(server: &mut Connection, side: Side, object: &Definition) -> Result<()> {
    let doing = format!("create {object}");
    enter_session_of(server, side, object).await?;
    let current = server.row("SELECT @@collation_database").await.doing(side, doing.as_str())?;
    let current = current.map(|r| r.text(0)).unwrap_or_default();
    // What it takes from the schema it took from the schema as it was then. A crash in between leaves the schema with
    // that collation; `agree_on_collations` puts it right when it goes on.
    let other = !object.database.is_empty() && object.database != current;
    if other {
        collate(server, side, &object.schema, &object.database).await?;
    }
    let created = server.query_all(object.sent()).await.doing(side, doing);
    if other {
        collate(server, side, &object.schema, &current).await?;
    }
    created.map(drop)
}

/// The session an object was created under.
async fn enter_session_of(server: &mut Connection, side: Side, object: &Definition) -> Result<()> {
    let zone = match object.time_zone.as_str() {
        "" => String::new(),
        zone => format!(", time_zone='{}'", zone.replace('\'', "''")),
    };
    let sql = format!(
        "SET SESSION character_set_client=binary; USE {}; SET SESSION sql_mode='{}', collation_connection={}, \
         character_set_client={}{zone}",
        quote_ident(&object.schema),
        object.sql_mode,
        object.connection,
        object.client
    );
    server.query_all(sql).await.doing(side, format!("set up the session for {object}"))?;
    Ok(())
}

async fn collate(server: &mut Connection, side: Side, schema: &str, collation: &str) -> Result<()> {
    let sql = format!("ALTER DATABASE {} COLLATE {collation}", quote_ident(schema));
    server.execute(sql).await.doing(side, format!("set the collation of schema {schema}"))?;
    Ok(())
}

/// Removes a trigger or event.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn remove(server: &mut Connection, side: Side, object: &Definition) -> Result<()> {
    let sql = format!("DROP {} IF EXISTS {}", object.kind.word(), object.quoted());
    server.execute(sql).await.doing(side, format!("remove {object}"))?;
    Ok(())
}

/// Whether an event runs, without a word in the binary log: a replica must not take over whether events run. Where we may not leave
/// the log out, a replica marks what comes by it as DISABLE ON REPLICA by itself.
///
/// # Errors
/// If the server refuses.
pub(crate) async fn set_status(
    server: &mut Connection,
    side: Side,
    event: &Definition,
    status: EventStatus,
) -> Result<()> {
    // ALTER EVENT makes whoever runs it the definer, and takes the session's character sets.
    let definer = event.statement.strip_prefix(b"CREATE ".as_slice()).and_then(|rest| {
        let end = rest.windows(7).position(|w| w == b" EVENT ")?;
        rest.get(..end)
    });
    let definer = definer.unwrap_or_default();
    enter_session_of(server, side, event).await?;
    let clause = status.clause().as_bytes();
    let sql = [b"ALTER ".as_slice(), definer, b" EVENT ", event.quoted().as_bytes(), b" ", clause].concat();
    let unlogged = match server.execute("SET SESSION sql_log_bin=0").await {
        Err(error) if error.server_code() == Some(NOT_GRANTED) => false,
        done => done.doing(side, "leave the binary log alone").map(|_| true)?,
    };
    match server.execute(sql).await {
        Err(error) if error.server_code() == Some(PAST) => {
            tracing::warn!(target: "highwater::move", "{event} on the {side} stays off: its time has passed");
        }
        done => {
            done.doing(side, format!("set {event} to {}", status.clause()))?;
        }
    }
    if unlogged {
        server.execute("SET SESSION sql_log_bin=1").await.doing(side, "write to the binary log again")?;
    }
    Ok(())
}

/// Creates the views and routines that the target does not have, in whatever order they can be.
///
/// # Errors
/// If one cannot be created, or is there with another definition.
pub(crate) async fn bring(
    source: &ConnectOptions,
    target: &ConnectOptions,
    spec: &MoveSpec,
) -> Result<usize> {
    const KINDS: &[Kind] = &[Kind::Function, Kind::Procedure, Kind::View];
    let mut source = session::open(source, Side::Source).await?;
    let mut target = session::open(target, Side::Target).await?;
    // ALTER DATABASE waits for whoever reads in the schema, and everyone else then waits for it.
    let patience = "SET SESSION lock_wait_timeout = 5";
    target.execute(patience).await.doing(Side::Target, "bound our waits")?;
    // The end of a copy and a cutover may both be at it. The lock ends with the connection.
    target
        .rows("SELECT GET_LOCK('highwater.bring', 60)")
        .await
        .doing(Side::Target, "wait for another at the same")?;
    agree_on_collations(&mut source, &mut target, spec).await?;
    let alike = source.server_version() == target.server_version();
    let there = read(&mut target, Side::Target, &spec.on(Side::Target), KINDS).await?;
    let mut missing = Vec::new();
    for object in read_for_target(&mut source, spec, KINDS).await? {
        let same =
            |o: &&Definition| o.kind == object.kind && o.schema == object.schema && o.name == object.name;
        match there.iter().find(same) {
            None => missing.push(object),
            // Another version may print the same definition in other words.
            Some(found) if object.same_but_for_quotes(found, &spec.renames) || !alike => {}
            Some(found) => return Err(differs(&object, found)),
        }
    }
    let count = missing.len();
    // A view may need another, or a function: whatever can be created now is, until nothing more can.
    while !missing.is_empty() {
        let before = missing.len();
        let mut left = Vec::new();
        let mut why = None;
        for object in missing {
            match create(&mut target, Side::Target, &object).await {
                Ok(()) => {}
                Err(error @ MoveError::Server { error: mysql::Error::Server(_), .. }) => {
                    why.get_or_insert(error);
                    left.push(object);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = why.filter(|_| left.len() == before) {
            return Err(cannot_be_created(&left, &error));
        }
        missing = left;
    }
    Ok(count)
}

fn differs(object: &Definition, found: &Definition) -> MoveError {
    MoveError::Refused {
        what: format!("{object} is on the target with another definition: {}", object.difference(found)),
        hint: format!(
            "it is never overwritten: DROP {} {}; on the target, and it is created as the source has it",
            object.kind.word(),
            object.quoted()
        ),
    }
}

fn cannot_be_created(left: &[Definition], error: &MoveError) -> MoveError {
    let others = match left.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more need what is missing", n - 1),
    };
    MoveError::Refused {
        what: format!("{error}{others}"),
        hint: "create what it needs on the target, or drop it on the source if it does not work there either"
            .into(),
    }
}

/// Gives the target's schemas the source's default collation again, which creating an object may have changed.
async fn agree_on_collations(
    source: &mut Connection,
    target: &mut Connection,
    spec: &MoveSpec,
) -> Result<()> {
    if spec.on(Side::Source).whole_schemas().is_empty() {
        return Ok(());
    }
    let ask = |side| {
        let list: Vec<String> = spec.on(side).whole_schemas().into_iter().map(quote_text).collect();
        format!(
            "SELECT SCHEMA_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ({})",
            list.join(",")
        )
    };
    let doing = "read the schemas' collations";
    let here = source.rows(ask(Side::Source)).await.doing(Side::Source, doing)?;
    let there = target.rows(ask(Side::Target)).await.doing(Side::Target, doing)?;
    for row in &here {
        let here = row.text(0);
        let schema = spec.renames.on_target(&here);
        let other = there.iter().any(|t| t.text(0) == schema && t.text(1) != row.text(1));
        if other {
            collate(target, Side::Target, schema, &row.text(1)).await?;
        }
    }
    Ok(())
}
