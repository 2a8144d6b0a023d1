//! Which keys the settings have, and what an operator probably meant by one they do not have.
//!
//! Invariant: no key is ignored. A misspelt `drain_deadline` must stop the program, not leave the default in force.

use model::Trouble;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source_text::SourceText;

const TOP: &[&str] = &["state_dir", "clusters", "moves", "front_door", "copy", "throttle", "cutover"];
const CLUSTER: &[&str] = &[
    "host",
    "port",
    "user",
    "password_env",
    "password_file",
    "server_public_key",
    "get_server_public_key",
    "tls",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "replicas",
];
const MOVE: &[&str] = &[
    "source",
    "target",
    "tables",
    "rename",
    "accept",
    "objects",
    "accounts",
    "fence",
    "fence_accounts",
    "users",
];
const FRONT_DOOR: &[&str] = &[
    "listen",
    "enabled",
    "threads",
    "hold_max",
    "clients_max",
    "memory_max",
    "share",
    "backends_max",
    "queue_max",
    "local_infile",
    "compression",
    "idle_max",
    "transaction_idle_max",
    "statement_max",
    "cluster",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "tls_required",
    "login_max",
    "handshakes_max",
    "logins_per_second",
    "proxy_protocol_from",
    "schemas",
    "users",
    "digests",
    "slow",
    "slow_log",
    "slow_log_values",
    "stop_max",
];
const USER: &[&str] = &["cluster", "clients_max", "from", "certificate", "password_env", "password_file"];
const COPY: &[&str] = &["chunk_rows", "readers", "defer_indexes"];
const THROTTLE: &[&str] = &[
    "latency_rise_max",
    "threads_running_max",
    "replica_lag_max",
    "target_lag_max",
    "chunk_time",
    "rows_per_second",
];
const CUTOVER: &[&str] = &[
    "lag_max",
    "drain_deadline",
    "fence_deadline",
    "settle_deadline",
    "prove_deadline",
    "prime_deadline",
    "pinned",
    "hooks",
];
const HOOKS: &[&str] = &["before", "after", "undone", "deadline"];
const PHASES: &[&str] = &["hold", "drain", "fence", "settle", "prove", "switch", "release"];

/// Every table and its keys, to tell an operator where a misplaced key belongs.
const TABLES: &[(&str, &[&str])] = &[
    ("the top level", TOP),
    ("[clusters.NAME]", CLUSTER),
    ("[moves.NAME]", MOVE),
    ("[front_door]", FRONT_DOOR),
    ("[front_door.users.NAME]", USER),
    ("[copy]", COPY),
    ("[throttle]", THROTTLE),
    ("[cutover]", CUTOVER),
    ("[cutover.hooks]", HOOKS),
];

/// Checks every key of the file.
///
/// # Errors
/// The first key that the settings do not have, with its line and the nearest one they do have.
pub fn check(source: &SourceText) -> Result<(), Trouble> {
    let document = DeTable::parse(&source.text).map_err(|error| source.unreadable(&error))?;
    let top = document.get_ref();
    check_table(source, top, "the top level", TOP)?;
    for (name, value) in top {
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("clusters", value) => check_named(source, value, "clusters", CLUSTER)?,
            ("moves", value) => check_named(source, value, "moves", MOVE)?,
            ("front_door", DeValue::Table(table)) => {
                check_table(source, table, "[front_door]", FRONT_DOOR)?;
                for (name, value) in table.iter().filter(|(name, _)| name.get_ref() == "users") {
                    check_named(source, value.get_ref(), &format!("front_door.{}", name.get_ref()), USER)?;
                }
            }
            ("copy", DeValue::Table(table)) => check_table(source, table, "[copy]", COPY)?,
            ("throttle", DeValue::Table(table)) => check_table(source, table, "[throttle]", THROTTLE)?,
            ("cutover", DeValue::Table(table)) => {
                check_table(source, table, "[cutover]", CUTOVER)?;
                check_hooks(source, table)?;
            }
            // A value of the wrong type is the next step's complaint.
            _ => {}
        }
    }
    Ok(())
}

fn check_hooks(source: &SourceText, cutover: &DeTable<'_>) -> Result<(), Trouble> {
    let Some(DeValue::Table(hooks)) = cutover.get("hooks").map(Spanned::get_ref) else { return Ok(()) };
    check_table(source, hooks, "[cutover.hooks]", HOOKS)?;
    for when in ["before", "after"] {
        if let Some(DeValue::Table(phases)) = hooks.get(when).map(Spanned::get_ref) {
            check_table(source, phases, &format!("[cutover.hooks.{when}]"), PHASES)?;
        }
    }
    Ok(())
}

fn check_named(source: &SourceText, value: &DeValue<'_>, kind: &str, known: &[&str]) -> Result<(), Trouble> {
    let DeValue::Table(named) = value else { return Ok(()) };
    for (name, value) in named {
        if let DeValue::Table(table) = value.get_ref() {
            check_table(source, table, &format!("[{kind}.{}]", name.get_ref()), known)?;
        }
    }
    Ok(())
}

fn check_table(source: &SourceText, table: &DeTable<'_>, place: &str, known: &[&str]) -> Result<(), Trouble> {
    // The map is sorted by name; complain about the line an operator reads first.
    let unknown = table
        .keys()
        .filter(|key| !known.contains(&key.get_ref().as_ref()))
        .min_by_key(|key| key.span().start);
    match unknown {
        None => Ok(()),
        Some(key) => Err(complaint(source, key, place, known)),
    }
}

fn complaint(
    source: &SourceText,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    place: &str,
    known: &[&str],
) -> Trouble {
    let name = key.get_ref().as_ref();
    if name == "password" && (known == CLUSTER || known == USER) {
        return source.refuse(
            key.span(),
            format!("`password` in {place}: a password does not belong in this file"),
            "put it in an environment variable or a file, and name that with `password_env` or `password_file`",
        );
    }
    let hint = match (nearest(name, known), TABLES.iter().find(|(_, keys)| keys.contains(&name))) {
        (_, Some((home, _))) => format!("`{name}` belongs in {home}"),
        (Some(near), None) => format!("did you mean `{near}`?"),
        (None, None) => format!("{place} has the keys {}", known.join(", ")),
    };
    source.refuse(key.span(), format!("unknown key `{name}` in {place}"), hint)
}

/// The known key that looks most like `name`, if any looks like it at all. 0.8 takes a swapped or missing letter and
/// a missing suffix (`lag` for `lag_max`), and not merely the same first letter.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let alike = |key: &&&str| strsim::jaro_winkler(name, key);
    let best = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) >= 0.8).then_some(*best)
}
