//! From written to resolved: what one table says about another is checked, passwords are read.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use migrate::cutover::{Hooks, Phase};
use migrate::throttle::PaceLimits;
use migrate::{Fence, MoveSpec, TablePattern};
use model::{Side, Trouble};
use mysql::{Password, ServerKey};
use toml::Spanned;

use super::Environment;
use super::entrance;
use super::memory;
use super::renames;
use super::resolved::{
    ClusterConfig, CopyOptions, CutoverOptions, FrontDoorOptions, MoveConfig, ResolvedConfig, ThrottleOptions,
};
use super::routes;
use super::source_text::{STATE, SourceText};
use super::tls::cluster_tls;
use super::written::{
    WrittenAccounts, WrittenCluster, WrittenConfig, WrittenHooks, WrittenMove, WrittenThrottle,
};

/// The least bound on the door's memory, in bytes: some statements must fit beside the threads' buffers.
const MEMORY_MIN: usize = 16 << 20;

/// Checks the tables against each other and reads the passwords.
///
/// # Errors
/// The first thing that is not right.
pub fn resolve(
    source: &SourceText,
    written: WrittenConfig,
    env: Environment<'_>,
) -> Result<ResolvedConfig, Trouble> {
    let names: Vec<&str> = written.clusters.keys().map(String::as_str).collect();
    let moves = written
        .moves
        .iter()
        .map(|(name, one)| resolve_move(source, name, one, &written.clusters))
        .collect::<Result<Vec<_>, _>>()?;
    refuse_overlap(source, &written.moves, &moves)?;
    refuse_chain(source, &written.moves, &moves)?;
    routes::refuse_shared_users(source, &written.moves, &moves)?;
    renames::refuse_shared(source, &written.moves, &moves)?;
    renames::refuse_door(source, &written, &moves)?;

    let entrance = entrance::resolve(source, &written.front_door, env)?;
    let schemas = routes::schemas(source, &written.front_door, &moves, &names)?;
    let users = routes::users(source, &written.front_door, &moves, &names)?;
    let door = written.front_door;
    if let Some(cluster) = &door.cluster {
        known_cluster(source, cluster, &names)?;
    }
    let front_door = FrontDoorOptions {
        listen: door.listen,
        enabled: door.enabled,
        threads: match within(source, "front_door.threads", &door.threads, 0..=1024)? {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        },
        schemas,
        users,
        share: door.share,
        rules: proxy::Rules {
            hold_max: door.hold_max,
            clients_max: within(source, "front_door.clients_max", &door.clients_max, 1..=1_000_000)?,
            memory_max: memory_max(source, door.memory_max)?,
            entrance,
            backends_max: within(source, "front_door.backends_max", &door.backends_max, 1..=100_000)?,
            queue_max: door.queue_max,
            terms: proxy::Terms {
                local_infile: door.local_infile,
                compression: door.compression,
                idle_max: door.idle_max,
                transaction_idle_max: door.transaction_idle_max,
                statement_max: door.statement_max,
            },
            observe: proxy::Observe {
                digests: door.digests,
                slow: door.slow,
                slow_values: door.slow_log_values,
            },
        },
        slow_log: source.beside(&door.slow_log),
        stop_max: door.stop_max,
        cluster: door.cluster.map(Spanned::into_inner).or_else(|| only_writer(&moves, &names)),
    };
    let copy = CopyOptions {
        chunk_rows: within(source, "copy.chunk_rows", &written.copy.chunk_rows, 1..=1_000_000)?,
        readers: within(source, "copy.readers", &written.copy.readers, 1..=256)?,
        defer_indexes: written.copy.defer_indexes,
    };
    let throttle = resolve_throttle(source, &written.throttle)?;
    let cutover = CutoverOptions {
        lag_max: written.cutover.lag_max,
        drain_deadline: written.cutover.drain_deadline,
        fence_deadline: written.cutover.fence_deadline,
        settle_deadline: written.cutover.settle_deadline,
        prove_deadline: written.cutover.prove_deadline,
        prime_deadline: written.cutover.prime_deadline,
        pinned: written.cutover.pinned,
        hooks: resolve_hooks(source, written.cutover.hooks)?,
    };
    // Last, so that a mistake in the file is reported before a variable that this shell lacks.
    let clusters = written
        .clusters
        .into_iter()
        .map(|(name, one)| Ok((name.clone(), resolve_cluster(source, name, one.into_inner(), env)?)))
        .collect::<Result<BTreeMap<_, _>, Trouble>>()?;
    Ok(ResolvedConfig {
        file: source.name().into(),
        state_dir: source.beside(&written.state_dir),
        clusters,
        moves,
        front_door,
        copy,
        throttle,
        cutover,
    })
}

