//! What the settings send to clusters of their own: schemas, and accounts.

use std::collections::BTreeMap;

use migrate::Fence;
use model::Trouble;
use toml::Spanned;

use super::resolve::known_cluster;
use super::resolved::MoveConfig;
use super::source_text::SourceText;
use super::written::{WrittenFrontDoor, WrittenMove};

/// Schemas that every server has of its own, or that are ours.
pub(super) const NOT_ROUTED: [&str; 5] =
    ["mysql", "sys", "information_schema", "performance_schema", "highwater"];

/// Whether a schema's name is found in any statement that names it, whatever the client's character set.
pub(super) fn is_plain(schema: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'-');
    !schema.is_empty() && schema.len() <= 64 && schema.bytes().all(plain)
}

/// `[front_door.schemas]`
///
/// # Errors
/// If a cluster is not known, a schema cannot have a route, has two, or goes with a move, which says where it is.
pub fn schemas(
    source: &SourceText,
    door: &WrittenFrontDoor,
    moves: &[MoveConfig],
    clusters: &[&str],
) -> Result<BTreeMap<String, String>, Trouble> {
    let mut routes: BTreeMap<String, String> = BTreeMap::new();
    for (schema, cluster) in &door.schemas {
        let refuse = |what: String, hint: &str| Err(source.refuse(schema.span(), what, hint));
        let name = schema.get_ref();
        if !is_plain(name) || NOT_ROUTED.contains(&name.to_ascii_lowercase().as_str()) {
            return refuse(
                format!("schema '{name}' cannot have a route of its own"),
                "name schemas of the application, of 1 to 64 ASCII letters, digits, `_`, `$` and `-`",
            );
        }
        if let Some(other) = routes.keys().find(|other| other.eq_ignore_ascii_case(name)) {
            return refuse(
                format!("schemas '{other}' and '{name}' would be one route"),
                "the front door tells schemas apart without regard to case; keep one of them",
            );
        }
        let takes = |m: &&MoveConfig| m.spec.tables.iter().any(|t| t.schema.eq_ignore_ascii_case(name));
        if let Some(taker) = moves.iter().find(takes) {
            return refuse(
                format!("schema '{name}' goes with move '{}', which says where it is", taker.spec.name),
                "remove it from [front_door.schemas]",
            );
        }
        routes.insert(name.clone(), known_cluster(source, cluster, clusters)?.to_owned());
    }
    Ok(routes)
}

/// `cluster` of `[front_door.users.NAME]`
///
/// # Errors
/// If it is not known, or tables move away from there: the account would go on using what is left behind.
pub fn users(
    source: &SourceText,
    door: &WrittenFrontDoor,
    moves: &[MoveConfig],
    clusters: &[&str],
) -> Result<BTreeMap<String, String>, Trouble> {
    let mut routes = BTreeMap::new();
    for (user, rule) in &door.users {
        let Some(cluster) = &rule.get_ref().cluster else { continue };
        let name = known_cluster(source, cluster, clusters)?;
        if let Some(taker) = moves.iter().find(|m| m.users.contains(user)) {
            return Err(source.refuse(
                cluster.span(),
                format!("account '{user}' goes with move '{}', which says where it is", taker.spec.name),
                format!("remove `cluster` from [front_door.users.{user}]"),
            ));
        }
        if let Some(leaves) = moves.iter().find(|m| m.source == name) {
            return Err(source.refuse(
                cluster.span(),
                format!(
                    "account '{user}' would stay on cluster '{name}' when move '{}' takes its tables from there",
                    leaves.spec.name
                ),
                "remove the rule: its schemas lead the account there, and along",
            ));
        }
        routes.insert(user.clone(), name.to_owned());
    }
    Ok(routes)
}

/// `users` of a move: the accounts whose clients go along.
///
/// # Errors
/// If one is no name of an account, or others would be stopped by the fence all the same.
pub fn users_of_move(source: &SourceText, name: &str, written: &WrittenMove) -> Result<Vec<String>, Trouble> {
    let Some(users) = written.users.as_ref().filter(|users| !users.get_ref().is_empty()) else {
        return Ok(Vec::new());
    };
    let refuse = |what: String, hint: &str| Err(source.refuse(users.span(), what, hint));
    if written.fence == Fence::Server {
        return refuse(
            format!(
                "move '{name}' has `users`, and its fence closes the whole server for everybody else too"
            ),
            "set `fence` to what closes only what moves, or remove `users`: then all clients go along",
        );
    }
    // 32 characters is the most a server takes.
    let no_name = |user: &&String| user.contains('@') || !(1..=32).contains(&user.chars().count());
    if let Some(odd) = users.get_ref().iter().find(no_name) {
        return refuse(
            format!("'{odd}' in `users` of move '{name}' is not the name of an account"),
            "write the name alone, without a host: the front door tells clients apart by it",
        );
    }
    let mut users = users.get_ref().clone();
    users.sort();
    users.dedup();
    Ok(users)
}

/// The clients of an account are in one place.
///
/// # Errors
/// If two moves take them along.
pub fn refuse_shared_users(
    source: &SourceText,
    written: &BTreeMap<String, Spanned<WrittenMove>>,
    moves: &[MoveConfig],
) -> Result<(), Trouble> {
    for (index, one) in moves.iter().enumerate() {
        for other in &moves[..index] {
            let Some(shared) = one.users.iter().find(|user| other.users.contains(user)) else { continue };
            let written = written[&one.spec.name].get_ref();
            let span = written.users.as_ref().map_or_else(|| written.source.span(), Spanned::span);
            return Err(source.refuse(
                span,
                format!(
                    "moves '{}' and '{}' both take account '{shared}' along",
                    other.spec.name, one.spec.name
                ),
                "let each account go with one move only, or all of its tables with one",
            ));
        }
    }
    Ok(())
}
