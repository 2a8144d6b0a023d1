//! The initialised data folder that every node starts from a copy of.
//!
//! Making one takes seconds and copying one takes a tenth of a second. Invariant: a template's final name appears
//! only when it is complete (built aside under a file lock, then renamed), so whoever sees it may copy it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::launch;
use crate::mysqld::Mysqld;
use crate::{ADMIN_PASSWORD, ADMIN_USER, SHOP_PASSWORD, SHOP_USER, SandboxError, cache};

const ZONEINFO: &str = "/usr/share/zoneinfo";

/// Copies the template into `data`, which must not exist; makes the template first if it is not there.
pub(crate) fn copy_to(mysqld: &Mysqld, data: &Path) -> Result<(), SandboxError> {
    let template = ready(mysqld)?;
    copy_folder(&template, data).map_err(|source| {
        SandboxError::io(format!("copy {} to {}", template.display(), data.display()), &source)
    })
}

fn ready(mysqld: &Mysqld) -> Result<PathBuf, SandboxError> {
    let zones = zone_tool(mysqld);
    let accounts = accounts_sql();
    let mut hasher = DefaultHasher::new();
    (&accounts, zones.is_some()).hash(&mut hasher);
    let name = format!("{}-{:016x}", mysqld.version(), hasher.finish());
    let folder = cache::folder().join("mysql-data");
    let template = folder.join(&name);
    if template.is_dir() {
        return Ok(template);
    }

    let io = |source: std::io::Error| SandboxError::io(format!("prepare {}", template.display()), &source);
    fs::create_dir_all(&folder).map_err(io)?;
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(io)?;
    lock.lock().map_err(io)?;
    if template.is_dir() {
        return Ok(template);
    }
    // Whatever is there was left by a process that died holding the lock.
    let aside = folder.join(format!("{name}.new"));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(io)?;
    }
    fs::create_dir(&aside).map_err(io)?;
    let mut sql = accounts.into_bytes();
    if let Some(tool) = zones {
        sql.extend_from_slice(b"USE mysql;\n");
        sql.extend_from_slice(&zones_sql(&tool)?);
    }
    let init_file = aside.join("init.sql");
    fs::write(&init_file, sql).map_err(io)?;
    initialise(mysqld, &aside, &init_file)?;
    shrink(&aside.join("data")).map_err(io)?;
    fs::rename(aside.join("data"), &template).map_err(io)?;
    fs::remove_dir_all(&aside).map_err(io)?;
    Ok(template)
}

fn accounts_sql() -> String {
    format!(
        "CREATE USER '{ADMIN_USER}'@'%' IDENTIFIED BY '{ADMIN_PASSWORD}';\n\
         GRANT ALL PRIVILEGES ON *.* TO '{ADMIN_USER}'@'%' WITH GRANT OPTION;\n\
         CREATE USER '{SHOP_USER}'@'%' IDENTIFIED BY '{SHOP_PASSWORD}';\n\
         GRANT ALL PRIVILEGES ON `shop`.* TO '{SHOP_USER}'@'%';\n"
    )
}

/// The tool that turns this machine's time zones into SQL, if it and they are there.
fn zone_tool(mysqld: &Mysqld) -> Option<PathBuf> {
    mysqld.tool("mysql_tzinfo_to_sql").filter(|_| Path::new(ZONEINFO).join("UTC").exists())
}

fn zones_sql(tool: &Path) -> Result<Vec<u8>, SandboxError> {
    let output = Command::new(tool)
        .arg(ZONEINFO)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|source| SandboxError::io(format!("run {}", tool.display()), &source))?;
    if !output.status.success() {
        return Err(SandboxError::new(
            format!("{} could not read {ZONEINFO} ({})", tool.display(), output.status),
            "no server was started",
            "repair or reinstall the machine's time zone files (tzdata)",
        ));
    }
    Ok(output.stdout)
}

fn initialise(mysqld: &Mysqld, aside: &Path, init_file: &Path) -> Result<(), SandboxError> {
    let log = aside.join("error.log");
    let status = Command::new(mysqld.program())
        .arg("--no-defaults")
        .args(launch::as_root())
        .arg("--initialize-insecure")
        .arg(launch::option("datadir", aside.join("data")))
        .arg(launch::option("init-file", init_file))
        .arg(launch::option("log-error", &log))
        // A node starts with an empty GTID set: its accounts are nobody's transactions.
        .args(["--skip-log-bin", "--innodb-redo-log-capacity=64M", "--secure-file-priv=NULL"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|source| SandboxError::io(format!("run {}", mysqld.program().display()), &source))?;
    if status.success() {
        return Ok(());
    }
    Err(SandboxError::new(
        format!("{} could not initialise a data folder ({status})", mysqld.program().display()),
        format!("no server was started; its error log ends:\n{}", launch::tail(&log)),
        "correct what the log names; another mysqld can be named in HIGHWATER_MYSQLD",
    ))
}

/// Takes out what a server makes anew: its identity, which no two nodes may share, and 60 MB of spare redo files.
fn shrink(data: &Path) -> std::io::Result<()> {
    let auto = data.join("auto.cnf");
    if auto.exists() {
        fs::remove_file(auto)?;
    }
    let redo = data.join("#innodb_redo");
    if redo.is_dir() {
        for entry in fs::read_dir(redo)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().ends_with(b"_tmp") {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Copies files with their permissions; the system shares the blocks where its file system can.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
