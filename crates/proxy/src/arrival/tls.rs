//! TLS for the clients of the door.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mysql::TlsFileError;
use mysql::tls::{authorities, certificates, private_key, provider};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ServerConfig};

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
        let unfit = |e: rustls::Error| match e {
            rustls::Error::InvalidCertificate(why) => unfit_certificate(cert, &why),
            e => TlsFileError { file: key.to_owned(), reason: e.to_string() },
        };
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

fn unfit_certificate(file: &Path, why: &CertificateError) -> TlsFileError {
    // The library wraps the parser's word for it, and has none of its own.
    let reason = match format!("{why:?}") {
        // `openssl x509 -req` without extensions makes such, and so do instructions that go by it.
        said if said.contains("UnsupportedCertVersion") => {
            "it is of X.509 version 1; make one of version 3".into()
        }
        said => said,
    };
    TlsFileError { file: file.to_owned(), reason }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Of version 1, made with `openssl x509 -req`, and the key it is of, which is used nowhere else.
    const CERT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGzCBwQIUGegpK/ziqDpUS8ygR6eLXYy0nuEwCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEZG9vcjAgFw0yNjExMjUxODM0MjhaGA8yMTI2MTEwMTE4MzQyOFowDzEN
MAsGA1UEAwwEZG9vcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCq1PzNuxOHs
9cFfZxrktcZvZWw7WDUcjcGs66rSh+fpREKQvBXDGOv3BUvF3ZR6ErP+/gx19b1F
n5ehWoEQ1KcwCgYIKoZIzj0EAwIDSQAwRgIhAOOd/xfehNuXf+cxyi0Zv8r2OZ86
Y51dpISkWIkOgwxhAiEA+W3vhVQQj1qcdF/B2stgYWHj6zq44VXN0M+bUeSWHPI=
-----END CERTIFICATE-----
";
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgC8btk07JFz3nccat
+iRFQESaMNTs7HIcfXIJRfEL/lyhRANCAAQqtT8zbsTh7PXBX2ca5LXGb2VsO1g1
HI3BrOuq0ofn6URCkLwVwxjr9wVLxd2UehKz/v4MdfW9RZ+XoVqBENSn
-----END PRIVATE KEY-----
";

    #[test]
    fn a_certificate_of_version_1_is_refused_by_its_name_with_what_to_make_instead() {
        let dir = std::env::temp_dir().join(format!("highwater-v1-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert, CERT).unwrap();
        std::fs::write(&key, KEY).unwrap();
        let refused = DoorTls::new(&cert, &key, None).unwrap_err();
        assert_eq!(refused.file, cert);
        assert!(refused.reason.contains("version 3"), "{}", refused.reason);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
