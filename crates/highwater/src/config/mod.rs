//! The settings: `highwater.toml` as written, checked once, and resolved into what each part of the program receives.
//!
//! ```text
//! text -> known_keys (no key is guessed at) -> written (types) -> resolve (cross-checks, secrets) -> ResolvedConfig
//! ```
//! Invariant: nothing after [`load`] reads the file or the environment again, and no password ever leaves
//! [`mysql::Password`].

mod duration;
mod entrance;
mod known_keys;
pub(crate) mod memory;
mod renames;
mod resolve;
mod resolved;
mod routes;
mod source_text;
mod tls;
mod written;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use migrate::Renames;
use model::Trouble;

pub use duration::parse as parse_duration;
pub use resolved::{
    ClusterConfig, CopyOptions, CutoverOptions, FrontDoorOptions, MoveConfig, MoveRoute, Pinned,
    ResolvedConfig, ThrottleOptions,
};

use source_text::SourceText;
use written::WrittenConfig;

/// The file `highwater init` writes: every key with its default and what it does.
pub const TEMPLATE: &str = include_str!("highwater.toml");

/// Reads, checks and resolves the settings, passwords included.
///
/// # Errors
/// The first thing that is not right, with the file and line where it is.
pub fn load(file: &Path) -> Result<ResolvedConfig, Trouble> {
    let source = SourceText::read(file)?;
    resolve::resolve(&source, read_written(&source)?, &|variable| std::env::var_os(variable))
}

/// As [`load`], from the text, with every environment variable set to the same; a file that it names by a relative path
/// is not there.
pub(crate) fn load_text(text: &str) -> Result<ResolvedConfig, Trouble> {
    let source = SourceText::new(Path::new("/nowhere/highwater.toml"), text);
    resolve::resolve(&source, read_written(&source)?, &|_| Some("secret".into()))
}

/// Where the running process is asked, and for which moves; read without the passwords, which a shell that only asks
/// need not have.
#[derive(Debug, Clone)]
pub struct ControlPoint {
    /// The directory of the journal and the control socket.
    pub state_dir: PathBuf,
    /// The names of the moves in the settings, sorted.
    pub moves: Vec<String>,
}

impl ControlPoint {
    /// The name of the move an operator means; without a name, the only one there is.
    ///
    /// # Errors
    /// If there is no such move, or several and none was named.
    pub fn move_named(&self, wanted: Option<&str>) -> Result<&str, Trouble> {
        let names: Vec<&str> = self.moves.iter().map(String::as_str).collect();
        choose_move(&names, wanted)
    }
}

/// Reads only what is needed to ask the running process.
///
/// # Errors
/// If the file is missing or is not a settings file.
pub fn control_point(file: &Path) -> Result<ControlPoint, Trouble> {
    let source = SourceText::read(file)?;
    let written = read_written(&source)?;
    Ok(ControlPoint {
        state_dir: source.beside(&written.state_dir),
        moves: written.moves.into_keys().collect(),
    })
}

/// The schemas of a move that have another name on the target.
///
/// # Errors
/// If the file is missing or is not a settings file, or they cannot have these names.
pub fn renames(file: &Path, move_name: &str) -> Result<Renames, Trouble> {
    let source = SourceText::read(file)?;
    match read_written(&source)?.moves.get(move_name) {
        Some(one) => renames::resolve(&source, move_name, one.get_ref()),
        None => Ok(Renames::default()),
    }
}

/// A complaint about settings that a running process was to go on with: it goes on with those it has.
pub fn still_in_force(trouble: Trouble) -> Trouble {
    let state = "nothing was changed; the settings read before stay in force";
    Trouble::new(trouble.what, state, trouble.hint)
}

fn read_written(source: &SourceText) -> Result<WrittenConfig, Trouble> {
    known_keys::check(source)?;
    toml::from_str(&source.text).map_err(|error| source.unreadable(&error))
}

/// Where the value of an environment variable comes from; the environment itself, except in tests.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn choose_move<'a>(names: &[&'a str], wanted: Option<&str>) -> Result<&'a str, Trouble> {
    const STATE: &str = "nothing was started";
    let listed = names.join(", ");
    match (wanted, names) {
        (_, []) => Err(Trouble::new(
            "the settings hold no move",
            STATE,
            "add a `[moves.NAME]` table; `highwater init` writes an example",
        )),
        (Some(wanted), _) => names.iter().find(|name| **name == wanted).copied().ok_or_else(|| {
            Trouble::new(format!("there is no move '{wanted}'"), STATE, format!("the moves are: {listed}"))
        }),
        (None, [only]) => Ok(only),
        (None, _) => Err(Trouble::new(
            "the settings hold several moves, and none was named",
            STATE,
            format!("add `--move NAME`; the moves are: {listed}"),
        )),
    }
}

#[cfg(test)]
mod tests;