/// Without a word of the operator's, half of what there is: what common clients need is far less, and what hostile ones could take has
/// to end somewhere before the system ends the process, and every client with it.
fn memory_max(source: &SourceText, written: Option<Spanned<usize>>) -> Result<usize, Trouble> {
    match written {
        None => Ok(memory::available().map_or(usize::MAX, |bytes| (bytes / 2).max(MEMORY_MIN))),
        Some(amount) if *amount.get_ref() >= MEMORY_MIN => Ok(amount.into_inner()),
        Some(amount) => {
            let what = format!("`front_door.memory_max` cannot be {}", memory::shown(*amount.get_ref()));
            Err(source.refuse(amount.span(), what, "choose 16MiB or more"))
        }
    }
}

fn resolve_hooks(source: &SourceText, written: WrittenHooks) -> Result<Hooks, Trouble> {
    let all = |phases: BTreeMap<Phase, Spanned<Vec<String>>>| {
        let resolved = phases.into_iter().map(|(phase, command)| Ok((phase, hook(source, command)?)));
        resolved.collect::<Result<BTreeMap<_, _>, Trouble>>()
    };
    Ok(Hooks {
        before: all(written.before)?,
        after: all(written.after)?,
        undone: written.undone.map(|command| hook(source, command)).transpose()?,
        deadline: written.deadline,
    })
}

/// A command as it will be started. A program with a slash in its name is relative to the file, like every path in it.
fn hook(source: &SourceText, command: Spanned<Vec<String>>) -> Result<Vec<String>, Trouble> {
    let span = command.span();
    let mut command = command.into_inner();
    if command.iter().any(|part| part.contains('\0')) || command.first().is_none_or(String::is_empty) {
        let hint = "write a list: a program and its arguments, [\"/usr/local/bin/maintenance\", \"on\"]";
        return Err(source.refuse(span, "a hook needs a program", hint));
    }
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = source.beside(Path::new(&program)).display().to_string();
    }
    Ok(command)
}

fn resolve_throttle(source: &SourceText, written: &WrittenThrottle) -> Result<ThrottleOptions, Trouble> {
    let limit = |number: u64| (number > 0).then_some(number);
    let rise = within(source, "throttle.latency_rise_max", &written.latency_rise_max, 0..=1000)?;
    Ok(ThrottleOptions {
        limits: PaceLimits {
            latency_rise: (rise > 0).then(|| f64::from(rise) / 100.0),
            threads_running: limit(written.threads_running_max),
            replica_lag: Some(written.replica_lag_max),
        },
        target_lag_max: written.target_lag_max,
        chunk_time: written.chunk_time,
        rows_per_second: limit(written.rows_per_second),
    })
}

