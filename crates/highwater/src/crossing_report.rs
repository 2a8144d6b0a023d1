//! What is left of a crossing or a rehearsal: `state_dir/NAME-cutover-N.json` for programs, `.html` for people.
//!
//! Also of one that was given up, as soon as clients were held for it. N counts the files of a move, from 1. The page needs
//! nothing else: no script, no font, no address.

mod page;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use migrate::cutover::{CrossingRecord, CrossingReport, RehearsalReport, Run};
use model::Trouble;
use serde::{Deserialize, Serialize};

/// What hooks print may be nobody else's business.
const MODE: u32 = 0o600;

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileOf {
    /// The version of the program that wrote it.
    pub version: String,
    /// The move.
    #[serde(rename = "move")]
    pub move_name: String,
    /// Which of the move's reports it is.
    pub number: u64,
    /// What was run.
    pub run: Run,
    /// The user who asked for it.
    pub asked_by: String,
    /// Whether that user, or the settings, let clients be closed that could not be moved.
    pub closed_pinned: bool,
    /// Whether that user accepted that not everything is proven.
    pub accepts_unproven: bool,
    /// The side that served: name and address.
    pub from: String,
    /// The other side.
    pub to: String,
    /// When it was asked for, in milliseconds since 1970, UTC.
    pub begun_unix_ms: u64,
    /// How it ended.
    pub end: End,
    /// How long the front door's clients were held; none if there is no front door.
    pub stall: Option<Stall>,
    /// What it did.
    pub record: CrossingRecord,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Traffic has moved.
    Crossed(CrossingReport),
    /// It went as far as the switch, and was put back.
    Rehearsed(RehearsalReport),
    /// It was given up, or is stuck: the trouble says in what state.
    GivenUp(Trouble),
}

impl End {
    /// Traffic has moved.
    pub fn crossed(report: &CrossingReport) -> Self {
        Self::Crossed(report.clone())
    }

    /// It went as far as the switch.
    pub fn rehearsed(report: &RehearsalReport) -> Self {
        Self::Rehearsed(report.clone())
    }

    /// It did not end well.
    pub fn given_up(trouble: &Trouble) -> Self {
        Self::GivenUp(trouble.clone())
    }

    /// What the operator accepted although it was not proven.
    pub fn accepted(&self) -> &[String] {
        match self {
            Self::Crossed(report) => &report.accepted_unproven,
            Self::Rehearsed(report) => &report.accepted_unproven,
            Self::GivenUp(_) => &[],
        }
    }

    /// Hooks that failed when nothing could be done about it.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Crossed(report) => &report.warnings,
            Self::Rehearsed(_) | Self::GivenUp(_) => &[],
        }
    }
}

/// How long clients' statements were held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// How many were.
    pub statements: u64,
    /// The longest, in milliseconds.
    pub longest_ms: f64,
    /// By length.
    pub steps: Vec<Step>,
}

/// Statements held up to so long, and longer than the step before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// In milliseconds; none for all that are longer.
    pub up_to_ms: Option<f64>,
    /// How many.
    pub statements: u64,
}

/// Now, in milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl FileOf {
    /// Writes both files under the next number, readable for this user only, and returns the page's path.
    ///
    /// # Errors
    /// If they cannot be written; the crossing is done all the same.
    pub fn write(mut self, state_dir: &Path) -> Result<PathBuf, Trouble> {
        let (mut json, path) = self.claim(state_dir).map_err(|e| self.unwritten(state_dir, &e))?;
        let mut text = serde_json::to_vec_pretty(&self).map_err(|e| self.unwritten(&path, &e.into()))?;
        text.push(b'\n');
        json.write_all(&text).map_err(|e| self.unwritten(&path, &e))?;
        let page = path.with_extension("html");
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&page);
        written
            .and_then(|mut file| file.write_all(page::page(&self).as_bytes()))
            .map_err(|e| self.unwritten(&page, &e))?;
        Ok(page)
    }

    /// Creates the JSON file of the first number that is free: reports are never written over.
    fn claim(&mut self, state_dir: &Path) -> std::io::Result<(File, PathBuf)> {
        for number in 1.. {
            let path = state_dir.join(format!("{}-cutover-{number}.json", self.move_name));
            match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path) {
                Ok(file) => {
                    self.number = number;
                    return Ok((file, path));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn unwritten(&self, path: &Path, error: &std::io::Error) -> Trouble {
        Trouble::new(
            format!("the report of this {} cannot be written to {}: {error}", self.run, path.display()),
            "what was done is done, and in the journal",
            "free space on the disk that holds `state_dir`, and see that this user can write there",
        )
    }
}

#[cfg(test)]
mod tests;
