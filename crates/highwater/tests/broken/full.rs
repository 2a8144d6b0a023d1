//! A server whose disk is full. On a [`sandbox::Disk`] it is; where no such disk can be had, a read lock stands in for it: the same
//! commits wait.
//!
//! Seen of MySQL 9.7.4: the commit that finds no room for the binary log waits, with all that come after it, and looks again every
//! sixty seconds; the server says so in its error log. Whoever only reads is served. Where InnoDB resizes its redo log just then, it ends
//! the server.

#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

use std::time::{Duration, Instant};

use mysql::Connection;
use tokio::task::JoinHandle;

use super::{AfterFull, Ground, PATIENCE};
use crate::site::Site;

/// How long a server may take to notice that there is room: it looks once a minute.
const LOOKS_AGAIN_WITHIN: Duration = Duration::from_secs(70);
/// Bytes that what waits takes of the binary log: more than the last page of a file has left.
const MORE_THAN_A_PAGE: u32 = 6_000;
/// What a server writes into its error log when a commit finds no room.
const WAITS: &str = "Disk is full writing";

/// Something that does not move, for writes that fill the last pages of files.
pub async fn prepare(site: &Site) {
    for node in [&site.old, &site.new] {
        site.on(node).await.query_all(
            "SET SESSION sql_log_bin = 0; CREATE DATABASE elsewhere; CREATE TABLE elsewhere.ballast (id INT PRIMARY KEY, v BLOB); \
             INSERT INTO elsewhere.ballast VALUES (1, 'x')",
        ).await.unwrap();
    }
}

/// A server that cannot write.
pub enum Full {
    /// A commit waits for room.
    Disk { server: usize, waiting: JoinHandle<Result<u64, mysql::Error>> },
    /// Commits wait for this connection.
    StandIn(Connection),
}

impl Full {
    /// Fills a server's disk, and waits until a commit waits.
    pub async fn fill(ground: &Ground, server: usize) -> Self {
        let node = if server == 0 { &ground.site.old } else { &ground.site.new };
        let mut connection = ground.site.on(node).await;
        let Some(disk) = node.disk() else {
            connection.execute("FLUSH TABLES WITH READ LOCK").await.unwrap();
            return Self::StandIn(connection);
        };
        let (log, said) = (node.error_log(), || std::fs::read_to_string(node.error_log()).unwrap());
        let before = said().matches(WAITS).count();
        disk.fill().unwrap();
        let sql = format!("UPDATE elsewhere.ballast SET v = CONCAT(RAND(), REPEAT('x', {MORE_THAN_A_PAGE}))");
        let waiting = tokio::spawn(async move { connection.execute(sql).await.map(|_| 0) });
        let begun = Instant::now();
        while said().matches(WAITS).count() == before {
            assert!(begun.elapsed() < PATIENCE, "{}: no commit waits for room", log.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self::Disk { server, waiting }
    }

    /// Makes room, and waits until the server writes again.
    pub async fn free(self, ground: &mut Ground, after: AfterFull) {
        let (server, waiting) = match self {
            Self::StandIn(mut lock) => {
                lock.execute("UNLOCK TABLES").await.unwrap();
                return;
            }
            Self::Disk { server, waiting } => (server, waiting),
        };
        let node = ground.node(server);
        node.disk().unwrap().free().unwrap();
        let written = match after {
            AfterFull::Restarted => {
                node.kill_nine().unwrap();
                waiting.await.unwrap()
            }
            AfterFull::WaitedFor => {
                tokio::time::timeout(LOOKS_AGAIN_WITHIN, waiting).await.expect("there is room").unwrap()
            }
        };
        // What becomes of a server that somebody has ended a commit of, while it waited for room.
        let said = std::fs::read_to_string(node.error_log()).unwrap();
        assert!(
            !said.contains("Binary logging not possible"),
            "somebody has ended a commit that waited:\n{said}"
        );
        if written.is_err() || after == AfterFull::Restarted {
            if after == AfterFull::WaitedFor {
                println!("         the server has ended itself: InnoDB had no room for its redo log");
                assert!(said.contains("Missing space on disk"), "it has ended:\n{said}");
                node.kill_nine().unwrap();
            }
            node.restart().unwrap();
        }
    }
}
