//! TLS for the connections we open: which certificates are believed.
//!
//! | mode | without TLS on the server | the server's certificate |
//! |---|---|---|
//! | `off` | plain | - |
//! | `preferred` | plain | not looked at: hides what is said, not from a man in the middle |
//! | `required` | refused | not looked at |
//! | `verify_ca` | refused | signed by the CA; any name, as MySQL's own generated certificates have none |
//! | `verify_identity` | refused | signed by the CA, for the host we connect to |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// What is asked of a server's TLS; the words are MySQL's `--ssl-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// None.
    #[default]
    Off,
    /// TLS where the server has it.
    Preferred,
    /// TLS, with whatever certificate.
    Required,
    /// TLS, with a certificate of a known CA.
    VerifyCa,
    /// TLS, with a certificate of a known CA for the host.
    VerifyIdentity,
}

/// The files TLS needs, each in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the CAs that are believed.
    pub ca: Option<PathBuf>,
    /// Our own certificate, its chain after it, and its key, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How connections to a server use TLS; cheap to clone. Equal if made from the same settings.
#[derive(Clone, Default)]
pub struct Tls {
    mode: TlsMode,
    files: TlsFiles,
    config: Option<Arc<ClientConfig>>,
}

/// Why files cannot serve for TLS.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}", file = .file.display())]
pub struct TlsFileError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl TlsFileError {
    fn new(file: &Path, reason: impl std::fmt::Display) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        (self.mode, &self.files) == (other.mode, &other.files)
    }
}

impl Eq for Tls {}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("mode", &self.mode).field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. A verifying mode without a CA believes nobody.
    ///
    /// # Errors
    /// If a file cannot be read, or is not what it should be.
    pub fn new(mode: TlsMode, files: TlsFiles) -> Result<Self, TlsFileError> {
        if mode == TlsMode::Off {
            return Ok(Self { mode, files, config: None });
        }
        let provider = provider();
        let verifier = verifier(mode, files.ca.as_deref(), &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the library's versions go with the library's algorithms")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &files.own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|e| TlsFileError::new(key, e))?,
        };
        Ok(Self { mode, files, config: Some(Arc::new(config)) })
    }

    /// What is asked of the server.
    pub fn mode(&self) -> TlsMode {
        self.mode
    }

    /// Whether the server is known by its certificate, and so may be told the password.
    pub fn verifies(&self) -> bool {
        matches!(self.mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity)
    }

    pub(crate) fn config(&self) -> Option<&Arc<ClientConfig>> {
        self.config.as_ref()
    }
}

/// The one source of algorithms, which the RSA exchange uses too.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Reads a PEM file's certificates: at least one.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(TlsFileError::new(file, "holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsFileError::new(file, error)),
    }
}

/// Reads a PEM file's private key.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| TlsFileError::new(file, e))
}

/// Reads a PEM file's certificates as the CAs to believe.
///
/// # Errors
/// If the file cannot be read, or one of them cannot be a CA's.
pub fn authorities(file: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|e| TlsFileError::new(file, e))?;
    }
    Ok(roots)
}

fn verifier(
    mode: TlsMode,
    ca: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsFileError> {
    let verifies = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
    let roots = ca.filter(|_| verifies).map(authorities).transpose()?;
    if mode == TlsMode::VerifyIdentity {
        let roots = Arc::new(roots.unwrap_or_else(RootCertStore::empty));
        let built = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        return match built {
            Ok(verifier) => Ok(verifier),
            Err(error) => Err(TlsFileError::new(ca.unwrap_or(Path::new("(no CA)")), error)),
        };
    }
    let roots = if verifies { Some(roots.unwrap_or_else(RootCertStore::empty)) } else { None };
    Ok(Arc::new(AnyName { roots, algorithms: provider.signature_verification_algorithms }))
}

/// Believes a certificate for whatever host: one signed by the CAs, or, without any, every one.
#[derive(Debug)]
struct AnyName {
    roots: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
