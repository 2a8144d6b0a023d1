//! The version that the front door greets its clients with: the writer's own, so that drivers choose the same dialect as without
//! us. What a cluster's server said last is kept in `state_dir/CLUSTER.version`, so that the door can be opened, and say what is
//! wrong, while that server is down.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Trouble;

use super::STATE_OF_THE_DOOR;
use crate::config::ClusterConfig;
use crate::trouble::from_mysql;

/// How long a server is asked for that has told its version before.
const KNOWN_WAIT: Duration = Duration::from_secs(3);

/// A version longer than this is none.
const LENGTH_MAX: usize = 100;

fn file(state_dir: &Path, cluster: &ClusterConfig) -> PathBuf {
    state_dir.join(format!("{}.version", cluster.name))
}

/// The version to greet with: what the writer says, or said last if it is away.
///
/// # Errors
/// If it refuses us, or is away and has never said.
pub(super) async fn of(cluster: &ClusterConfig, state_dir: &Path) -> Result<String, Trouble> {
    let known = remembered(&file(state_dir, cluster));
    let mut options = cluster.connect_options();
    if known.is_some() {
        options.timeout = options.timeout.min(KNOWN_WAIT);
    }
    match (mysql::Connection::connect(&options).await, known) {
        (Ok(connection), _) => {
            remember(state_dir, cluster, connection.server_version());
            Ok(connection.server_version().to_owned())
        }
        (Err(error), Some(version)) if error.is_connection_lost() => {
            tracing::warn!(
                target: "highwater::door",
                cluster = cluster.name,
                version,
                %error,
                "the writer cannot be reached; clients are greeted with the version it had"
            );
            Ok(version)
        }
        (Err(error), _) => {
            Err(from_mysql(&error, &format!("reach cluster '{}'", cluster.name), STATE_OF_THE_DOOR))
        }
    }
}

/// Keeps what a cluster's server says its version is. Where that cannot be, the next process asks the server, as this one did.
pub(super) fn remember(state_dir: &Path, cluster: &ClusterConfig, version: &str) {
    let file = file(state_dir, cluster);
    if remembered(&file).as_deref() == Some(version) {
        return;
    }
    let aside = file.with_extension("version.new");
    let written = std::fs::File::create(&aside).and_then(|mut new| {
        new.write_all(version.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&aside, &file)
    });
    if let Err(error) = written {
        tracing::warn!(target: "highwater::door", %error, "cannot keep the version of cluster '{}'", cluster.name);
    }
}

/// What is kept, if it can be read and can be a version.
fn remembered(file: &Path) -> Option<String> {
    let version = std::fs::read_to_string(file).ok()?;
    let plain = version.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    (plain && !version.is_empty() && version.len() <= LENGTH_MAX).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_version_is_greeted_with() {
        let file = std::env::temp_dir().join(format!("hw-version-{}", std::process::id()));
        let check = |text: &[u8]| {
            std::fs::write(&file, text).unwrap();
            remembered(&file)
        };
        assert_eq!(check(b"9.7.4-commercial").as_deref(), Some("9.7.4-commercial"));
        for none in [b"".as_slice(), b"9.7\0.4", b"9.7\n", b"\xff", &[b'9'; LENGTH_MAX + 1]] {
            assert_eq!(check(none), None);
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(remembered(&file), None);
    }
}
