//! TLS settings: which file goes with which mode, each file read once and named with its line if it will not do.

use std::path::PathBuf;

use model::Trouble;
use mysql::{Tls, TlsFileError, TlsFiles, TlsMode};
use toml::Spanned;

use super::source_text::{STATE, SourceText};
use super::written::{WrittenCluster, WrittenTlsMode};

/// How connections to a cluster use TLS.
///
/// # Errors
/// If a mode lacks its files, files lack their mode, or a file will not do.
pub fn cluster_tls(source: &SourceText, name: &str, written: &WrittenCluster) -> Result<Tls, Trouble> {
    let mode = match written.tls {
        WrittenTlsMode::Off => TlsMode::Off,
        WrittenTlsMode::Preferred => TlsMode::Preferred,
        WrittenTlsMode::Required => TlsMode::Required,
        WrittenTlsMode::VerifyCa => TlsMode::VerifyCa,
        WrittenTlsMode::VerifyIdentity => TlsMode::VerifyIdentity,
    };
    let verifies = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
    match &written.tls_ca {
        Some(ca) if !verifies => {
            return Err(source.refuse(
                ca.span(),
                format!("cluster '{name}' has `tls_ca`, which nothing is checked against"),
                "set `tls` to \"verify_ca\" or \"verify_identity\", or remove `tls_ca`",
            ));
        }
        None if verifies => {
            return Err(Trouble::new(
                format!("{}: cluster '{name}' verifies certificates and has no `tls_ca`", source.name()),
                STATE,
                format!(
                    "name the CA's PEM file with `tls_ca` in [clusters.{name}]; a server's own is its ca.pem"
                ),
            ));
        }
        _ => {}
    }
    let place = format!("[clusters.{name}]");
    let own = pair(source, &place, &written.tls_cert, &written.tls_key)?;
    if let (TlsMode::Off, Some(cert)) = (mode, &written.tls_cert) {
        let what = format!("cluster '{name}' has `tls_cert` and no TLS");
        return Err(source.refuse(cert.span(), what, "set `tls`, or remove `tls_cert` and `tls_key`"));
    }
    let ca = written.tls_ca.as_ref().map(|ca| source.beside(ca.get_ref()));
    Tls::new(mode, TlsFiles { ca, own })
        .map_err(|e| unusable(source, &e, &[&written.tls_ca, &written.tls_cert, &written.tls_key]))
}

/// A certificate and its key: both, or neither.
///
/// # Errors
/// If one of them stands alone.
pub fn pair(
    source: &SourceText,
    place: &str,
    cert: &Option<Spanned<PathBuf>>,
    key: &Option<Spanned<PathBuf>>,
) -> Result<Option<(PathBuf, PathBuf)>, Trouble> {
    let (alone, has, lacks) = match (cert, key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => {
            return Ok(Some((source.beside(cert.get_ref()), source.beside(key.get_ref()))));
        }
        (Some(cert), None) => (cert, "tls_cert", "tls_key"),
        (None, Some(key)) => (key, "tls_key", "tls_cert"),
    };
    Err(source.refuse(
        alone.span(),
        format!("{place} has `{has}` and no `{lacks}`"),
        format!("set `{lacks}` too"),
    ))
}

/// The complaint about a file, with the line that names it.
pub fn unusable(source: &SourceText, error: &TlsFileError, named: &[&Option<Spanned<PathBuf>>]) -> Trouble {
    let what = format!("cannot use {error}");
    let hint = "name a readable file in PEM form, with a certificate or a private key as the setting says";
    let at = named.iter().find_map(|path| path.as_ref().filter(|p| source.beside(p.get_ref()) == error.file));
    match at {
        Some(path) => source.refuse(path.span(), what, hint),
        None => Trouble::new(format!("{}: {what}", source.name()), STATE, hint),
    }
}
