//! Finds a MySQL server program on this machine, or has one fetched, and the client tools that go with it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::SandboxError;
use crate::cache::{self, FETCH_SCRIPT};

/// A server program known to be MySQL 8.0 or newer.
#[derive(Debug, Clone)]
pub struct Mysqld {
    program: PathBuf,
    version: String,
}

impl Mysqld {
    /// Finds a server: `HIGHWATER_MYSQLD`, else one on PATH, else one fetched by `scripts/mysql.sh`, which takes some
    /// ten seconds the first time and tells its progress on stderr.
    ///
    /// # Errors
    /// When none of these gives a MySQL (not MariaDB) of version 8.0 or newer.
    pub fn find() -> Result<Self, SandboxError> {
        if let Some(program) = told() {
            return Self::at(program);
        }
        // One on PATH that will not do (MariaDB, too old) is no error: the next way is tried.
        if let Some(found) = on_path("mysqld").and_then(|program| Self::at(program).ok()) {
            return Ok(found);
        }
        Self::at(fetched()?)
    }

    /// Takes the server program at a path.
    ///
    /// # Errors
    /// When it cannot be run, or is not MySQL 8.0 or newer.
    pub fn at(program: impl Into<PathBuf>) -> Result<Self, SandboxError> {
        let program = program.into();
        let refused = |why: String| {
            SandboxError::new(
                format!("{} cannot serve as the MySQL server: {why}", program.display()),
                "no server was started",
                "name a mysqld of MySQL 8.0 or newer in HIGHWATER_MYSQLD, or unset it to have one fetched",
            )
        };
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| refused(source.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = suitable(&said).map_err(|why| refused(why.into()))?.to_owned();
        Ok(Self { program, version })
    }

    /// The program. Run as root it needs `--user=root`, which the fetched one adds by itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The version as the program says it, such as `9.7.4-2` or `8.0.36`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A client tool (`mysql`, `mysqldump`, ...) beside the server, else on PATH.
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        beside(&self.program, name).or_else(|| on_path(name))
    }
}

/// A client tool (`mysql`, `mysqldump`, ...): beside the server that `HIGHWATER_MYSQLD` names, else beside the fetched
/// one, else on PATH. Fetches nothing.
pub fn client_tool(name: &str) -> Option<PathBuf> {
    told()
        .and_then(|program| beside(&program, name))
        .or_else(|| beside(&cache::folder().join("mysql/bin/mysqld"), name))
        .or_else(|| on_path(name))
}

fn told() -> Option<PathBuf> {
    env::var_os("HIGHWATER_MYSQLD").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn beside(program: &Path, name: &str) -> Option<PathBuf> {
    Some(program.with_file_name(name)).filter(|tool| tool.is_file())
}

/// A program on PATH, or where distributions put servers that an ordinary user's PATH leaves out.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/usr/local/sbin");
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The version in what `mysqld --version` said, or why it will not do.
fn suitable(said: &str) -> Result<&str, &'static str> {
    if said.contains("MariaDB") {
        return Err("it is MariaDB");
    }
    let version = said.split_once("Ver ").and_then(|(_, rest)| rest.split_whitespace().next());
    let version = version.ok_or("its --version does not tell a version")?;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(8..) => Ok(version),
        _ => Err("it is older than 8.0"),
    }
}

/// Runs the fetch script and takes the path on its last line. Its progress and its errors go to our stderr.
fn fetched() -> Result<PathBuf, SandboxError> {
    let hint = "install MySQL 8.0 or newer, set HIGHWATER_MYSQLD to a mysqld, or set HIGHWATER_ROOT to the repository";
    let Some(root) = cache::repository() else {
        return Err(SandboxError::new(
            format!("no MySQL server on this machine, and no {FETCH_SCRIPT} that would fetch one"),
            "nothing was started or fetched",
            hint,
        ));
    };
    let output = Command::new(root.join(FETCH_SCRIPT))
        .env("HIGHWATER_CACHE", cache::folder())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| SandboxError::io(format!("run {FETCH_SCRIPT}"), &source))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().next_back().filter(|_| output.status.success()) {
        Some(program) => Ok(PathBuf::from(program)),
        None => Err(SandboxError::new(
            format!("{FETCH_SCRIPT} could not fetch a MySQL server ({})", output.status),
            "nothing was started; what it said stands above",
            hint,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, expected: Result<&str, &str>) {
        assert_eq!(suitable(said), expected);
    }

    #[test]
    fn mysql_from_eight_on_is_taken() {
        check("/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", Ok("9.7.4-2"));
        check(
            "mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL), Release 28)",
            Ok("8.0.36-28"),
        );
        check("mysqld  Ver 10.1.0 for Linux on x86_64", Ok("10.1.0"));
    }

    #[test]
    fn mariadb_and_old_and_strange_servers_are_refused() {
        check("mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu", Err("it is MariaDB"));
        check("mysqld  Ver 5.7.44 for Linux on x86_64", Err("it is older than 8.0"));
        check("hello", Err("its --version does not tell a version"));
    }
}
