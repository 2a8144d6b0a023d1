//! Processes that have handed their front door over and still have clients, as the files `highwater.leaving-N` of the state directory.
//!
//! A file is locked for as long as its process lives, however that ends, and says how many clients it has. It is there before the state
//! directory is let go of, and only the process that has the directory looks: so no crossing begins without knowing of clients that its
//! gate does not hold, not even after the process that had taken over was killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::Trouble;

use crate::control::LeavingView;

const PREFIX: &str = "highwater.leaving-";

/// This process among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Leaver {
    path: PathBuf,
    /// Locked as long as it is open.
    file: File,
}

impl Leaver {
    /// Enters this process, with so many clients. It must have the state directory.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn enter(state_dir: &Path, clients: usize) -> Result<Self, Trouble> {
        let entered = || {
            for number in 1_u32.. {
                let path = state_dir.join(format!("{PREFIX}{number}"));
                match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                    Ok(file) => {
                        let this = Self { path, file };
                        this.file.try_lock()?;
                        this.write(clients)?;
                        return Ok(this);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            Err(std::io::ErrorKind::AlreadyExists.into())
        };
        entered().map_err(|error: std::io::Error| {
            Trouble::new(
                format!("cannot note in {} that clients stay here: {error}", state_dir.display()),
                "nothing was handed over; this process goes on",
                "make `state_dir` writable, and free space on its disk",
            )
        })
    }

    /// So many clients are left.
    pub fn left(&self, clients: usize) {
        // The lock says what matters; how many is for people.
        let _ = self.write(clients);
    }

    /// Always as long as before, so that no reader sees half of one and half of another.
    fn write(&self, clients: usize) -> std::io::Result<()> {
        self.file.write_all_at(format!("{:>10} {clients:>10}\n", std::process::id()).as_bytes(), 0)
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        // Best effort: whoever has the directory removes it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Those there are. Files of processes that are gone are removed.
pub(super) fn all(state_dir: &Path) -> Vec<LeavingView> {
    let Ok(entries) = std::fs::read_dir(state_dir) else { return Vec::new() };
    let named = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(PREFIX);
    let mut all: Vec<LeavingView> =
        entries.flatten().filter(named).filter_map(|entry| of(&entry.path())).collect();
    all.sort_by_key(|one| one.pid);
    all
}

fn of(path: &Path) -> Option<LeavingView> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Ok(()) => {
            // Its process is gone.
            let _ = std::fs::remove_file(path);
            None
        }
        // One that cannot be asked for its lock may be there.
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let mut words = text.split_whitespace();
            let pid = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
            let clients = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
            Some(LeavingView { pid, clients })
        }
    }
}

/// What clients of other processes there are, in a sentence; nothing if there are none.
pub(super) fn sentence(all: &[LeavingView]) -> Option<String> {
    let one = |one: &LeavingView| match one.clients {
        1 => format!("process {} still has 1 client", one.pid),
        n => format!("process {} still has {n} clients", one.pid),
    };
    let all: Vec<String> = all.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_is_seen_until_it_is_gone_and_what_a_killed_one_left_behind_is_not() {
        let dir = std::env::temp_dir().join(format!("hw-leavers-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("highwater.leaving-2"), "1234 7\n").unwrap();
        let (first, pid) = (Leaver::enter(&dir, 12_345).unwrap(), std::process::id());
        let second = Leaver::enter(&dir, 1).unwrap();
        first.left(2);
        assert_eq!(all(&dir), [LeavingView { pid, clients: 2 }, LeavingView { pid, clients: 1 }]);
        assert_eq!(
            sentence(&all(&dir)).unwrap(),
            format!("process {pid} still has 2 clients, process {pid} still has 1 client")
        );
        drop((first, second));
        assert_eq!((all(&dir), sentence(&[])), (Vec::new(), None));
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
