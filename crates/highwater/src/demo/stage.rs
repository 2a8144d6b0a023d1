//! Two servers that differ as in the story, and the settings of a move between them.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use model::Trouble;
use mysql::{ConnectOptions, Password};
use sandbox::{
    ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions, SHOP_PASSWORD, SHOP_USER, SandboxError,
};

use super::narrator::Narrator;
use crate::config::{self, ResolvedConfig};

/// The servers and the settings.
pub(super) struct Stage {
    old: Node,
    new: Node,
    folder: PathBuf,
    config: ResolvedConfig,
    keep: bool,
    version: String,
}

impl Stage {
    /// Starts the servers and writes the settings.
    pub(super) async fn set(keep: bool, narrator: &Narrator) -> Result<Self, Trouble> {
        narrator.say("starting two MySQL servers: `old` on Pacific time, `new` on UTC, both durable");
        let started = tokio::task::spawn_blocking(|| {
            let mysqld = Mysqld::find()?;
            let old = NodeOptions::new("old").server_id(1).time_zone_env("America/Los_Angeles").durable();
            let new = NodeOptions::new("new").server_id(2).time_zone_env("UTC").durable();
            // The story's ceiling is the number of connections; here it is the machine's.
            let room = |options: NodeOptions| options.arg("--max-connections=2000");
            Ok((
                Node::start(&mysqld, room(old))?,
                Node::start(&mysqld, room(new))?,
                mysqld.version().to_owned(),
            ))
        });
        let (old, new, version) = started
            .await
            .map_err(|e| {
                Trouble::new(format!("cannot start the servers: {e}"), "nothing is left running", "")
            })?
            .map_err(|e: SandboxError| Trouble::new(e.what, e.state, e.hint))?;
        let folder = std::env::temp_dir().join(format!("highwater-demo-{}", std::process::id()));
        let config = write_settings(&folder, &old, &new)?;
        narrator.say(&format!(
            "MySQL {version} listens on ports {} (old) and {} (new); settings in {}",
            old.port(),
            new.port(),
            folder.join("highwater.toml").display()
        ));
        Ok(Self { old, new, folder, config, keep, version })
    }

    pub(super) fn config(&self) -> &ResolvedConfig {
        &self.config
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Our account on the old server.
    pub(super) fn on_old(&self) -> ConnectOptions {
        ConnectOptions::new("127.0.0.1", self.old.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD))
    }

    /// Our account on the new server.
    pub(super) fn on_new(&self) -> ConnectOptions {
        ConnectOptions::new("127.0.0.1", self.new.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD))
    }

    /// The application's account, through the front door.
    pub(super) fn shopper(&self, door: std::net::SocketAddr) -> ConnectOptions {
        let host = door.ip().to_string();
        ConnectOptions::new(&host, door.port(), SHOP_USER, Password::new(SHOP_PASSWORD))
    }

    /// Ends the servers and removes what they left, unless that is to be kept.
    pub(super) async fn strike(self) {
        let Self { old, new, folder, keep, .. } = self;
        let struck = tokio::task::spawn_blocking(move || {
            drop((old, new));
            if !keep {
                // A folder that cannot be removed is in the temporary directory, where it does no harm.
                let _ = fs::remove_dir_all(folder);
            }
        });
        let _ = struck.await;
    }
}

/// A settings file as an operator would write it, so that every command can be tried on the demo while it runs.
fn write_settings(folder: &Path, old: &Node, new: &Node) -> Result<ResolvedConfig, Trouble> {
    let failed = |e: std::io::Error| {
        let what = format!("cannot write the settings in {}: {e}", folder.display());
        Trouble::new(what, "nothing is left running", "see that the temporary directory can be written")
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    fs::write(folder.join("password"), ADMIN_PASSWORD).map_err(failed)?;
    let cluster = |name: &str, node: &Node| {
        format!(
            "[clusters.{name}]\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{ADMIN_USER}\"\npassword_file = \"password\"\n\n",
            node.port()
        )
    };
    let text = format!(
        "state_dir = \"state\"\n\n{}{}[moves.shop]\nsource = \"old\"\ntarget = \"new\"\ntables = [\"shop.*\"]\n\n\
         [front_door]\nlisten = \"127.0.0.1:0\"\ncluster = \"old\"\n",
        cluster("old", old),
        cluster("new", new)
    );
    let file = folder.join("highwater.toml");
    fs::write(&file, text).map_err(failed)?;
    config::load(&file)
}
