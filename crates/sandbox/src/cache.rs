//! Where the repository is, and where what is fetched and prepared once is kept.

use std::env;
use std::path::{Path, PathBuf};

/// The script that fetches a MySQL server, seen from the repository's root.
pub(crate) const FETCH_SCRIPT: &str = "scripts/mysql.sh";

/// The repository's root: `HIGHWATER_ROOT`, else the nearest folder with the fetch script at or above the current
/// directory, else at or above the folder this crate was compiled in.
pub(crate) fn repository() -> Option<PathBuf> {
    let told = env::var_os("HIGHWATER_ROOT").map(PathBuf::from);
    let here = env::current_dir().ok();
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    told.filter(|root| root.join(FETCH_SCRIPT).is_file())
        .or_else(|| here.as_deref().and_then(root_above))
        .or_else(|| root_above(compiled))
}

fn root_above(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|folder| folder.join(FETCH_SCRIPT).is_file()).map(Path::to_path_buf)
}

/// The cache folder, not necessarily there yet: `HIGHWATER_CACHE`, else `.cache` of the repository, else of the user.
pub(crate) fn folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("HIGHWATER_CACHE")
        .or_else(|| repository().map(|root| root.join(".cache")))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("highwater")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/highwater")))
        .unwrap_or_else(|| env::temp_dir().join("highwater-cache"));
    // A server takes relative paths from a folder of its own.
    std::path::absolute(&folder).unwrap_or(folder)
}