fn resolve_move(
    source: &SourceText,
    name: &str,
    written: &Spanned<WrittenMove>,
    clusters: &BTreeMap<String, Spanned<WrittenCluster>>,
) -> Result<MoveConfig, Trouble> {
    let span = written.span();
    let written = written.get_ref();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    // 64 is the width of the ledger's column.
    if !plain || !(1..=64).contains(&name.len()) {
        let hint = "use 1 to 64 letters, digits, `-` and `_`";
        return Err(source.refuse(span, format!("'{name}' cannot be the name of a move"), hint));
    }
    let names: Vec<&str> = clusters.keys().map(String::as_str).collect();
    let from = known_cluster(source, &written.source, &names)?;
    let to = known_cluster(source, &written.target, &names)?;
    if from == to {
        return Err(source.refuse(
            written.target.span(),
            format!("move '{name}' goes from cluster '{from}' to itself"),
            "name another cluster as its `target`",
        ));
    }
    let address = |cluster: &str| {
        let one = clusters[cluster].get_ref();
        (one.host.get_ref().to_lowercase(), *one.port.get_ref())
    };
    if address(from) == address(to) {
        return Err(source.refuse(
            written.target.span(),
            format!("clusters '{from}' and '{to}' of move '{name}' are the same server"),
            "give one of them its own host or port",
        ));
    }
    if written.tables.get_ref().is_empty() {
        let hint = "list what goes as `schema.*` or `schema.table`";
        return Err(source.refuse(written.tables.span(), format!("move '{name}' has no tables"), hint));
    }
    let tables = written.tables.get_ref().iter().map(|table| table.0.clone()).collect();
    let renames = renames::resolve(source, name, written)?;
    let spec = MoveSpec { name: name.to_owned(), tables, renames };
    refuse_half_fence(source, written, &spec)?;
    Ok(MoveConfig {
        spec,
        source: from.to_owned(),
        target: to.to_owned(),
        accept: written.accept.clone(),
        along: migrate::Along { objects: written.objects, accounts: accounts(&written.accounts) },
        fence: written.fence,
        fence_accounts: written.fence_accounts.clone().map(Spanned::into_inner).unwrap_or_default(),
        users: routes::users_of_move(source, name, written)?,
    })
}

/// What a fence around schemas or tables cannot be, and what is for one kind only.
fn refuse_half_fence(source: &SourceText, written: &WrittenMove, spec: &MoveSpec) -> Result<(), Trouble> {
    let locked = written.fence_accounts.as_ref().filter(|accounts| !accounts.get_ref().is_empty());
    let name = &spec.name;
    if let (Fence::Server | Fence::Tables, Some(locked)) = (written.fence, locked) {
        return Err(source.refuse(
            locked.span(),
            format!("move '{name}' has `fence_accounts`, which its fence does not need"),
            "the side that follows is closed to all but us: remove them, or set `fence = \"schemas\"`",
        ));
    }
    match (written.fence, spec.on(Side::Source).whole_schemas().first()) {
        (Fence::Server, _) | (Fence::Tables, None) => return Ok(()),
        (Fence::Tables, Some(whole)) => {
            return Err(source.refuse(
                written.tables.span(),
                format!("move '{name}' is fenced by tables, and takes all of {whole} without naming them"),
                format!("name each table (`{whole}.orders`), or set `fence = \"schemas\"`"),
            ));
        }
        (Fence::Schemas, _) => {}
    }
    if let Some(parted) = spec.on(Side::Source).parted_schemas().first() {
        return Err(source.refuse(
            written.tables.span(),
            format!("move '{name}' is fenced by schemas, and takes only some tables of {parted}"),
            format!("let all of it go (`{parted}.*`), or set `fence = \"tables\"`"),
        ));
    }
    let Some(locked) = locked else { return Ok(()) };
    if let Some(odd) = locked.get_ref().iter().find(|account| !account.contains('@')) {
        return Err(source.refuse(
            locked.span(),
            format!("'{odd}' is not an account"),
            "write it as `user@host`, as SELECT User, Host FROM mysql.user shows it",
        ));
    }
    let moves_along = !matches!(written.accounts, WrittenAccounts::All(false));
    if moves_along {
        return Err(source.refuse(
            locked.span(),
            format!("move '{name}' locks accounts on the side that follows, and has accounts move along"),
            "a locked account is another one than the source's: create the accounts on the target yourself, or lock none",
        ));
    }
    Ok(())
}

