//! The two ways a query takes, clients to proxy and proxy to server: both in plain text, or both under TLS.
//!
//! Invariant: under TLS every hop of every contestant is encrypted by the same algorithm. The clients offer no other, and a login
//! in plain text is refused wherever they connect, which is tried at each start; the server is asked in each turn what the
//! connections it has are under, and takes none without TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mysql::{ConnectOptions, Tls, TlsFiles, TlsMode};
use sandbox::Node;

use crate::sql::{Sql, admin};
use crate::{Result, failed};

/// What sysbench 1.0.20 reads where it is started, whatever it is told, and what they are in a server's data folder.
const SYSBENCH_READS: [(&str, &str); 3] =
    [("ca.pem", "cacert.pem"), ("client-cert.pem", "client-cert.pem"), ("client-key.pem", "client-key.pem")];

/// The one cipher suite: what a MySQL 9.7 takes first, and the first of OpenSSL's and rustls's lists that needs no longer key.
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
/// What keeps OpenSSL, and with it sysbench, from offering others; config(5ssl) has the form.
const OPENSSL_CONF: &str = "openssl_conf = settings\n[settings]\nssl_conf = ssl\n[ssl]\nsystem_default = limits\n\
                            [limits]\nMinProtocol = TLSv1.3\nCiphersuites = ";

/// Both hops.
pub enum Hops {
    /// In plain text.
    Plain,
    /// Under TLS, with the certificates that the server made for itself at its start.
    Tls {
        /// Where sysbench is started.
        clients: PathBuf,
        /// Ours, for questions of the benchmark itself.
        own: Tls,
        cert: PathBuf,
        key: PathBuf,
    },
}

impl Hops {
    /// Readies the clients' files, in `dir`, and lets the server take nobody without TLS any more.
    pub fn under_tls(server: &Node, dir: &Path) -> Result<Self> {
        let doing = "ready the certificates";
        let clients = dir.join("sysbench-tls");
        fs::create_dir_all(&clients).map_err(|e| failed(doing, e))?;
        for (there, here) in SYSBENCH_READS {
            fs::copy(server.data().join(there), clients.join(here)).map_err(|e| failed(doing, e))?;
        }
        fs::write(clients.join("openssl.cnf"), format!("{OPENSSL_CONF}{CIPHER}\n"))
            .map_err(|e| failed(doing, e))?;
        Sql::on(server)?.execute("SET GLOBAL require_secure_transport = ON")?;
        let own = Tls::new(TlsMode::Required, TlsFiles::default()).map_err(|e| failed(doing, e))?;
        let file = |name| server.data().join(name);
        Ok(Self::Tls { clients, own, cert: file("server-cert.pem"), key: file("server-key.pem") })
    }

    /// Whether they are under TLS.
    pub fn are_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    /// How the benchmark itself connects to a port, as the clients do.
    pub fn options(&self, port: u16) -> ConnectOptions {
        let mut options = admin(port);
        if let Self::Tls { own, .. } = self {
            options.tls = own.clone();
        }
        options
    }

    /// Tells sysbench.
    pub fn tell(&self, sysbench: &mut Command) {
        match self {
            Self::Plain => sysbench.arg("--mysql-ssl=off"),
            Self::Tls { clients, .. } => sysbench
                .arg("--mysql-ssl=on")
                .env("OPENSSL_CONF", clients.join("openssl.cnf"))
                .current_dir(clients),
        };
    }

    /// Makes sure that nobody gets in at a port in plain text, if that is so.
    pub fn refuse_plain_text(&self, name: &str, port: u16) -> Result<()> {
        if self.are_tls() && Sql::at(name, port).is_ok() {
            return Err(failed(format!("have TLS with {name}"), "it takes a login in plain text, too"));
        }
        Ok(())
    }

    /// Makes sure that all connections the server has, but for the one that asks, are under what they should be.
    pub fn look_at_the_server(&self, sql: &mut Sql) -> Result<()> {
        let rows = sql.rows(
            "SELECT DISTINCT VARIABLE_VALUE FROM performance_schema.status_by_thread \
             WHERE VARIABLE_NAME = 'Ssl_cipher' AND THREAD_ID <> PS_CURRENT_THREAD_ID()",
        )?;
        let (found, wanted): (Vec<String>, _) =
            (rows.iter().map(|row| row.text(0)).collect(), if self.are_tls() { CIPHER } else { "" });
        if found == [wanted] {
            return Ok(());
        }
        let why = format!("its connections are under {found:?}, and should be under '{wanted}'");
        Err(failed("measure the way to the server", why))
    }
}
