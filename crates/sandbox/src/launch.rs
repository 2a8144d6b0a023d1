//! Starts a server process that dies with this one, and what the command lines of servers share.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::{io, thread};

use crate::Disk;
use crate::mysqld::on_path;

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// A command for `program`, on its disk if it has one, that, where util-linux is installed, gets SIGKILL when the *thread* that
/// spawned it ends.
pub(crate) fn dying_with_us(program: &Path, disk: Option<&Disk>) -> Command {
    let starting = |first: &Path| match disk {
        // In this order: who enters another user's namespace loses the wish to die.
        Some(disk) => disk.entering(first),
        None => Command::new(first),
    };
    match on_path("setpriv") {
        Some(setpriv) => {
            let mut command = starting(&setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => starting(program),
    }
}

/// Spawns a command from a thread that lives as long as this process does.
///
/// Spawned from the caller's thread, a server would die when that thread ends: a test's, or one of an async
/// runtime's blocking pool after a few idle seconds.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static LAUNCHER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that is gone has no use for the answer.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the launching thread has ended");
    launcher.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// The user this process runs as; the superuser's 0 where /proc does not tell.
pub(crate) fn user_id() -> u32 {
    fs::metadata("/proc/self").map_or(0, |process| process.uid())
}

/// `--user=root` when that is who we are: mysqld refuses to run as root unless it is told to, and only warns of the
/// option otherwise.
pub(crate) fn as_root() -> Option<&'static str> {
    (user_id() == 0).then_some(AS_ROOT)
}

/// For whoever is the superuser where the server runs.
pub(crate) const AS_ROOT: &str = "--user=root";

/// `--name=path`, whatever bytes the path has.
pub(crate) fn option(name: &str, path: impl AsRef<Path>) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(path.as_ref());
    option
}

/// The last lines of an error log, for an error's second part.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    match lines.len() {
        0 => "(the error log is empty)".into(),
        count => lines[count.saturating_sub(12)..].join("\n"),
    }
}
