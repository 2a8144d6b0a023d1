//! The suites there are, and how one is run: by `scripts/drivers/run.sh`, which knows what each wants to be told.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use super::ground::Place;
use super::outcome::Outcomes;
use crate::tools::last_lines;
use crate::{Result, failed, program};

/// How `timeout` exits when it has ended what it ran.
const ENDED: i32 = 124;

/// One driver's suite, or ours where its package has none.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    /// How long one run may take, in seconds. What it has not come to by then is not compared.
    deadline: u32,
    /// What it is told beyond where the server is: which of its tests to run, where all would take too long.
    arguments: &'static [&'static str],
}

/// All of them, the quick ones first. Twice all deadlines is below an hour; on two busy cores a run took half of its deadline at most.
pub const SUITES: [Suite; 8] = [
    Suite { name: "mysql2", deadline: 60, arguments: &[] },
    Suite { name: "pymysql", deadline: 60, arguments: &[] },
    Suite { name: "mysqlclient", deadline: 60, arguments: &[] },
    Suite { name: "aiomysql", deadline: 180, arguments: &[] },
    Suite { name: "connector-python", deadline: 360, arguments: &["--test-regex", CONNECTOR] },
    Suite { name: "sqlalchemy-mysqldb", deadline: 300, arguments: &[] },
    Suite { name: "sqlalchemy-pymysql", deadline: 300, arguments: &[] },
    Suite { name: "django", deadline: 300, arguments: &DJANGO },
];

/// Of Connector/Python's modules those that talk to one server; the rest starts its own, or tests classes by themselves.
const CONNECTOR: &str = "(aio_cursor|connection|cursor|cext_.*|mysql_datatypes|data_integrity|pep249|\
                         multibyte_charset|qa_caching_sha2_password|qa_multi_statement|qa_vector_type|qa_wl.*)$";

/// Of Django's suite what is about databases rather than about pages.
const DJANGO: [&str; 12] = [
    "backends",
    "basic",
    "queries",
    "transactions",
    "select_for_update",
    "bulk_create",
    "aggregation",
    "introspection",
    "inspectdb",
    "atomic_requests_do_not_exist",
    "db_functions",
    "model_fields",
];

/// The suites of these names; all of them if there are none.
///
/// # Errors
/// If there is no suite of a name.
pub fn asked_for(names: &[String]) -> Result<Vec<&'static Suite>> {
    for name in names {
        if !SUITES.iter().any(|suite| suite.name == name) {
            let known: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
            return Err(failed(format!("run {name}"), format!("the suites are {}", known.join(", "))));
        }
    }
    Ok(SUITES.iter().filter(|suite| names.is_empty() || names.iter().any(|n| n == suite.name)).collect())
}

impl Suite {
    /// Why it cannot be run here, if so.
    pub fn absent(&self, drivers: &Path) -> Option<String> {
        let missing = self.name == "mysql2" && !drivers.join("node").exists();
        missing.then(|| "there was no node and npm when the drivers were fetched".to_owned())
    }

    /// Runs it in `place`, and reads what became of its tests.
    pub fn run(&self, place: &Place, drivers: &Path) -> Result<Outcomes> {
        let doing = format!("run {}", self.name);
        let io = |e: std::io::Error| failed(&doing, e);
        if place.dir.exists() {
            fs::remove_dir_all(&place.dir).map_err(io)?;
        }
        fs::create_dir_all(&place.dir).map_err(io)?;
        let (out, said) = (place.dir.join("outcomes"), place.dir.join("said"));
        let log = File::create(&said).map_err(io)?;
        let script = Path::new("scripts/drivers/run.sh").canonicalize().map_err(io)?;
        let status = program::dying_with_us(Path::new("/usr/bin/timeout"))
            .args(["--kill-after=20", &self.deadline.to_string(), "bash"])
            .arg(script)
            .args([self.name, &place.port.to_string()])
            .arg(&out)
            .args(self.arguments)
            .env("DRIVERS", drivers)
            .env("WORK", &place.dir)
            .env("CA", &place.ca)
            .env("DB_USER", super::ground::USER)
            .env("DB_PASSWORD", super::ground::PASSWORD)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io)?)
            .stderr(log)
            .status()
            .map_err(io)?;
        // Ended for its deadline it has written what it came to; without that nothing can be compared.
        if !out.exists() {
            let said = last_lines("", &fs::read_to_string(&said).unwrap_or_default());
            return Err(failed(&doing, format!("{status}; {said}")));
        }
        Ok(Outcomes { cut: status.code() == Some(ENDED), ..Outcomes::read(&out)? })
    }
}
