//! A disk of its own for one server, small enough to be filled: a file system in memory, seen by nobody but the server and us.
//!
//! It is mounted in a mount namespace of its own, that of an ordinary user's if need be, and a process that does nothing (`cat`)
//! holds the namespace, so that what is on the disk outlives `kill -9` of the server. That process reads from a pipe of ours and ends
//! when we do, however we end; with it and the server goes the mount. Nothing is ever left to unmount.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::launch;
use crate::mysqld::on_path;
use crate::{SandboxError, folder};

/// What takes up the room that is left.
const BALLAST: &str = "ballast";
/// Of memory that a file system hands out at once.
const PAGE: usize = 4096;

/// How `unshare` gets a namespace in which we may mount, and how `nsenter` follows it there.
#[derive(Debug, Clone, Copy)]
struct Way {
    unshare: &'static [&'static str],
    nsenter: &'static [&'static str],
}

/// The superuser's: no user's namespace is needed, which some machines do not give to anyone.
const AS_ROOT: Way = Way { unshare: &["--mount"], nsenter: &["--mount"] };
const AS_ANYONE: Way = Way {
    unshare: &["--map-root-user", "--mount"],
    nsenter: &["--user", "--preserve-credentials", "--mount"],
};

/// A file system of a fixed size; gone when dropped, unless a server still runs on it.
#[derive(Debug)]
pub struct Disk {
    holder: Child,
    way: Way,
    at: PathBuf,
}

impl Disk {
    /// Whether this machine lets us have such a disk: util-linux's `unshare` and `nsenter`, and a kernel that gives us a namespace.
    ///
    /// # Errors
    /// If not; the error says what was refused.
    pub fn can_be_had() -> Result<(), SandboxError> {
        let at = std::env::temp_dir().join(format!("hw-disk-{}", folder::unique()));
        let io = |source: io::Error| SandboxError::io(format!("make {}", at.display()), &source);
        fs::create_dir_all(&at).map_err(io)?;
        let tried = Self::mounted(&at, 1 << 20).and_then(|disk| {
            // To be let in is another matter than to be there.
            let seen = disk.entering(Path::new("test")).arg("-d").arg(&at).status();
            let seen = seen.map_err(|source| SandboxError::io("enter a mount namespace", &source))?;
            let written = fs::write(disk.seen_from_here(&at).join("tried"), "");
            match (seen.success(), written) {
                (true, Ok(())) => Ok(()),
                (_, Err(source)) => Err(SandboxError::io("write into a mount namespace", &source)),
                (false, _) => Err(refused("nsenter does not enter the namespace")),
            }
        });
        let _ = fs::remove_dir(&at);
        tried
    }

    /// Mounts one of so many bytes at a folder that is there and empty.
    ///
    /// # Errors
    /// If this machine does not allow it.
    pub(crate) fn mounted(at: &Path, bytes: u64) -> Result<Self, SandboxError> {
        let ways: &[Way] = if launch::user_id() == 0 { &[AS_ROOT, AS_ANYONE] } else { &[AS_ANYONE] };
        let mut said = String::new();
        for way in ways {
            match Self::mounted_by(*way, at, bytes) {
                Ok(disk) => return Ok(disk),
                Err(why) => said = why,
            }
        }
        Err(refused(&said))
    }

    fn mounted_by(way: Way, at: &Path, bytes: u64) -> Result<Self, String> {
        let unshare = on_path("unshare").ok_or("there is no unshare on this machine")?;
        on_path("nsenter").ok_or("there is no nsenter on this machine")?;
        let script = r#"mount -t tmpfs -o "size=$2,mode=0700" highwater "$1" && echo mounted && exec cat"#;
        let mut holder = Command::new(unshare)
            .args(way.unshare)
            .args(["sh", "-c", script, "sh"])
            .arg(at)
            .arg(bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("unshare cannot be run: {e}"))?;
        let mut line = String::new();
        let read = holder.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        if line.trim() == "mounted" {
            return Ok(Self { holder, way, at: at.to_owned() });
        }
        // Whatever it was, it is over; what it had to say is short.
        let _ = holder.kill();
        let ended = holder.wait_with_output().map_err(|e| format!("unshare: {e}"))?;
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        Err(if said.is_empty() { format!("unshare ended without a word ({read:?})") } else { said })
    }

    /// A command for a program that sees the disk. It stays the process that is started: nothing stands between.
    pub(crate) fn entering(&self, program: &Path) -> Command {
        let mut command = Command::new(on_path("nsenter").unwrap_or_else(|| "nsenter".into()));
        command
            .arg("--target")
            .arg(self.holder.id().to_string())
            .args(self.way.nsenter)
            .arg("--")
            .arg(program);
        command
    }

    /// Whether programs on it see themselves as the superuser, whoever we are: as such a server has to be told to run.
    pub(crate) fn makes_us_root(&self) -> bool {
        self.way.nsenter == AS_ANYONE.nsenter
    }

    /// Where a path on the disk is found from outside.
    pub(crate) fn seen_from_here(&self, path: &Path) -> PathBuf {
        let mut seen = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        seen.extend(path.components().skip(1));
        seen
    }

    fn ballast(&self) -> PathBuf {
        self.seen_from_here(&self.at).join(BALLAST)
    }

    /// Takes all the room that is left. The last pages of files that are there have still room in them, up to 4 KiB each.
    ///
    /// # Errors
    /// If writing fails for another reason than that there is no more room.
    pub fn fill(&self) -> Result<(), SandboxError> {
        let failed = |source: io::Error| SandboxError::io("fill a small disk", &source);
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).map_err(failed)?;
        for piece in [vec![0; 256 * PAGE], vec![0; PAGE]] {
            loop {
                match ballast.write(&piece) {
                    Ok(_) => {}
                    Err(full) if full.kind() == io::ErrorKind::StorageFull => break,
                    Err(source) => return Err(failed(source)),
                }
            }
        }
        Ok(())
    }

    /// Gives back the room that [`Disk::fill`] has taken.
    ///
    /// # Errors
    /// If it cannot.
    pub fn free(&self) -> Result<(), SandboxError> {
        match fs::remove_file(self.ballast()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SandboxError::io("free a small disk", &source))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn refused(why: &str) -> SandboxError {
    SandboxError::new(
        format!("no disk of its own can be had for a server: {why}"),
        "nothing was started or mounted",
        "run as root, or let users have namespaces (sysctl user.max_user_namespaces); util-linux has unshare and nsenter",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_when_filled_and_has_room_when_freed_and_others_do_not_see_it() {
        if let Err(why) = Disk::can_be_had() {
            println!("not looked at on this machine: {}", why.what);
            return;
        }
        let at = std::env::temp_dir().join(format!("hw-disk-{}", folder::unique()));
        fs::create_dir(&at).unwrap();
        let disk = Disk::mounted(&at, 1 << 20).unwrap();
        let file = disk.seen_from_here(&at).join("file");
        fs::write(&file, [1; PAGE]).unwrap();
        disk.fill().unwrap();
        let more = fs::write(disk.seen_from_here(&at).join("more"), [1; PAGE]).unwrap_err();
        assert_eq!(more.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0, "the folder itself is as it was");
        disk.free().unwrap();
        fs::write(disk.seen_from_here(&at).join("more"), [1; PAGE]).unwrap();
        assert_eq!(fs::read(&file).unwrap(), [1; PAGE]);
        drop(disk);
        assert!(!file.exists());
        fs::remove_dir(&at).unwrap();
    }
}
