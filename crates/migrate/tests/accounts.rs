//! Accounts move along: with their passwords, roles and grants, and with what became of them on the source since.

#![allow(clippy::unwrap_used)]

mod world;

use migrate::{Accounts, Along, CopyOptions, Mover, MoverOptions, Start};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::Node;
use world::{World, admin, copied, spec};

const ACCOUNTS: &str = r"
CREATE ROLE reader, 'bo''ss'@'10.%', idle;
GRANT SELECT ON app.* TO reader;
GRANT reader TO 'bo''ss'@'10.%';
GRANT UPDATE (note), DELETE ON app.account TO 'bo''ss'@'10.%';
CREATE USER till@'%' IDENTIFIED BY 'old one' REQUIRE NONE WITH MAX_USER_CONNECTIONS 7 PASSWORD HISTORY 3 FAILED_LOGIN_ATTEMPTS 5 PASSWORD_LOCK_TIME 1 COMMENT 'the '' shop';
GRANT 'bo''ss'@'10.%', idle TO till@'%';
SET DEFAULT ROLE 'bo''ss'@'10.%' TO till@'%';
GRANT INSERT ON app.* TO till@'%' WITH GRANT OPTION;
GRANT CONNECTION_ADMIN ON *.* TO till@'%';
CREATE DATABASE elsewhere; CREATE TABLE elsewhere.t (i INT);
GRANT SELECT ON elsewhere.t TO till@'%';
CREATE USER other@'localhost' IDENTIFIED BY 'x' ACCOUNT LOCK";

fn along(names: &[&str]) -> Along {
    Along { accounts: Accounts::Named(names.iter().map(|n| (*n).to_owned()).collect()), ..Along::default() }
}

async fn bring(world: &World, along: &Along) -> Result<(), String> {
    let brought = migrate::along::bring(&admin(&world.source), &admin(&world.target), &spec(), along).await;
    brought.map_err(|error| format!("{error}; {}", error.trouble().hint))
}

/// What SHOW CREATE USER and SHOW GRANTS say, but for tables that do not move.
async fn shown(server: &mut Connection, account: &str) -> Vec<String> {
    server.execute("SET SESSION print_identified_with_as_hex=ON").await.unwrap();
    let mut all = Vec::new();
    for sql in [format!("SHOW CREATE USER {account}"), format!("SHOW GRANTS FOR {account}")] {
        all.extend(server.rows(sql).await.unwrap().iter().map(|row| row.text(0)));
    }
    all.retain(|line| !line.contains("elsewhere"));
    all.sort();
    all
}

async fn logs_in(node: &Node, password: &str) -> bool {
    Connection::connect(&ConnectOptions::new("127.0.0.1", node.port(), "till", Password::new(password)))
        .await
        .is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_arrive_with_all_they_have_and_follow_what_becomes_of_them() {
    let world = World::new().await;
    let (mut source, mut target) = (world.on_source().await, world.on_target().await);
    source.query_all(ACCOUNTS).await.unwrap();
    let options = CopyOptions { along: along(&["till@%"]), ..CopyOptions::default() };
    let mover = Mover::start(MoverOptions { start: Start::Copy(options), ..world.options() }).await.unwrap();
    copied(&mover).await;
    let along = along(&["till@%"]);
    bring(&world, &along).await.unwrap();
    for account in ["till@'%'", "reader", "'bo''ss'@'10.%'", "idle"] {
        assert_eq!(shown(&mut target, account).await, shown(&mut source, account).await, "{account}");
    }
    assert!(target.rows("SHOW CREATE USER other@localhost").await.is_err());
    assert!(logs_in(&world.target, "old one").await && !logs_in(&world.target, "new one").await);

    // What has changed on the source since is brought again, what was taken away included.
    source
        .query_all(
            "ALTER USER till@'%' IDENTIFIED BY 'new one'; REVOKE CONNECTION_ADMIN ON *.* FROM till@'%'; \
             REVOKE INSERT ON app.* FROM till@'%'; REVOKE idle FROM till@'%'; GRANT DELETE ON app.pair TO till@'%'; \
             SET DEFAULT ROLE NONE TO till@'%'",
        )
        .await
        .unwrap();
    bring(&world, &along).await.unwrap();
    assert_eq!(shown(&mut target, "till@'%'").await, shown(&mut source, "till@'%'").await);
    assert!(logs_in(&world.target, "new one").await && !logs_in(&world.target, "old one").await);

    // Half made, it is made again.
    target
        .query_all("UPDATE highwater.accounts SET on_target=NULL; REVOKE ALL, GRANT OPTION FROM till@'%'")
        .await
        .unwrap();
    bring(&world, &along).await.unwrap();
    assert_eq!(shown(&mut target, "till@'%'").await, shown(&mut source, "till@'%'").await);

    // What someone has changed on the target is his.
    target.execute("ALTER USER till@'%' IDENTIFIED BY 'mine'").await.unwrap();
    let refused = bring(&world, &along).await.unwrap_err();
    assert!(
        refused.starts_with("account till@% is on the target already, and is another one: its password"),
        "{refused}"
    );
    assert!(logs_in(&world.target, "mine").await);
    target.execute("DROP USER till@'%'").await.unwrap();
    bring(&world, &along).await.unwrap();
    assert!(logs_in(&world.target, "new one").await);
    assert_eq!(mover.watched().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_not_there_or_is_another_one_is_refused_by_name() {
    let world = World::new().await;
    migrate::ledger::create(&mut world.on_target().await).await.unwrap();
    let refused = bring(&world, &along(&["nobody@%"])).await.unwrap_err();
    assert!(
        refused.starts_with("account nobody@%, which is to move along, is not on the source"),
        "{refused}"
    );

    world
        .on_source()
        .await
        .query_all("CREATE USER a@'%' IDENTIFIED BY 'x'; CREATE USER b@'%'")
        .await
        .unwrap();
    world.on_target().await.execute("CREATE USER a@'%' IDENTIFIED BY 'y'").await.unwrap();
    let refused = bring(&world, &along(&["a@%"])).await.unwrap_err();
    assert!(refused.contains("DROP USER 'a'@'%' on the target") && !refused.contains("0x"), "{refused}");
    world.on_target().await.execute("DROP USER a@'%'").await.unwrap();
    bring(&world, &Along { accounts: Accounts::All, ..Along::default() }).await.unwrap();
    for account in ["a@'%'", "b@'%'"] {
        let (here, there) = (&mut world.on_source().await, &mut world.on_target().await);
        assert_eq!(shown(there, account).await, shown(here, account).await);
    }
}
