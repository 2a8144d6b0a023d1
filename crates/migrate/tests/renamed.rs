//! A move whose schemas have other names on the target: there, back, and there again.
//!
//! Each side has schemas of its own that are called what the moved ones are called on the other side, with tables of the same names
//! and other rows: whoever sends a name to the wrong server reads or writes those, and is seen.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use migrate::check::{Outcome, Server, TargetState, check};
use migrate::cutover::{CutoverOptions, Home, Hooks, MoveDriver, Phase, TrafficGate, Unproven};
use migrate::{Accounts, Along, CopyOptions, Fence, MoveSpec, Renames, TablePattern};
use model::Trouble;
use mysql::{ConnectOptions, Connection, Password};
use world::{World, admin, copied};

/// No door: a front door could not change the names in clients' statements.
struct HooksOnly;

impl TrafficGate for HooksOnly {
    async fn warm(&self, _to: Home) -> Result<(), Trouble> {
        Ok(())
    }
    fn holds_clients(&self) -> bool {
        false
    }
    fn hold(&self) {}
    async fn drain(&self, _deadline: Duration) -> Result<(), Trouble> {
        Ok(())
    }
    fn switch(&self, _to: Home, _epoch: u64) {}
    fn release(&self) {}
}

/// What moves: foreign keys within a schema and across, a table without a key, and objects that name schemas in every way that can be
/// told for certain. The schemas have accounts of their names.
const SHOP: &str = "SET GLOBAL log_bin_trust_function_creators = ON; CREATE USER mail@'%' IDENTIFIED BY 'mail';
CREATE DATABASE shop COLLATE utf8mb4_bin; CREATE DATABASE mail;
CREATE TABLE mail.people (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(30));
CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, person INT, note VARCHAR(30) COMMENT 'of `shop`.`orders`', KEY note (note),
  CONSTRAINT across FOREIGN KEY (person) REFERENCES mail.people (id));
