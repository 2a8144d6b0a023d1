//! One source is split between two clusters: by schema, by table of one schema, and by the applications' accounts.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_USER, Mysqld, Node, NodeOptions};
use site::Site;

const ROWS: u32 = 3_000;

/// What the two moves take, as lines of their sections: by schema and by table.
const BY_TABLE: [&str; 2] = ["tables = ['one.*', 'two.b']", "tables = ['two.c']"];
/// The same by schema, each behind a fence of its own.
const BY_SCHEMA: [&str; 2] =
    ["tables = ['one.*']\nfence = 'schemas'", "tables = ['two.*']\nfence = 'schemas'"];
/// The same, and the clients go by their accounts.
const BY_ACCOUNT: [&str; 2] = [
    "tables = ['one.*']\nfence = 'schemas'\nusers = ['app_a', 'jobs_a']",
    "tables = ['two.*']\nfence = 'schemas'\nusers = ['app_b']",
];

/// A site whose source has two schemas, and the settings of two moves to two clusters.
async fn split([left, right]: [&str; 2]) -> (Site, Node) {
    let site = Site::new("");
    let third = Node::start(&Mysqld::find().unwrap(), NodeOptions::new("third").server_id(3)).unwrap();
    let mut old = site.on(&site.old).await;
    for table in ["one.a", "two.b", "two.c", "two.stays"] {
        let schema = &table[..3];
        let sql = format!(
            "CREATE DATABASE IF NOT EXISTS {schema}; CREATE TABLE {table} (id INT PRIMARY KEY, v INT); \
             SET cte_max_recursion_depth = 100000; INSERT INTO {table} \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < {ROWS}) SELECT i, i FROM n"
        );
        old.query_all(sql).await.unwrap();
    }
    let cluster = |name: &str, port: u16| {
        format!(
            "[clusters.{name}]\nhost = '127.0.0.1'\nport = {port}\nuser = '{ADMIN_USER}'\npassword_file = 'password'\n"
        )
    };
    let settings = format!(
        "state_dir = 'state'\n{}{}{}\
         [moves.left]\nsource = 'old'\ntarget = 'new'\n{left}\n\
         [moves.right]\nsource = 'old'\ntarget = 'third'\n{right}\n\
         [front_door]\nlisten = '127.0.0.1:0'\ncluster = 'old'\n",
        cluster("old", site.old.port()),
        cluster("new", site.new.port()),
        cluster("third", third.port())
    );
    std::fs::write(site.dir.join("highwater.toml"), settings).unwrap();
    (site, third)
}

fn states(site: &Site) -> Vec<(String, String)> {
    let Some(status) = site.status() else { return Vec::new() };
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    status["moves"].as_array().unwrap().iter().map(|m| (text(&m["name"]), text(&m["state"]))).collect()
}

fn wait_for(site: &Site, moves: &[&str]) {
    let following: Vec<_> = moves.iter().map(|name| (*name, "following")).collect();
    wait_for_states(site, &following);
}