fn accounts(written: &WrittenAccounts) -> migrate::Accounts {
    match written {
        WrittenAccounts::All(false) => migrate::Accounts::None,
        WrittenAccounts::All(true) => migrate::Accounts::All,
        WrittenAccounts::Named(names) => migrate::Accounts::Named(names.clone()),
    }
}

/// A table that two moves take from one source would have two owners after the first cutover.
fn refuse_overlap(
    source: &SourceText,
    written: &BTreeMap<String, Spanned<WrittenMove>>,
    moves: &[MoveConfig],
) -> Result<(), Trouble> {
    for (index, one) in moves.iter().enumerate() {
        for other in moves[..index].iter().filter(|other| other.source == one.source) {
            let shared = one.spec.tables.iter().find(|a| other.spec.tables.iter().any(|b| overlap(a, b)));
            if let Some(shared) = shared {
                let table = shared.table.as_deref().unwrap_or("*");
                return Err(source.refuse(
                    written[&one.spec.name].get_ref().tables.span(),
                    format!(
                        "moves '{}' and '{}' both take {}.{table}",
                        other.spec.name, one.spec.name, shared.schema
                    ),
                    "let each table go with one move only",
                ));
            }
        }
    }
    Ok(())
}

/// The cluster a move goes to is read-only for applications until its cutover, so no application can serve from there.
fn refuse_chain(
    source: &SourceText,
    written: &BTreeMap<String, Spanned<WrittenMove>>,
    moves: &[MoveConfig],
) -> Result<(), Trouble> {
    for one in moves {
        if let Some(next) = moves.iter().find(|next| next.source == one.target) {
            return Err(source.refuse(
                written[&next.spec.name].get_ref().source.span(),
                format!(
                    "cluster '{}' is the target of move '{}' and the source of move '{}'",
                    one.target, one.spec.name, next.spec.name
                ),
                "let one move end before the next one begins",
            ));
        }
    }
    Ok(())
}

pub(super) fn overlap(a: &TablePattern, b: &TablePattern) -> bool {
    a.schema == b.schema && (a.table.is_none() || b.table.is_none() || a.table == b.table)
}

/// The writer when the settings do not name one: the moves' source if they share one, or the only cluster.
fn only_writer(moves: &[MoveConfig], clusters: &[&str]) -> Option<String> {
    match (moves, clusters) {
        ([], [only]) => Some((*only).to_owned()),
        ([first, rest @ ..], _) if rest.iter().all(|m| m.source == first.source) => {
            Some(first.source.clone())
        }
        _ => None,
    }
}

pub(super) fn known_cluster<'a>(
    source: &SourceText,
    name: &'a Spanned<String>,
    known: &[&str],
) -> Result<&'a str, Trouble> {
    if known.contains(&name.get_ref().as_str()) {
        return Ok(name.get_ref());
    }
    let hint = match known {
        [] => format!("add a `[clusters.{}]` table", name.get_ref()),
        _ => format!("the clusters are: {}", known.join(", ")),
    };
    Err(source.refuse(name.span(), format!("there is no cluster '{}'", name.get_ref()), hint))
}

pub(super) fn within<N: Copy + PartialOrd + std::fmt::Display>(
    source: &SourceText,
    key: &str,
    number: &Spanned<N>,
    allowed: std::ops::RangeInclusive<N>,
) -> Result<N, Trouble> {
    let value = *number.get_ref();
    if allowed.contains(&value) {
        return Ok(value);
    }
    let hint = format!("choose a number from {} to {}", allowed.start(), allowed.end());
    Err(source.refuse(number.span(), format!("`{key}` cannot be {value}"), hint))
}

