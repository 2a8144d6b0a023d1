//! Two servers that are alike, and a front door before one of them.

use std::path::{Path, PathBuf};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};

use crate::cli::PlaceArgs;
use crate::ground::Ground;
use crate::proxy::process::Process;
use crate::sql::Sql;
use crate::{Result, failed, program};

/// The account that suites log in as; some know no other name.
pub const USER: &str = "root";
/// Its password.
pub const PASSWORD: &str = "drivers-secret";
/// The schemas that suites expect to be there.
const SCHEMAS: [&str; 4] = ["test", "test1", "test2", "test_schema"];

/// Where one run of a suite takes place.
pub struct Place {
    pub port: u16,
    /// The certificate of the CA to trust there.
    pub ca: PathBuf,
    /// A folder of its own.
    pub dir: PathBuf,
}

/// The servers and the door.
pub struct Pair {
    ground: Ground,
    direct: Node,
    behind: Node,
    door: Process,
    port: u16,
}

impl Pair {
    /// Starts all three. All show one certificate, so that a suite may trust its CA.
    pub fn start(place: &PlaceArgs) -> Result<Self> {
        let ground = Ground::prepare(&place.dir)?;
        let behind = ground.swift_node("behind", &["--local-infile=ON".to_owned()])?;
        let file = |name: &str| behind.data().join(name).display().to_string();
        let options = [
            "--local-infile=ON".to_owned(),
            format!("--ssl-ca={}", file("ca.pem")),
            format!("--ssl-cert={}", file("server-cert.pem")),
            format!("--ssl-key={}", file("server-key.pem")),
        ];
        let direct = ground.swift_node("direct", &options)?;
        for node in [&direct, &behind] {
            prepare(node)?;
        }
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
        let port = port.map_err(|e| failed("find a free port", e))?.port();
        // A suite asks the server whether it was reached over TLS, which is then that of the door's own connection.
        let toml = format!(
            "state_dir = 'state'\n[clusters.site]\nhost = '127.0.0.1'\nport = {}\nuser = '{ADMIN_USER}'\n\
             password_file = 'password'\ntls = 'required'\n[front_door]\nlisten = '127.0.0.1:{port}'\n\
             tls_cert = '{}'\ntls_key = '{}'\n",
            behind.port(),
            file("server-cert.pem"),
            file("server-key.pem")
        );
        let door = Process::start(
            "highwater",
            &program::find(place.program.as_deref())?,
            &["proxy".to_owned()],
            &[("highwater.toml", toml), ("password", ADMIN_PASSWORD.to_owned())],
            &ground.dir().join("drivers-door"),
        )?;
        let mut pair = Self { ground, direct, behind, door, port };
        pair.door.wait_until_it_leads_to(&pair.behind, port)?;
        Ok(pair)
    }

    /// The folder for data.
    pub fn dir(&self) -> &Path {
        self.ground.dir()
    }

    /// The certificate of the CA that signed those of the servers and the door.
    fn ca(&self) -> PathBuf {
        self.behind.data().join("ca.pem")
    }

    /// The servers' version.
    pub fn version(&self) -> &str {
        self.ground.version()
    }

    /// Where a suite meets the server itself, with nothing left of the suites before it.
    ///
    /// # Errors
    /// If the server does not do as it is told.
    pub fn direct(&self, suite: &str) -> Result<Place> {
        fresh_schemas(&mut Sql::on(&self.direct)?)?;
        Ok(Place {
            port: self.direct.port(),
            ca: self.ca(),
            dir: self.dir().join("drivers").join(suite).join("direct"),
        })
    }

    /// Where it meets the door, with as little left of others.
    ///
    /// # Errors
    /// If the door has ended, or does not lead to its server any more.
    pub fn through_the_door(&mut self, suite: &str) -> Result<Place> {
        self.door.wait_until_it_leads_to(&self.behind, self.port)?;
        fresh_schemas(&mut Sql::on(&self.behind)?)?;
        Ok(Place { port: self.port, ca: self.ca(), dir: self.dir().join("drivers").join(suite).join("door") })
    }
}

fn prepare(node: &Node) -> Result<()> {
    let mut admin = Sql::on(node)?;
    admin.execute(&format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'"))?;
    admin.execute(&format!("GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION"))
}

fn fresh_schemas(admin: &mut Sql) -> Result<()> {
    for schema in SCHEMAS {
        admin.execute(&format!("DROP DATABASE IF EXISTS {schema}"))?;
        admin.execute(&format!("CREATE DATABASE {schema}"))?;
    }
    Ok(())
}
