//! `highwater verify`: asks the running process to compare a move's rows, and keeps or looks at the proof of it.

use std::path::Path;

use migrate::Verification;
use model::Trouble;
use serde_json::{Value, json};

use super::Context;
use super::ask::{ask, told};
use crate::cli::VerifyArgs;
use crate::config;
use crate::control::Request;
use crate::output;
use crate::proof_file::{Comparison, ProofFile, Unwritten};

/// Asks the running process, and prints what it has found.
///
/// # Errors
/// If none runs, it cannot compare, rows differ, or a table is not what the proof says.
pub async fn run(context: &Context, args: &VerifyArgs) -> Result<(), Trouble> {
    if args.repair {
        return super::repair::run(context, args).await;
    }
    let Outcome { move_name, found, against } = told(args.one.json, verify(context, args).await)?;
    if args.one.json {
        let mut answer = json!(found);
        if let Some((_, comparison)) = &against {
            answer["against"] = json!(comparison);
        }
        output::print_json(&answer)?;
    } else {
        let mut text = output::render_verification(&move_name, &found);
        if let Some((file, comparison)) = &against {
            text.push_str(&output::render_comparison(file, comparison));
        }
        output::print(&text)?;
    }
    if found.different > 0 {
        return Err(different(&move_name, &found));
    }
    against.map_or(Ok(()), |(file, comparison)| unless_contradicted(&move_name, file, &comparison))
}

struct Outcome<'a> {
    move_name: String,
    found: Verification,
    /// The file of an earlier proof, and what the pass says of it.
    against: Option<(&'a Path, Comparison)>,
}

async fn verify<'a>(context: &Context, args: &'a VerifyArgs) -> Result<Outcome<'a>, Trouble> {
    let point = config::control_point(&context.config)?;
    let move_name = point.move_named(args.one.move_name.as_deref())?.to_owned();
    let renames = &config::renames(&context.config, &move_name)?;
    // Before the pass, which may take hours.
    let earlier = match args.against.as_deref() {
        Some(file) => Some((file, ProofFile::read(file, &move_name)?)),
        None => None,
    };
    let unwritten = args.proof.as_deref().map(Unwritten::begin).transpose()?;

    let sums = unwritten.is_some() || earlier.is_some();
    let pass = |move_name| Request::Verify { move_name, newest: args.newest, sums };
    let answer = ask(context, &args.one, pass).await?;
    let found: Verification =
        read(answer, "the rows were compared; `highwater status` shows what is proven")?;
    let against = earlier.map(|(file, proof)| (file, proof.compared_with(renames, &found)));
    // The new proof may go where the earlier one is, which is evidence if the two contradict each other.
    let contradicted =
        against.as_ref().is_some_and(|(_, comparison)| comparison.different().next().is_some());
    if let (Some(unwritten), Some(proof), false) =
        (unwritten, ProofFile::of(&move_name, renames, &found), contradicted)
    {
        unwritten.write(&proof)?;
    }
    Ok(Outcome { move_name, found, against })
}

/// An answer of the running process as what it should be.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: Value, state: &str) -> Result<T, Trouble> {
    serde_json::from_value(answer).map_err(|error| {
        Trouble::new(
            format!("the answer cannot be read: {error}"),
            state,
            "use the same version of highwater as the running process",
        )
    })
}

fn different(name: &str, found: &Verification) -> Trouble {
    let tables = found.tables.iter().filter(|t| t.different > 0);
    let tables: Vec<String> = tables.map(|t| format!("{} of {}", t.different, t.table)).collect();
    Trouble::new(
        format!("{} rows of move '{name}' differ: {}", found.different, tables.join(", ")),
        "traffic is where it was; the move goes on, and its cutover is refused while rows differ; \
         no proof file was written",
        "find out who writes to the target, then run `highwater verify --repair`",
    )
}

fn unless_contradicted(name: &str, file: &Path, comparison: &Comparison) -> Result<(), Trouble> {
    let tables: Vec<String> = comparison.different().map(|t| t.table.to_string()).collect();
    if tables.is_empty() {
        return Ok(());
    }
    Err(Trouble::new(
        format!(
            "tables of move '{name}' are not what {} says, and no change of them has passed since: {}",
            file.display(),
            tables.join(", ")
        ),
        "both servers have the same rows now, and traffic is where it was; no proof file was written",
        "find out who changed both servers past the binary log (SET sql_log_bin = 0), or who changed the file",
    ))
}
