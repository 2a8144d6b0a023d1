//! Named places in a crossing at which a test has it wait, to break something there. In a debug build only: in what is
//! shipped there are none.
//!
//! `HIGHWATER_STOP_POINTS` names a folder. Whoever creates the file `NAME` in it has the next crossing wait at that place: the
//! file becomes `NAME.reached`, and the crossing goes on when that is removed.

/// Waits here if a test says so.
#[cfg(debug_assertions)]
pub(super) async fn stop_point(name: &str) {
    let Some(folder) = std::env::var_os("HIGHWATER_STOP_POINTS") else { return };
    let folder = std::path::PathBuf::from(folder);
    let reached = folder.join(format!("{name}.reached"));
    if std::fs::rename(folder.join(name), &reached).is_err() {
        return;
    }
    while reached.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// There are none in what is shipped.
#[cfg(not(debug_assertions))]
pub(super) async fn stop_point(_name: &str) {}
