//! TLS for the clients of the door.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mysql::TlsFileError;
use mysql::tls::{authorities, certificates, private_key, provider};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::WebPkiClientVerifier;

/// The door's certificate, and whose clients' certificates it believes; cheap to clone. Equal if made from the same files.
#[derive(Clone)]
pub struct DoorTls {
    files: (PathBuf, PathBuf, Option<PathBuf>),
    config: Arc<ServerConfig>,
}

impl DoorTls {
    /// Reads the door's certificate (its chain after it), its key, and the CAs whose certificates clients may show. A
    /// client need not show one; one that does not verify ends the connection.
    ///
    /// # Errors
    /// If a file cannot be read, or is not what it should be.
    pub fn new(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsFileError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the library's versions go with the library's algorithms");
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|e| TlsFileError { file: file.to_owned(), reason: e.to_string() })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let unfit = |e: rustls::Error| TlsFileError { file: key.to_owned(), reason: e.to_string() };
        let mut config = builder.with_single_cert(certificates(cert)?, private_key(key)?).map_err(unfit)?;
        // Clients that come back, after a restart of theirs all at once, then cost no signature. A ticket holds all there is
        // to know, so that the door keeps nothing, and any thread takes it.
        config.ticketer = Ticketer::new().map_err(unfit)?;
        config.send_tls13_tickets = 1;
        let files = (cert.to_owned(), key.to_owned(), client_ca.map(Path::to_owned));
        Ok(Self { files, config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl PartialEq for DoorTls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for DoorTls {}

impl std::fmt::Debug for DoorTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DoorTls").field(&self.files).finish()
    }
}