fn resolve_cluster(
    source: &SourceText,
    name: String,
    written: WrittenCluster,
    env: Environment<'_>,
) -> Result<ClusterConfig, Trouble> {
    let password = read_password(source, &name, &written, env)?;
    let tls = cluster_tls(source, &name, &written)?;
    let server_key = match (written.server_public_key, written.get_server_public_key) {
        (None, false) => ServerKey::FetchOnLoopback,
        (None, true) => ServerKey::Fetch,
        (Some(key), true) => {
            return Err(source.refuse(
                key.span(),
                format!("cluster '{name}' both pins the server's public key and asks to trust whatever key it sends"),
                "remove `get_server_public_key`",
            ));
        }
        (Some(key), false) => {
            let file = source.beside(key.get_ref());
            std::fs::metadata(&file).map_err(|error| {
                let what = format!("cannot read the public key {}: {error}", file.display());
                source.refuse(key.span(), what, "name the PEM file of the server's RSA public key")
            })?;
            ServerKey::Pinned(file)
        }
    };
    if written.host.get_ref().is_empty() {
        return Err(source.refuse(
            written.host.span(),
            format!("cluster '{name}' has an empty host"),
            "name it",
        ));
    }
    let port = within(source, &format!("clusters.{name}.port"), &written.port, 1..=u16::MAX)?;
    let replicas = written.replicas.iter().map(|one| address(source, one)).collect::<Result<_, _>>()?;
    Ok(ClusterConfig {
        name,
        host: written.host.into_inner(),
        port,
        user: written.user,
        password,
        server_key,
        tls,
        replicas,
    })
}

/// `host` or `host:port`.
fn address(source: &SourceText, written: &Spanned<String>) -> Result<(String, u16), Trouble> {
    let text = written.get_ref();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)),
        None => (text.as_str(), Some(3306)),
    };
    match port {
        Some(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(source.refuse(
            written.span(),
            format!("'{text}' is no address of a replica"),
            "write `host` or `host:port`",
        )),
    }
}

fn read_password(
    source: &SourceText,
    name: &str,
    written: &WrittenCluster,
    env: Environment<'_>,
) -> Result<Password, Trouble> {
    let whose = format!("cluster '{name}'");
    secret(source, &whose, &written.password_env, &written.password_file, env)?.ok_or_else(|| {
        Trouble::new(
            format!("{}: {whose} has no password", source.name()),
            STATE,
            format!("name it with `password_env` or `password_file` in [clusters.{name}]"),
        )
    })
}

/// A password from where the settings say it is; `None` if they say nothing.
pub(super) fn secret(
    source: &SourceText,
    whose: &str,
    variable: &Option<Spanned<String>>,
    file: &Option<Spanned<PathBuf>>,
    env: Environment<'_>,
) -> Result<Option<Password>, Trouble> {
    match (variable, file) {
        (None, None) => Ok(None),
        (Some(variable), None) => match env(variable.get_ref()) {
            Some(value) => Ok(Some(Password::new(value.into_vec()))),
            None => Err(source.refuse(
                variable.span(),
                format!(
                    "the environment variable{} with the password of {whose} is not set",
                    shown(variable.get_ref())
                ),
                "export it for this process, or use `password_file`",
            )),
        },
        (None, Some(path)) => {
            let file = source.beside(path.get_ref());
            let mut bytes = std::fs::read(&file).map_err(|error| {
                let what = format!("cannot read the password of {whose} from {}: {error}", file.display());
                source.refuse(path.span(), what, "write the password, and nothing else, into that file")
            })?;
            // Editors and `echo` end a file with a line break; a password that really ends with one uses the variable.
            while matches!(bytes.last(), Some(b'\n' | b'\r')) {
                bytes.pop();
            }
            Ok(Some(Password::new(bytes)))
        }
        (Some(_), Some(path)) => Err(source.refuse(
            path.span(),
            format!("{whose} has both `password_env` and `password_file`"),
            "keep one of them",
        )),
    }
}

/// A variable's name, if it looks like one: a password put there by mistake must not be shown.
fn shown(variable: &str) -> String {
    let named = variable.contains('_')
        && variable.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if named { format!(" {variable}") } else { String::new() }
}
