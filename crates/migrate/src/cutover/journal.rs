//! The journal of a move: its events, one JSON object a line, on disk before they are acted upon.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use model::Trouble;
use serde::{Deserialize, Serialize};

use super::{Event, State};

/// A move's journal, open for appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
    state: State,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    at_ms: u64,
    #[serde(flatten)]
    event: Event,
}

impl Journal {
    /// Opens or creates a journal and folds it into the state it leads to. A last line cut short by a crash was never
    /// acted upon and is removed.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is not the journal of a move.
    pub fn open(path: &Path) -> Result<Self, Trouble> {
        let refuse = |what: String| {
            let hint = format!("see that {} is readable, writable and was not edited", path.display());
            Trouble::new(what, "nothing was changed", hint)
        };
        let failed = |e: std::io::Error| refuse(format!("cannot open the journal {}: {e}", path.display()));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        // As bytes: what is cut short may end within a character.
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;

        let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        let mut state = State::default();
        for (i, line) in text[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
            let bad = |e: String| refuse(format!("line {} of {} cannot be used: {e}", i + 1, path.display()));
            let entry: Entry = serde_json::from_slice(line).map_err(|e| bad(e.to_string()))?;
            state = state.next(&entry.event).map_err(|e| bad(e.to_string()))?;
        }
        // Last: in a file that is no journal nothing is cut off.
        if whole < text.len() {
            file.set_len(whole as u64).map_err(failed)?;
        }
        Ok(Self { path: path.to_owned(), file, len: whole as u64, state })
    }

    /// Where the move stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Records an event; only when this returns may it be acted upon.
    ///
    /// # Errors
    /// If the disk refuses; the event then counts as not having happened.
    pub fn record(&mut self, event: Event) -> Result<(), Trouble> {
        let next =
            self.state.next(&event).unwrap_or_else(|e| panic!("the driver and the journal disagree: {e}"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Entry { at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), event };
        let mut line =
            serde_json::to_vec(&entry).unwrap_or_else(|e| panic!("an event always has a JSON form: {e}"));
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // The line may be on disk all the same; what the caller is told did not happen must not be found there.
            let cut = self.file.set_len(self.len).and_then(|()| self.file.sync_data());
            let state = match cut {
                Ok(()) => "the step it was about was not taken",
                Err(_) => {
                    "the step it was about was not taken, but may stand in the journal: look at its last line"
                }
            };
            let what = format!("cannot write the journal {}: {error}", self.path.display());
            return Err(Trouble::new(what, state, "free space on the disk that holds `state_dir`"));
        }
        self.len += line.len() as u64;
        self.state = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::super::state::Step;
    use super::*;

    #[test]
    fn wherever_a_crash_cuts_a_line_short_even_within_a_character_what_is_before_it_counts() {
        let path = std::env::temp_dir().join(format!("highwater-journal-cut-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut journal = Journal::open(&path).unwrap();
        journal.record(Event::Entered { phase: Phase::Hold }).unwrap();
        let before = journal.len as usize;
        journal.record(Event::Aborted { reason: "Tabelle `größe`".into() }).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for n in before..whole.len() {
            std::fs::write(&path, &whole[..n]).unwrap();
            let state = Journal::open(&path).unwrap_or_else(|e| panic!("cut at {n}: {e:?}")).state;
            assert_eq!(state.step, Step::Crossing(Phase::Hold));
            assert_eq!(std::fs::read(&path).unwrap(), whole[..before]);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_line_cut_short_by_a_crash_never_happened() {
        let path = std::env::temp_dir().join(format!("highwater-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut journal = Journal::open(&path).unwrap();
        journal.record(Event::Entered { phase: Phase::Hold }).unwrap();
        drop(journal);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at_ms\":1,\"ev").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.state().step, Step::Crossing(Phase::Hold));
        journal.record(Event::Aborted { reason: "restart".into() }).unwrap();
        assert_eq!(Journal::open(&path).unwrap().state().step, Step::Steady);
        std::fs::write(&path, "{\"at_ms\":1,\"event\":\"completed\"}\n").unwrap();
        assert!(Journal::open(&path).unwrap_err().what.contains("line 1"));
        std::fs::remove_file(&path).unwrap();
    }
}
