//! A proof as a file: what a pass of `verify` has established of each table, and what a later pass can say of it.
//!
//! Equal sums of hashes say that a table's rows are the same, whatever happened in between. Unequal ones accuse nobody,
//! unless no change of the table can have passed since: `docs/operating/verifying.md` says when that is known.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use migrate::{ROW_HASH, Renames, RowSum, TableVerdict, Verification};
use model::{GtidSet, TableName, Trouble};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What to do about a file that is no proof.
const WRITTEN: &str = "name a file that `highwater verify --proof FILE` wrote";

fn refused(what: String, hint: &str) -> Trouble {
    Trouble::new(what, "nothing was compared", hint)
}

/// The number of the file's form.
const FORM: u64 = 1;

/// What was proven of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// The number of the file's form; by its name a proof is known.
    highwater_proof: u64,
    /// How rows were hashed.
    row_hash: String,
    /// The move.
    #[serde(rename = "move")]
    move_name: String,
    /// Its tables.
    tables: Vec<ProvenTable>,
}

/// What was proven of a table: that source and target had the same rows, and what these come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvenTable {
    table: TableName,
    rows: u64,
    ranges: u64,
    hash: RowSum,
    /// What was applied when its comparison began and ended: each range was compared as of a position in between.
    begun_at: GtidSet,
    as_of: GtidSet,
    ended_unix_s: u64,
}

/// A table's name as the settings have it, whichever way the rows flow: a pass names it as the side that follows does.
fn named(renames: &Renames, table: &TableName) -> TableName {
    TableName::new(renames.on_source(&table.schema), table.table.as_str())
}

impl ProofFile {
    /// The proof that a pass has made, if it found every row equal. A table that the pass did not sum up, because a statement
    /// has added it since, is not in it.
    pub fn of(move_name: &str, renames: &Renames, verification: &Verification) -> Option<Self> {
        if verification.different > 0 || verification.newest.is_some() {
            return None;
        }
        let proven = |t: &TableVerdict| {
            Some(ProvenTable {
                table: named(renames, &t.table),
                rows: t.rows,
                ranges: t.ranges,
                hash: t.hash?,
                begun_at: t.begun_at.clone(),
                as_of: t.as_of.clone(),
                ended_unix_s: t.ended_unix_s,
            })
        };
        Some(Self {
            highwater_proof: FORM,
            row_hash: ROW_HASH.to_owned(),
            move_name: move_name.to_owned(),
            tables: verification.tables.iter().filter_map(proven).collect(),
        })
    }

    /// Reads the proof of a move.
    ///
    /// # Errors
    /// If the file cannot be read, is no proof, or is one that cannot be compared with what this version proves of this move.
    pub fn read(path: &Path, move_name: &str) -> Result<Self, Trouble> {
        let shown = path.display();
        let text = fs::read(path)
            .map_err(|error| refused(format!("cannot read the proof {shown}: {error}"), WRITTEN))?;
        Self::parse(&text, path, move_name)
    }

    /// As [`ProofFile::read`], from what the file holds.
    pub(crate) fn parse(text: &[u8], path: &Path, move_name: &str) -> Result<Self, Trouble> {
        let shown = path.display();
        let written = WRITTEN;
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| refused(format!("{shown} is no proof: {error}"), written))?;
        let again = "write a new one with this version: `highwater verify --proof FILE`";
        match value.get("highwater_proof").and_then(Value::as_u64) {
            Some(FORM) => {}
            Some(form) => {
                return Err(refused(format!("{shown} is a proof of form {form}, not {FORM}"), again));
            }
            None => return Err(refused(format!("{shown} is no proof of highwater"), written)),
        }
        let proof: Self = serde_json::from_value(value)
            .map_err(|error| refused(format!("the proof {shown} cannot be understood: {error}"), written))?;
        if proof.row_hash != ROW_HASH {
            return Err(refused(format!("{shown} has hashes made another way: {}", proof.row_hash), again));
        }
        if proof.move_name != move_name {
            let what = format!("{shown} is a proof of move '{}', not of '{move_name}'", proof.move_name);
            return Err(refused(
                what,
                "name the proof of this move, or with `--move` the move of this proof",
            ));
        }
        Ok(proof)
    }

    /// What a later pass says of each table.
    pub fn compared_with(&self, renames: &Renames, now: &Verification) -> Comparison {
        let of = |name: &TableName| now.tables.iter().find(|t| named(renames, &t.table) == *name);
        let mut tables: Vec<ComparedTable> = self
            .tables
            .iter()
            .map(|then| match of(&then.table) {
                Some(verdict) => ComparedTable {
                    table: then.table.clone(),
                    rows_then: Some(then.rows),
                    rows_now: Some(verdict.rows),
                    verdict: then.compared_with(verdict, &now.watched_since),
                },
                None => ComparedTable {
                    table: then.table.clone(),
                    rows_then: Some(then.rows),
                    rows_now: None,
                    verdict: Since::Gone,
                },
            })
            .collect();
        let is_new =
            |t: &&TableVerdict| !self.tables.iter().any(|then| then.table == named(renames, &t.table));
        tables.extend(now.tables.iter().filter(is_new).map(|t| ComparedTable {
            table: named(renames, &t.table),
            rows_then: None,
            rows_now: Some(t.rows),
            verdict: Since::New,
        }));
        tables.sort_by(|a, b| a.table.cmp(&b.table));
        Comparison { tables, same_stream: self.tables.iter().all(|then| now.as_of.contains(&then.as_of)) }
    }
}

