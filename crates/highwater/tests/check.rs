//! `highwater check` against two real servers.
#![allow(clippy::unwrap_used, reason = "a test ends where its own files and processes fail it")]

use std::path::PathBuf;
use std::process::{Command, Output};

use sandbox::{ADMIN_PASSWORD, Mysqld, Node, NodeOptions};

struct Pair {
    source: Node,
    target: Node,
    dir: PathBuf,
}

impl Pair {
    fn start() -> Self {
        let mysqld = Mysqld::find().unwrap();
        let source = Node::start(&mysqld, NodeOptions::new("old").server_id(1)).unwrap();
        let target = Node::start(&mysqld, NodeOptions::new("new").server_id(2)).unwrap();
        let dir = std::env::temp_dir().join(format!("hw-check-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let pair = Self { source, target, dir };
        let settings = format!(
            "[clusters.old]\nhost = '127.0.0.1'\nport = {}\nuser = 'highwater'\npassword_env = 'OLD_PASSWORD'\n\
             [clusters.new]\nhost = '127.0.0.1'\nport = {}\nuser = 'highwater'\npassword_env = 'NEW_PASSWORD'\n\
             [moves.shop]\nsource = 'old'\ntarget = 'new'\ntables = ['shop.*']\n",
            pair.source.port(),
            pair.target.port()
        );
        std::fs::write(pair.dir.join("highwater.toml"), settings).unwrap();
        pair
    }

    fn check(&self, source_password: &str, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_highwater"))
            .arg("check")
            .args(args)
            .current_dir(&self.dir)
            .env("OLD_PASSWORD", source_password)
            .env("NEW_PASSWORD", ADMIN_PASSWORD)
            .output()
            .unwrap()
    }

    async fn on_source(&self, sql: &str) {
        let password = mysql::Password::new(ADMIN_PASSWORD);
        let options = mysql::ConnectOptions::new("127.0.0.1", self.source.port(), "highwater", password);
        mysql::Connection::connect(&options).await.unwrap().query_all(sql).await.unwrap();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn check_prints_its_report_and_exits_by_it() {
    let pair = Pair::start();

    let refused = pair.check("not the password", &[]);
    assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(1), ""));
    let complaint = text(&refused.stderr);
    let expected = format!(
        "error: cannot reach cluster 'old': 127.0.0.1:{} refuses account 'highwater': server error 1045: \
         Access denied for user 'highwater'",
        pair.source.port()
    );
    assert!(complaint.starts_with(&expected), "{complaint}");
    assert!(complaint.ends_with(
        "state: nothing was changed; a check writes nothing\n\
         hint:  correct `user` and its password in the settings, or create the account on the server\n"
    ));
    assert!(!complaint.contains("not the password"));

    pair.on_source(
        "CREATE DATABASE IF NOT EXISTS shop; CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE=InnoDB",
    )
    .await;
    let good = pair.check(ADMIN_PASSWORD, &[]);
    assert_eq!(good.status.code(), Some(0), "{}{}", text(&good.stdout), text(&good.stderr));
    assert!(text(&good.stdout).contains("0 refused"), "{}", text(&good.stdout));

    pair.on_source("CREATE TABLE shop.notes (id INT PRIMARY KEY) ENGINE=MyISAM").await;
    let bad = pair.check(ADMIN_PASSWORD, &["--json"]);
    assert_eq!(bad.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&bad.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks
            .iter()
            .any(|check| check["outcome"] == "refused" && check["evidence"].to_string().contains("notes"))
    );
    assert!(text(&bad.stderr).starts_with("error: move 'shop' is refused by "), "{}", text(&bad.stderr));
}
