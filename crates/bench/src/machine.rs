//! The machine a figure was measured on; without it a figure says nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::report::Spread;
use crate::{Result, failed};

/// Writes measured to find what one durable commit costs at least.
const FLUSHES: usize = 200;

/// Facts that figures depend on.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    /// Of the folder the servers' data is in.
    pub file_system: String,
    /// A 4 KiB write and fdatasync in that folder.
    pub flush_ms: Spread,
    pub mysql: String,
}

impl Machine {
    /// Asks this machine.
    ///
    /// # Errors
    /// If the folder's file system is kept in memory: then no commit there is durable.
    pub fn facts(dir: &Path, mysql: &str) -> Result<Self> {
        let file_system = file_system(dir)?;
        if ["tmpfs", "ramfs"].contains(&file_system.as_str()) {
            let why = format!("{} is on {file_system}, where nothing is durable", dir.display());
            return Err(failed("measure", why));
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_gib(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system,
            flush_ms: flush_ms(dir).map_err(|e| failed(format!("write in {}", dir.display()), e))?,
            mysql: mysql.to_owned(),
        })
    }

    /// In one line, for the head of a table.
    pub fn line(&self) -> String {
        format!(
            "{} x {}, {:.0} GiB, {}, a flush takes {:.2} ms ({:.2} - {:.2}), MySQL {}",
            self.cores,
            self.cpu,
            self.memory_gib,
            self.file_system,
            self.flush_ms.median,
            self.flush_ms.min,
            self.flush_ms.max,
            self.mysql
        )
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_gib(meminfo: &str) -> f64 {
    let kib = field(meminfo, "MemTotal").and_then(|v| v.trim_end_matches("kB").trim().parse::<f64>().ok());
    (kib.unwrap_or_default() / 1024.0 / 102.4).round() / 10.0
}

fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize().map_err(|e| failed(format!("look at {}", dir.display()), e))?;
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| failed("read the mounts", e))?;
    Ok(mounted_at(&mounts, &dir).unwrap_or_else(|| "unknown".into()))
}

/// The type of the mount a folder is in: the longest of those above it, of equals the last.
fn mounted_at(mounts: &str, dir: &Path) -> Option<String> {
    let above = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    above.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

fn flush_ms(dir: &Path) -> std::io::Result<Spread> {
    let path = dir.join("flush.probe");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path)?;
    Ok(Spread::of(&times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_names_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\nnone /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n";
        let check = |dir: &str, kind: &str| assert_eq!(mounted_at(mounts, Path::new(dir)).unwrap(), kind);
        check("/srv/x", "ext4");
        check("/tmp/y", "tmpfs");
        check("/tmp/disk/z", "xfs");
        check("/tmpfiles", "ext4");
    }

    #[test]
    fn memory_is_told_in_gib() {
        assert_eq!(memory_gib("MemTotal:       24117248 kB\nMemFree: 1 kB\n"), 23.0);
        assert_eq!(memory_gib(""), 0.0);
    }
}
