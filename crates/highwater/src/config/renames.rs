//! `rename` of a move: schemas that have another name on the target.

use std::collections::BTreeMap;

use migrate::Renames;
use model::Trouble;
use toml::Spanned;

use super::resolve::overlap;
use super::resolved::MoveConfig;
use super::routes::{NOT_ROUTED, is_plain};
use super::source_text::SourceText;
use super::written::{WrittenConfig, WrittenMove};

/// The new names of a move.
///
/// # Errors
/// If the move does not take such a schema, a name is not one that is found in every statement, or two schemas would have
/// the same.
pub fn resolve(source: &SourceText, name: &str, written: &WrittenMove) -> Result<Renames, Trouble> {
    let mut taken: Vec<&str> = written.tables.get_ref().iter().map(|table| table.0.schema.as_str()).collect();
    taken.dedup();
    let mut renamed: Vec<(&str, &str)> = Vec::new();
    for (here, there) in &written.rename {
        let (span, here, there) = (there.span(), here.get_ref().as_str(), there.get_ref().as_str());
        if here == there {
            continue;
        }
        if !taken.contains(&here) {
            return Err(source.refuse(
                span,
                format!("move '{name}' renames schema '{here}', which it does not take"),
                format!("its `tables` names {}", taken.join(", ")),
            ));
        }
        // What is written anew for the target is found by these names, whatever the character set it is written in.
        let odd = |one: &&str| !is_plain(one) || NOT_ROUTED.contains(&one.to_ascii_lowercase().as_str());
        if let Some(odd) = [here, there].into_iter().find(odd) {
            return Err(source.refuse(
                span,
                format!("'{odd}' cannot be the name of a schema that moves and has two"),
                "both names are of 1 to 64 ASCII letters, digits, `_`, `$` and `-`, and no schema of the server's own",
            ));
        }
        let each_its_own = "give each schema a name of its own on the target";
        if let Some((other, _)) = renamed.iter().find(|(_, other)| other.eq_ignore_ascii_case(there)) {
            let what = format!("move '{name}' gives schemas '{other}' and '{here}' one name, '{there}'");
            return Err(source.refuse(span, what, each_its_own));
        }
        if taken.iter().any(|other| other.eq_ignore_ascii_case(there)) {
            let what = format!(
                "move '{name}' gives schema '{here}' the name '{there}', a name that another schema of its own has"
            );
            return Err(source.refuse(span, what, each_its_own));
        }
        renamed.push((here, there));
    }
    Ok(Renames::new(renamed.into_iter().map(|(here, there)| (here.to_owned(), there.to_owned()))))
}

/// Two moves that would bring their rows to one table.
///
/// # Errors
/// If there are such, and one of them renames what it brings there.
pub fn refuse_shared(
    source: &SourceText,
    written: &BTreeMap<String, Spanned<WrittenMove>>,
    moves: &[MoveConfig],
) -> Result<(), Trouble> {
    for (index, one) in moves.iter().enumerate() {
        let renames = |other: &&MoveConfig| !one.spec.renames.is_empty() || !other.spec.renames.is_empty();
        for other in moves[..index].iter().filter(|other| other.target == one.target).filter(renames) {
            let (here, there) = (one.spec.reversed().tables, other.spec.reversed().tables);
            let Some(shared) = here.iter().find(|a| there.iter().any(|b| overlap(a, b))) else { continue };
            let table = shared
                .table
                .as_deref()
                .or_else(|| there.iter().find(|b| overlap(shared, b)).and_then(|b| b.table.as_deref()));
            return Err(source.refuse(
                written[&one.spec.name].get_ref().tables.span(),
                format!(
                    "moves '{}' and '{}' both bring {}.{} to cluster '{}'",
                    other.spec.name,
                    one.spec.name,
                    shared.schema,
                    table.unwrap_or("*"),
                    one.target
                ),
                "give the schema another name there, with the move's `rename`",
            ));
        }
    }
    Ok(())
}

/// Clients of the front door go on speaking of the schema that they know, which would not be there.
///
/// # Errors
/// If there is a front door, and a schema has another name behind it.
pub fn refuse_door(
    source: &SourceText,
    written: &WrittenConfig,
    moves: &[MoveConfig],
) -> Result<(), Trouble> {
    let Some(one) = moves.iter().find(|one| written.front_door.enabled && !one.spec.renames.is_empty())
    else {
        return Ok(());
    };
    let rename = &written.moves[&one.spec.name].get_ref().rename;
    let span =
        rename.iter().find(|(here, there)| here.get_ref() != there.get_ref()).map(|(_, there)| there.span());
    Err(source.refuse(
        span.unwrap_or_default(),
        format!(
            "move '{}' renames a schema, and the front door cannot change names in clients' statements",
            one.spec.name
        ),
        "set `front_door.enabled = false`: the application changes the schema in its settings together with the address, in a \
         hook of the cutover",
    ))
}