CREATE TABLE shop.parts (id INT PRIMARY KEY AUTO_INCREMENT, orders INT, CONSTRAINT within FOREIGN KEY (orders) REFERENCES shop.orders (id));
CREATE TABLE shop.journal (what VARCHAR(30), n INT);
CREATE TABLE shop.one LIKE shop.journal; CREATE TABLE shop.two LIKE shop.journal;
INSERT INTO mail.people (name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i FROM n;
INSERT INTO shop.orders (person, note) SELECT id, name FROM mail.people;
INSERT INTO shop.parts (orders) SELECT id FROM shop.orders;
INSERT INTO shop.journal SELECT name, id MOD 7 FROM mail.people;
INSERT INTO shop.one VALUES ('one', 1); INSERT INTO shop.two VALUES ('two', 2);
USE shop;
CREATE FUNCTION dbl(x INT) RETURNS INT DETERMINISTIC COMMENT 'of shop' RETURN x * 2;
CREATE DEFINER = mail@'%' VIEW own AS SELECT id, note FROM orders;
CREATE VIEW across AS SELECT o.id, p.name, shop.dbl(o.id) AS twice FROM orders o JOIN mail.people p ON p.id = o.person;
CREATE PROCEDURE count_all() SELECT COUNT(*) FROM shop.orders, `mail`.people;
CREATE TRIGGER counted AFTER INSERT ON shop.parts FOR EACH ROW INSERT INTO shop.journal VALUES ('part', NEW.orders);
CREATE EVENT sweep ON SCHEDULE EVERY 1 DAY STARTS '2036-01-01 00:00:00' DO DELETE FROM shop.journal WHERE n < 0;
GRANT SELECT, INSERT ON shop.* TO mail@'%'; GRANT SELECT (id) ON mail.people TO mail@'%'; GRANT EXECUTE ON PROCEDURE shop.count_all TO mail@'%'";

/// The schemas of a side that do not move, and are called what moved ones are called on the other side.
fn decoys(shop: &str, mail: &str) -> String {
    let tables = ["orders", "parts", "journal", "one", "two", "late", "made"].map(|table| {
        format!("CREATE TABLE {shop}.{table} (id INT PRIMARY KEY, decoy INT); INSERT INTO {shop}.{table} VALUES (1, 1);")
    });
    format!(
        "CREATE DATABASE {shop}; CREATE DATABASE {mail}; CREATE TABLE {mail}.people (id INT PRIMARY KEY, decoy INT); \
         INSERT INTO {mail}.people VALUES (1, 1); {} CREATE VIEW {shop}.own AS SELECT 1",
        tables.concat()
    )
}

/// The names on a side: of the schemas that move, and of those that must be left alone.
fn names(server: usize) -> ([&'static str; 2], [&'static str; 2]) {
    let (old, new) = (["shop", "mail"], ["store", "post"]);
    if server == 0 { (old, new) } else { (new, old) }
}

fn spec() -> MoveSpec {
    let all = |schema: &str| TablePattern { schema: schema.into(), table: None };
    MoveSpec {
        name: "shop".into(),
        tables: vec![all("shop"), all("mail")],
        renames: Renames::new([("shop".into(), "store".into()), ("mail".into(), "post".into())]),
    }
}

struct Site {
    world: World,
}

impl Site {
    async fn new() -> Self {
        let world = World::new().await;
        let site = Self { world };
        let sql = format!("{SHOP}; {}", decoys("store", "post"));
        site.at(0).await.query_all(sql).await.unwrap();
        let sql = format!("SET GLOBAL log_bin_trust_function_creators = ON; {}", decoys("shop", "mail"));
        site.at(1).await.query_all(sql).await.unwrap();
        site
    }

    fn options(&self, server: usize) -> ConnectOptions {
        admin(if server == 0 { &self.world.source } else { &self.world.target })
    }

    async fn at(&self, server: usize) -> Connection {
        Connection::connect(&self.options(server)).await.unwrap()
    }

    fn said(&self) -> PathBuf {
        self.world.source.dir().join("said")
    }

    async fn driver(&self, fence: Fence) -> MoveDriver<HooksOnly> {
        let hook = |word: &str| {
            let script = format!("echo {word} >> '{}'", self.said().display());
            ["sh".to_owned(), "-c".to_owned(), script].to_vec()
        };
        let hooks = Hooks {
            before: [(Phase::Hold, hook("away"))].into(),
            after: [(Phase::Switch, hook("settings"))].into(),
            ..Hooks::default()
        };
        let options = CutoverOptions { fence, hooks, ..CutoverOptions::default() };
        let along = Along { objects: true, accounts: Accounts::Named(vec!["mail@%".into()]) };
        let copy = CopyOptions { readers: 2, chunk_rows: 50, along, ..CopyOptions::default() };
        let clusters = (self.options(0), self.options(1));
        let journal = self.world.source.dir().join("shop.journal");
        MoveDriver::start(spec(), clusters, &journal, copy, options, Arc::new(HooksOnly)).await.unwrap()
    }

    /// Everything that can be seen of the moved schemas of a server, in the names of the source.
    async fn moved(&self, server: usize) -> Vec<String> {
        let mut on = self.at(server).await;
        let mut all = seen(&mut on, &names(server).0).await;
        if server == 1 {
            for text in &mut all {
                *text = text.replace("`store`", "`shop`").replace("`post`", "`mail`");
                *text = text.replace("store.", "shop.").replace("post.", "mail.");
            }
        }
        all
    }

    /// The same of what must be left alone there.
    async fn left(&self, server: usize) -> Vec<String> {
        seen(&mut self.at(server).await, &names(server).1).await
    }
}

/// Definitions and rows of schemas, table by table.
async fn seen(on: &mut Connection, schemas: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for schema in schemas {
        on.query_all(format!("USE {schema}; SET NAMES utf8mb4")).await.unwrap();
        let list = format!(
            "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{schema}' ORDER BY 1"
        );
        for row in on.rows(list).await.unwrap() {
            let table = row.text(0);
            let is_view = row.text(1) == "VIEW";
            let word = if is_view { "VIEW" } else { "TABLE" };
            let shown = on.row(format!("SHOW CREATE {word} `{table}`")).await.unwrap().unwrap().text(1);
            // The counter is advanced at a cutover, and may be past the source's.
            let shown =
                shown.split(" AUTO_INCREMENT=").map(|s| s.trim_start_matches(|c: char| c.is_ascii_digit()));
            let mut rows: Vec<String> = on
                .rows(format!("SELECT * FROM `{table}`"))
                .await
                .unwrap()
                .iter()
                .map(|row| (0..row.len()).map(|i| row.text(i)).collect::<Vec<_>>().join(","))
                .collect();
            rows.sort();
            all.push(format!("{schema}.{table}: {}\n{}", shown.collect::<String>(), rows.join("\n")));
        }
        let lists = [
            ("ROUTINE_TYPE, ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA"),
            ("'TRIGGER', TRIGGER_NAME", "TRIGGERS", "TRIGGER_SCHEMA"),
            ("'EVENT', EVENT_NAME", "EVENTS", "EVENT_SCHEMA"),
        ];
        for (what, from, of) in lists {
            let list =
                format!("SELECT {what} FROM information_schema.{from} WHERE {of} = '{schema}' ORDER BY 1, 2");
            for row in on.rows(list).await.unwrap() {
                let (word, name) = (row.text(0), row.text(1));
                let text = if word == "EVENT" { 3 } else { 2 };
                let shown = on.row(format!("SHOW CREATE {word} `{name}`")).await.unwrap().unwrap().text(text);
                // Names that had no quotes have them when they were replaced.
                all.push(format!("{schema}.{name}: {word} {}", shown.replace('`', "")));
            }
        }
        let shown = on.row(format!("SHOW CREATE DATABASE `{schema}`")).await.unwrap().unwrap().text(1);
        all.push(shown);
    }
    all
}

/// The application, which knows the schemas by the names of the server that serves it.
struct Application {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<u64>,
}

impl Application {
    fn start(options: ConnectOptions, server: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let ([shop, mail], _) = names(server);
        let task = tokio::spawn(async move {
            let mut on = Connection::connect(&options).await.unwrap();
            on.execute("SET SESSION foreign_key_checks = 1").await.unwrap();
            let mut n = 0_u64;
            while !ending.load(Ordering::Relaxed) {
                n += 1;
                let id = n % 300 + 1;
                let sql = format!(
                    "START TRANSACTION; INSERT INTO {mail}.people (name) VALUES ('new'); \
                     INSERT INTO {shop}.orders (person, note) VALUES (LAST_INSERT_ID(), 'new'); \
                     INSERT INTO {shop}.parts (orders) VALUES (LAST_INSERT_ID()); \
                     UPDATE {shop}.orders SET note = '{n}' WHERE id = {id}; UPDATE {mail}.people SET name = '{n}' WHERE id = {id}; \
                     DELETE FROM {shop}.parts WHERE id = {id}; INSERT INTO {shop}.journal VALUES ('app', {n} MOD 5); \
                     DELETE FROM {shop}.journal WHERE n = {n} MOD 3 LIMIT 1; UPDATE {shop}.journal SET n = n + 1 WHERE n = 5 LIMIT 1; COMMIT"
                );
                on.query_all(sql).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            n
        });
        Self { stop, task }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn applied(site: &Site, driver: &MoveDriver<HooksOnly>, server: usize) {
    let wanted = migrate::gtid_executed(&mut site.at(server).await, migrate::Side::Source).await.unwrap();
    let mover = driver.mover().unwrap();
    tokio::time::timeout(Duration::from_secs(30), mover.applied(&wanted)).await.expect("catches up").unwrap();
}

/// Statements that change tables, in every way of naming them, on the server that serves.
async fn change_tables(site: &Site, server: usize, round: usize) {
    let ([shop, mail], _) = names(server);
    let mut on = site.at(server).await;
    let statements = [
        format!("USE {shop}"),
        format!("ALTER TABLE orders ADD COLUMN c{round} INT DEFAULT {round} COMMENT 'of shop.orders'"),
        format!("ALTER TABLE {shop}.parts ADD CHECK ({shop}.parts.orders > 0)"),
        format!("CREATE TABLE `{shop}`.late{round} LIKE {shop}.orders"),
        format!(
            "CREATE TABLE linked{round} (id INT PRIMARY KEY, person INT, FOREIGN KEY (person) REFERENCES `{mail}`.people (id), \
             late INT, CONSTRAINT own{round} FOREIGN KEY (late) REFERENCES {shop}.late{round} (id))"
        ),
        format!("INSERT INTO linked{round} SELECT id, id, NULL FROM {mail}.people WHERE id < 20"),
        format!("RENAME TABLE late{round} TO {mail}.moved{round}, one TO tmp, two TO one, tmp TO {shop}.two"),
        format!("CREATE TABLE made{round} (KEY (id)) SELECT id, name FROM {mail}.people WHERE id < 50"),
        format!("CREATE INDEX n ON {shop}.made{round} (name(3))"),
        format!("USE {mail}"),
        format!("ALTER TABLE {shop}.made{round} RENAME TO {mail}.made{round}, DROP KEY n"),
        format!("TRUNCATE {shop}.two"),
        format!("INSERT INTO {shop}.two VALUES ('again', {round})"),
        format!("ALTER DATABASE {mail} COLLATE utf8mb4_0900_as_cs"),
        format!("CREATE TABLE gone (id INT PRIMARY KEY); DROP TABLE gone, {shop}.nothing{round}"),
    ];
    for sql in statements {
        // The last one names a table that is not there.
        if let Err(error) = on.query_all(&sql).await {
            assert!(sql.contains("nothing"), "{sql}: {error}");
        }
    }
    on.execute(format!("DROP TABLE IF EXISTS gone, {shop}.nothing")).await.unwrap();
}

/// A stranger's write on the side that follows is named by its names, found, and mended; one to the decoys is nobody's business.
async fn stray(site: &Site, driver: &MoveDriver<HooksOnly>, server: usize) {
    let ([shop, _], [decoy, _]) = names(server);
    let mut on = site.at(server).await;
    let before = driver.mover().unwrap().watched().count();
    on.execute(format!("UPDATE {decoy}.orders SET decoy = 1")).await.unwrap();
    on.execute(format!("UPDATE {shop}.orders SET note = 'stray' WHERE id = 7")).await.unwrap();
    on.execute(format!("INSERT INTO {shop}.journal VALUES ('stray', 99)")).await.unwrap();
    let read = migrate::gtid_executed(&mut on, migrate::Side::Target).await.unwrap();
    let mover = driver.mover().unwrap();
    tokio::time::timeout(Duration::from_secs(10), mover.watched().has_read(&read)).await.unwrap();
    assert_eq!(mover.watched().count() - before, 2);
    let told = mover.watched().sentence().unwrap();
    assert!(told.contains(&format!("{shop}.orders: 1 updated, key (7)")), "{told}");
    assert_eq!(driver.verify(2, &|_| ()).await.unwrap().different, 2);
    let plan = driver.plan_repair().await.unwrap();
    assert_eq!(plan.tables.iter().map(|t| t.table.schema.as_str()).collect::<Vec<_>>(), [shop, shop]);
    let shown: Vec<String> =
        plan.tables.iter().flat_map(|t| &t.statements).map(|s| format!("{s:?}")).collect();
    assert!(shown.iter().all(|statement| statement.contains(&format!("`{shop}`."))), "{shown:?}");
    driver.repair(plan.id, &|_| ()).await.unwrap();
    equal(driver).await;
}

async fn equal(driver: &MoveDriver<HooksOnly>) {
    let verdict = driver.verify(2, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{:?}", verdict.tables);
    let newest = driver.verify_newest(50, 2, &|_| ()).await.unwrap();
    assert_eq!(newest.different, 0, "{:?}", newest.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_of_other_names_are_copied_followed_proven_and_crossed_both_ways() {
    let site = Site::new().await;
    let decoys = [site.left(0).await, site.left(1).await];

    // What cannot be written anew is refused before anything is, by name.
    let bound = "CREATE PROCEDURE shop.bound() BEGIN SET @s = 'SELECT 1 FROM shop.orders'; PREPARE s FROM @s; EXECUTE s; END";
    site.at(0).await.execute(bound).await.unwrap();
    let checked = async || {
        let (mut source, mut target) = (
            Server::connect(&site.options(0)).await.unwrap(),
            Server::connect(&site.options(1)).await.unwrap(),
        );
        check(&mut source, &mut target, &spec(), TargetState::Fresh).await.unwrap()
    };
    let report = checked().await;
    let refused: Vec<_> = report.with(Outcome::Refused).collect();
    assert_eq!(refused.iter().map(|c| c.name).collect::<Vec<_>>(), ["renamed-schemas"], "{report}");
    assert!(
        refused[0].evidence.contains("procedure shop.bound holds a text that names schema shop"),
        "{report}"
    );
    site.at(0).await.execute("DROP PROCEDURE shop.bound").await.unwrap();
    let report = checked().await;
    assert_eq!(report.refused(), 0, "{report}");

    let application = Application::start(site.options(0), 0);
    let driver = site.driver(Fence::Server).await;
    change_tables(&site, 0, 0).await;
    copied(&driver.mover().unwrap()).await;
    applied(&site, &driver, 0).await;
    equal(&driver).await;
    println!("the application wrote {} times", application.stop().await);
    applied(&site, &driver, 0).await;
    stray(&site, &driver, 1).await;

    let report = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    println!("there: {:?}", report.phases);
    assert_eq!(active(&site, 0).await, 0, "triggers and events where rows follow");
    assert_eq!(active(&site, 1).await, 2);
    let application = Application::start(site.options(1), 1);
    change_tables(&site, 1, 1).await;
    applied(&site, &driver, 1).await;
    equal(&driver).await;
    println!("the application wrote {} times", application.stop().await);
    applied(&site, &driver, 1).await;
    stray(&site, &driver, 0).await;

    // Back behind the other kind of fence, which is around schemas by their names.
    drop(driver);
    site.at(0).await.execute("SET PERSIST read_only = OFF").await.unwrap();
    let driver = site.driver(Fence::Schemas).await;
    equal(&driver).await;
    mail_may(&site, 1).await;
    let report = driver.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap();
    println!("back: {:?}", report.phases);
    assert_eq!((active(&site, 0).await, active(&site, 1).await), (2, 0));
    let application = Application::start(site.options(0), 0);
    equal(&driver).await;
    println!("the application wrote {} times", application.stop().await);
    applied(&site, &driver, 0).await;
    equal(&driver).await;
    assert_eq!(std::fs::read_to_string(site.said()).unwrap(), "away\nsettings\n".repeat(2));

    // Both sides have the same, but for what only the serving side has.
    let (old, new) = (site.moved(0).await, site.moved(1).await);
    let both = old.iter().filter(|text| !text.contains(": TRIGGER ") && !text.contains(": EVENT "));
    for (old, new) in both.clone().zip(&new) {
        assert_eq!(old, new);
    }
    assert_eq!((both.count(), new.len()), (old.len() - 2, old.len() - 2));
    assert_eq!([site.left(0).await, site.left(1).await], decoys, "schemas that do not move");
    assert_eq!(driver.finish().await.unwrap(), Home::Old);
}

/// Triggers and events in the moved schemas of a server.
async fn active(site: &Site, server: usize) -> usize {
    let [shop, mail] = names(server).0;
    let of = |from: &str, schema: &str| {
        format!("SELECT 1 FROM information_schema.{from} WHERE {schema} IN ('{shop}', '{mail}')")
    };
    let sql = format!("{} UNION ALL {}", of("TRIGGERS", "TRIGGER_SCHEMA"), of("EVENTS", "EVENT_SCHEMA"));
    site.at(server).await.rows(sql).await.unwrap().len()
}

/// The account that moved along may do to the moved schemas what it may do on the source, and nothing to others.
async fn mail_may(site: &Site, server: usize) {
    let ([shop, mail], [decoy, _]) = names(server);
    let options = ConnectOptions::new("127.0.0.1", site.options(server).port, "mail", Password::new("mail"));
    let mut on = Connection::connect(&options).await.unwrap();
    on.query_all(format!("CALL {shop}.count_all()")).await.unwrap();
    on.rows(format!("SELECT id FROM {mail}.people LIMIT 1")).await.unwrap();
    on.rows(format!("SELECT note FROM {shop}.own LIMIT 1")).await.unwrap();
    assert!(on.rows(format!("SELECT * FROM {decoy}.orders")).await.is_err());
}