impl ProvenTable {
    /// `watched_since`: what was applied when the running process began to see which tables the stream changes.
    fn compared_with(&self, now: &TableVerdict, watched_since: &GtidSet) -> Since {
        // From before the earlier comparison's first range on, every change was seen, and there was none.
        let unchanged = self.begun_at.contains(watched_since) && self.begun_at.contains(&now.last_change);
        let Some(hash) = now.hash else { return Since::MayHaveChanged };
        match (self.rows, self.hash) == (now.rows, hash) {
            true => Since::Same,
            false if unchanged => Since::Different,
            false => Since::MayHaveChanged,
        }
    }
}

/// What a pass says of an earlier proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Per table.
    pub tables: Vec<ComparedTable>,
    /// Whether everything applied at the time of the proof is among what is applied now. If not, traffic has moved to the
    /// other side since, or the proof is of other servers.
    pub same_stream: bool,
}

impl Comparison {
    /// Tables of which one of the two must be wrong.
    pub fn different(&self) -> impl Iterator<Item = &ComparedTable> {
        self.tables.iter().filter(|t| t.verdict == Since::Different)
    }
}

/// What a pass says of a table of an earlier proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedTable {
    /// The table.
    pub table: TableName,
    /// Its rows as of the proof.
    pub rows_then: Option<u64>,
    /// Its rows now.
    pub rows_now: Option<u64>,
    /// What that comes to.
    pub verdict: Since,
}

/// What has become of a table since a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// It has the same rows.
    Same,
    /// It has other rows, and the stream has, or may have, brought changes to it.
    MayHaveChanged,
    /// It has other rows, and the stream has brought no change to it.
    Different,
    /// The proof does not have it.
    New,
    /// The move does not have it any more.
    Gone,
}

/// A proof's file that is begun: that it can be written is known before the pass, and a file there is stays until then.
#[derive(Debug)]
pub struct Unwritten {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        // Once it is written it has another name.
        let _ = fs::remove_file(&self.part);
    }
}

impl Unwritten {
    /// Begins the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(path: &Path) -> Result<Self, Trouble> {
        // What is there may be a link.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let regular = !path.exists() || path.is_file();
        let file = match regular && !name.is_empty() {
            true => File::create(&part),
            false => Err(std::io::Error::other("not a regular file")),
        };
        match file {
            Ok(file) => Ok(Self { path, part, file }),
            Err(error) => Err(unwritable(&path, &error, "nothing was compared")),
        }
    }

    /// Writes the proof in place of what is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(mut self, proof: &ProofFile) -> Result<(), Trouble> {
        let mut text = serde_json::to_vec_pretty(proof).expect("a proof has only string keys");
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_all());
        written.and_then(|()| fs::rename(&self.part, &self.path)).map_err(|error| {
            unwritable(&self.path, &error, "every row is proven equal; no proof was written")
        })
    }
}

fn unwritable(path: &Path, error: &std::io::Error, state: &str) -> Trouble {
    Trouble::new(
        format!("cannot write the proof {}: {error}", path.display()),
        state,
        "name a file in a directory that exists and that this user can write",
    )
}

#[cfg(test)]
mod tests;
