//! The folder a node lives in: made fresh, removed with the node, swept up later if its owner was killed.
//!
//! A process holds a file lock in the folder of every node it owns. So a folder whose lock nobody holds has lost its
//! owner, and the next node made beside it removes it: a data folder is some 200 MB, and tests kill processes a lot.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, io};

use crate::{NodeOptions, SandboxError};

/// The system's limit for the path of a Unix socket, less the final zero byte.
const SOCKET_PATH_MAX: usize = 107;
const PREFIX: &str = "highwater-";
const OWNER: &str = "owner.lock";

/// A node's folder, removed when dropped unless `HIGHWATER_KEEP` is set.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    socket: PathBuf,
    /// None: it is to be kept.
    owner: Option<File>,
}

impl Folder {
    pub(crate) fn fresh(options: &NodeOptions) -> Result<Self, SandboxError> {
        let base = options.dir.clone().unwrap_or_else(env::temp_dir);
        make(&base, &options.name)
            .map_err(|source| SandboxError::io(format!("make a folder in {}", base.display()), &source))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the server's socket goes: in the folder, or under /tmp where that path would be too long for a socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.owner.is_none() {
            return;
        }
        // Nobody is left to tell, and what remains is a folder among temporary files.
        let _ = fs::remove_dir_all(&self.path);
        if let Some(elsewhere) = self.socket.parent().filter(|folder| *folder != self.path) {
            let _ = fs::remove_dir_all(elsewhere);
        }
    }
}

fn make(base: &Path, name: &str) -> io::Result<Folder> {
    fs::create_dir_all(base)?;
    // Absolute: a server takes relative paths from its data folder.
    let base = base.canonicalize()?;
    sweep(&base)?;
    let word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(24).collect();
    let path = loop {
        let path = base.join(format!("{PREFIX}{word}-{}", unique()));
        match fs::create_dir(&path) {
            Ok(()) => break path,
            // Left by, or kept for, an earlier process with our id.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(source),
        }
    };
    let owner = if env::var_os("HIGHWATER_KEEP").is_some() { None } else { Some(own(&path)?) };
    let mut socket = path.join("mysql.sock");
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        let short = PathBuf::from(format!("/tmp/hw-{}", unique()));
        fs::create_dir_all(&short)?;
        socket = short.join("mysql.sock");
    }
    Ok(Folder { path, socket, owner })
}

/// Takes the folder's lock. It gets its name only once it is held, so that a sweep never meets it unheld.
fn own(folder: &Path) -> io::Result<File> {
    let aside = folder.join("owner.new");
    let lock = File::create(&aside)?;
    lock.lock()?;
    fs::rename(aside, folder.join(OWNER))?;
    Ok(lock)
}

/// Removes the folders beside ours whose owners are gone.
fn sweep(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // Not there, not ours to open, or just being removed: somebody else's business.
        let Ok(lock) = File::open(entry.path().join(OWNER)) else { continue };
        if lock.try_lock().is_ok() {
            // Two sweeps may meet here; what one leaves the other takes.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// A word that no other folder of this machine's living processes has in its name.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(base: &Path) -> NodeOptions {
        NodeOptions::new("a b/c").dir(base)
    }

    #[test]
    fn a_folder_whose_owner_is_gone_is_swept_and_others_stay() {
        let base = env::temp_dir().join(format!("sandbox-sweep-{}", unique()));
        let owned = Folder::fresh(&options(&base)).unwrap();
        let orphan = base.join("highwater-orphan-1-1");
        let kept = base.join("highwater-kept-1-2");
        fs::create_dir_all(&orphan).unwrap();
        fs::create_dir_all(&kept).unwrap();
        fs::write(orphan.join(OWNER), "").unwrap();

        let second = Folder::fresh(&options(&base)).unwrap();
        assert!(!orphan.exists());
        assert!(kept.exists() && owned.path().exists() && second.path().exists());
        let gone = owned.path().to_owned();
        drop(owned);
        assert!(!gone.exists());
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_socket_path_that_would_be_too_long_moves() {
        let base = env::temp_dir().join(format!("sandbox-long-{}", unique()));
        let deep = base.join("x".repeat(100));
        let folder = Folder::fresh(&options(&deep)).unwrap();
        assert!(folder.socket().as_os_str().len() <= SOCKET_PATH_MAX);
        let elsewhere = folder.socket().parent().unwrap().to_owned();
        assert!(elsewhere.exists());
        drop(folder);
        assert!(!elsewhere.exists());
        fs::remove_dir_all(base).unwrap();
    }
}
