//! The decoders of this crate that nobody else may call, for the fuzz targets of `crates/fuzz`; see `migrate::fuzzing`.

use std::path::Path;

use crate::config;
use crate::control::Request;
use crate::proof_file::ProofFile;

/// Reads settings; what is wrong with them.
pub fn settings(text: &str) -> Option<String> {
    config::load_text(text).err().map(|trouble| trouble.to_string())
}

/// Reads a proof of the move `m`; what is wrong with it.
pub fn proof(bytes: &[u8]) -> Option<String> {
    ProofFile::parse(bytes, Path::new("proof"), "m").err().map(|trouble| trouble.to_string())
}

/// Reads a line of the control socket; the request again as a line, if it is one.
pub fn request(line: &[u8]) -> Option<Vec<u8>> {
    let request: Request = serde_json::from_slice(line).ok()?;
    serde_json::to_vec(&request).ok()
}