fn wait_for_states(site: &Site, moves: &[(&str, &str)]) {
    let until = Instant::now() + Duration::from_secs(60);
    let wanted: Vec<_> = moves.iter().map(|(m, state)| ((*m).to_owned(), (*state).to_owned())).collect();
    while states(site) != wanted {
        assert!(Instant::now() < until, "{:?}", states(site));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `schema.table:sum` of every table of the two schemas that is on a server.
async fn tables(site: &Site, node: &Node) -> Vec<String> {
    let mut server = site.on(node).await;
    let list = "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES \
                WHERE TABLE_SCHEMA IN ('one', 'two') ORDER BY 1";
    let mut found = Vec::new();
    for row in server.rows(list).await.unwrap() {
        let sum = format!("SELECT SUM(v) FROM {}", row.text(0));
        found.push(format!("{}:{}", row.text(0), server.row(sum).await.unwrap().unwrap().text(0)));
    }
    found
}

/// Waits until a server has just these.
async fn becomes(site: &Site, node: &Node, wanted: &[String]) {
    let until = Instant::now() + Duration::from_secs(20);
    while tables(site, node).await != wanted {
        assert!(Instant::now() < until, "{:?}, not {wanted:?}", tables(site, node).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_is_split_by_schema_and_by_table_and_each_move_has_its_own_ledger() {
    let (site, third) = split(BY_TABLE).await;
    let sum = u64::from(ROWS) * u64::from(ROWS + 1) / 2;
    let mut running = site.start("copy");
    wait_for(&site, &["left", "right"]);
    // Both follow, each what is its own.
    let mut old = site.on(&site.old).await;
    let write = "UPDATE one.a SET v = v + 1 WHERE id = 1; UPDATE two.b SET v = v + 2 WHERE id = 1; \
                 UPDATE two.c SET v = v + 3 WHERE id = 1; UPDATE two.stays SET v = v + 4 WHERE id = 1";
    old.query_all(format!("START TRANSACTION; {write}; COMMIT")).await.unwrap();
    becomes(&site, &site.new, &[format!("one.a:{}", sum + 1), format!("two.b:{}", sum + 2)]).await;
    becomes(&site, &third, &[format!("two.c:{}", sum + 3)]).await;

    running.kill_nine();
    old.query_all(write).await.unwrap();
    // One of them alone, then all again: each goes on from its own ledger.
    let mut running = site.start_with(&["copy", "--move", "right"]);
    wait_for(&site, &["right"]);
    becomes(&site, &third, &[format!("two.c:{}", sum + 6)]).await;
    running.kill_nine();
    let _running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    becomes(&site, &site.new, &[format!("one.a:{}", sum + 2), format!("two.b:{}", sum + 4)]).await;
    for name in ["left", "right"] {
        assert!(site.done(&["verify", "--move", name]).contains("every row is equal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cutover_that_would_stop_another_move_is_refused_by_name() {
    let (site, _third) = split(BY_TABLE).await;
    let _running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    for name in ["left", "right"] {
        site.done(&["verify", "--move", name]);
    }
    let rails = site.done(&["cutover", "--move", "left", "--dry-run"]);
    assert!(rails.contains("alone") && rails.contains("move 'right' of cluster 'old'"), "{rails}");
    let said = site.refused(&["cutover", "--move", "left"]);
    assert!(
        said.starts_with("error: cannot start cutover: move 'right' of cluster 'old' would be stopped"),
        "{said}"
    );
    assert!(said.contains("set `fence = \"schemas\"` for this move"), "{said}");
    let mut old = site.on(&site.old).await;
    old.execute("UPDATE two.stays SET v = 0 WHERE id = 1").await.unwrap();
    let said = site.refused(&["cutover"]);
    assert!(said.contains("several moves, and none was named"), "{said}");
}

fn door_port(site: &Site) -> u16 {
    let status = site.status().unwrap();
    let listen = status["door"]["listen"].as_str().unwrap().to_owned();
    listen.rsplit(':').next().unwrap().parse().unwrap()
}

/// A client of the front door in a schema.
async fn client(site: &Site, schema: &str) -> Connection {
    let schema = Some(schema.as_bytes().to_vec());
    let options = ConnectOptions { port: door_port(site), schema, ..site.admin(&site.old) };
    Connection::connect(&options).await.unwrap()
}

/// A client of an application's account, without a schema.
async fn of_account(site: &Site, user: &str) -> Connection {
    let options = ConnectOptions::new("127.0.0.1", door_port(site), user, Password::new(user));
    Connection::connect(&options).await.unwrap()
}

/// The server a client's statements go to, seen behind a write of its own.
async fn writes_to(client: &mut Connection, table: &str) -> String {
    client.execute(format!("UPDATE {table} SET v = v + 1 WHERE id = 2")).await.unwrap();
    client.row("SELECT @@server_id").await.unwrap().unwrap().text(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_of_schemas_cross_one_by_one_and_back_while_clients_of_the_other_go_on() {
    let (site, third) = split(BY_SCHEMA).await;
    let sum = u64::from(ROWS) * u64::from(ROWS + 1) / 2;
    let _running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    let (mut one, mut two) = (client(&site, "one").await, client(&site, "two").await);
    for name in ["left", "right"] {
        site.done(&["verify", "--move", name]);
    }
    // How often each has written, and where to.
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("1".into(), "1".into()));
    site.done(&["cutover", "--move", "left"]);
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("2".into(), "1".into()));
    // Together no statement can use them now; one by one a client can.
    let across = one.execute("UPDATE one.a, two.b SET a.v = 0, b.v = 0").await.unwrap_err();
    assert_eq!(across.server_code(), Some(1235), "{across}");
    one.execute("USE two").await.unwrap();
    assert_eq!(writes_to(&mut one, "b").await, "1");
    one.execute("USE one").await.unwrap();
    site.done(&["cutover", "--move", "right"]);
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("2".into(), "3".into()));
    site.done(&["rollback", "--move", "left"]);
    assert_eq!((writes_to(&mut one, "a").await, writes_to(&mut two, "b").await), ("1".into(), "3".into()));
    // Every write is on both servers of its move, once.
    becomes(&site, &site.new, &[format!("one.a:{}", sum + 4)]).await;
    let rest = [format!("two.b:{}", sum + 5), format!("two.c:{sum}"), format!("two.stays:{sum}")];
    becomes(&site, &third, &rest).await;
    becomes(&site, &site.old, &[&[format!("one.a:{}", sum + 4)], &rest[..]].concat()).await;
    for name in ["left", "right"] {
        assert!(site.done(&["verify", "--move", name]).contains("every row is equal"));
    }
    let said = site.done(&["finish", "--move", "right"]);
    assert!(
        said.contains("in place of [moves.right] the settings need `schemas = { two = \"third\" }`"),
        "{said}"
    );
}

/// Clients that write in transactions, as two applications: app_a and jobs_a in one.a, app_b in two.b.
struct Writing {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<(&'static str, tokio::task::JoinHandle<[u64; 3]>)>,
}

impl Writing {
    async fn start(site: &Site) -> Self {
        let (stop, done): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let mut clients = Vec::new();
        for (user, table, id) in
            [("app_a", "one.a", 11), ("app_b", "two.b", 12), ("jobs_a", "one.a", 13), ("app_b", "two.b", 14)]
        {
            let client = of_account(site, user).await;
            let writing = write_on(client, table, id, Arc::clone(&stop), Arc::clone(&done));
            clients.push((user, tokio::spawn(writing)));
        }
        Self { stop, done, clients }
    }

    /// Waits until they have written so much more.
    async fn more(&self, much: u64) {
        let (wanted, until) = (self.done.load(SeqCst) + much, Instant::now() + Duration::from_secs(20));
        while self.done.load(SeqCst) < wanted {
            assert!(Instant::now() < until, "they do not write");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How much the servers 1, 2 and 3 took of the first application, and of the second.
    async fn stop(self) -> [[u64; 3]; 2] {
        self.stop.store(true, SeqCst);
        let mut counts = [[0; 3]; 2];
        for (user, client) in self.clients {
            let counted = client.await.unwrap();
            for (sum, n) in counts[usize::from(user == "app_b")].iter_mut().zip(counted) {
                *sum += n;
            }
        }
        counts
    }
}

/// No statement of it may fail.
async fn write_on(
    mut client: Connection,
    table: &str,
    id: u32,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> [u64; 3] {
    let mut by_server = [0; 3];
    while !stop.load(SeqCst) {
        client.execute("BEGIN").await.unwrap();
        client.execute(format!("UPDATE {table} SET v = v + 1 WHERE id = {id}")).await.unwrap();
        let server = client.row("SELECT @@server_id").await.unwrap().unwrap().text(0);
        client.execute("COMMIT").await.unwrap();
        by_server[server.parse::<usize>().unwrap() - 1] += 1;
        done.fetch_add(1, SeqCst);
    }
    by_server
}

async fn server_of(site: &Site, user: &str) -> String {
    of_account(site, user).await.row("SELECT @@server_id").await.unwrap().unwrap().text(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_one_application_cross_under_load_and_nobody_else_notices() {
    let (site, third) = split(BY_ACCOUNT).await;
    for node in [&site.old, &site.new, &third] {
        let mut server = site.on(node).await;
        for user in ["app_a", "jobs_a", "app_b"] {
            server.execute(format!("CREATE USER {user} IDENTIFIED BY '{user}'")).await.unwrap();
            server.execute(format!("GRANT SELECT, UPDATE ON *.* TO {user}")).await.unwrap();
        }
    }
    let mut running = site.start("serve");
    wait_for(&site, &["left", "right"]);
    for name in ["left", "right"] {
        site.done(&["verify", "--move", name]);
    }
    let rails = site.done(&["cutover", "--move", "left", "--dry-run"]);
    assert!(rails.contains("they are those of account app_a, jobs_a"), "{rails}");

    // Who stays is not waited for, may be pinned, and goes on meanwhile.
    let mut inside = of_account(&site, "app_b").await;
    inside.execute("SET @pinned = 5").await.unwrap();
    inside.execute("BEGIN").await.unwrap();
    inside.execute("UPDATE two.c SET v = v + 1 WHERE id = 20").await.unwrap();
    let writing = Writing::start(&site).await;
    writing.more(60).await;
    site.done(&["cutover", "--move", "left"]);
    writing.more(60).await;
    let [first, second] = writing.stop().await;
    assert!(first[0] > 0 && first[1] > 0 && first[2] == 0, "{first:?}");
    assert!(second[0] > 0 && second[1..] == [0, 0], "{second:?}");
    assert_eq!(inside.row("SELECT @pinned + @@server_id").await.unwrap().unwrap().text(0), "6");
    inside.execute("COMMIT").await.unwrap();
    // What has moved is not written where it was.
    let gone = inside.execute("UPDATE one.a SET v = 0").await.unwrap_err();
    assert!(
        gone.server_code() == Some(1235) && gone.to_string().contains("schema 'one' is on cluster 'new'"),
        "{gone}"
    );
    drop(inside);

    // The journal says where they are.
    running.kill_nine();
    let _running = site.start("serve");
    wait_for_states(&site, &[("left", "switched"), ("right", "following")]);
    assert_eq!((server_of(&site, "jobs_a").await, server_of(&site, "app_b").await), ("2".into(), "1".into()));
    let status = site.status().unwrap();
    let routes = status["door"]["routes"].as_array().unwrap();
    let led = |of: &str| routes.iter().find(|r| r["of"] == of).map(|r| r["cluster"].clone());
    assert_eq!((led("account app_a"), led("account app_b")), (Some("new".into()), Some("old".into())));
    assert_eq!(led("schema one"), None);

    // And the way back; then the other application goes its own way.
    let writing = Writing::start(&site).await;
    writing.more(60).await;
    site.done(&["rollback", "--move", "left"]);
    writing.more(60).await;
    site.done(&["cutover", "--move", "right"]);
    writing.more(60).await;
    let [back, away] = writing.stop().await;
    assert!(back[0] > 0 && back[1] > 0 && back[2] == 0, "{back:?}");
    assert!(away[0] > 0 && away[1] == 0 && away[2] > 0, "{away:?}");
    // Every write is on both servers of its move, once.
    let sum = u64::from(ROWS) * u64::from(ROWS + 1) / 2;
    let total = |counts: [[u64; 3]; 2]| counts.into_iter().flatten().sum::<u64>();
    let one = [format!("one.a:{}", sum + total([first, back]))];
    becomes(&site, &site.new, &one).await;
    let two = [
        format!("two.b:{}", sum + total([second, away])),
        format!("two.c:{}", sum + 1),
        format!("two.stays:{sum}"),
    ];
    becomes(&site, &third, &two).await;
    becomes(&site, &site.old, &[&one[..], &two[..]].concat()).await;
    let said = site.done(&["finish", "--move", "right"]);
    assert!(
        said.contains(
            "in place of [moves.right] the settings need `cluster = \"third\"` in [front_door.users.app_b]"
        ),
        "{said}"
    );
}
