//! `check` compares what two real servers do: alike they show no difference, and each setting that changes what a
//! statement means is named, with a fix that takes the difference away.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use migrate::check::{Check, CheckReport, Outcome, Server, TargetState, check};
use migrate::{MoveSpec, TablePattern};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions};

fn admin(node: &Node) -> ConnectOptions {
    ConnectOptions::new("127.0.0.1", node.port(), ADMIN_USER, Password::new(ADMIN_PASSWORD))
}

/// Starts a server and runs statements on it.
async fn start(options: NodeOptions, sql: &str) -> Node {
    let node = Node::start(&Mysqld::find().unwrap(), options).unwrap();
    run(&node, sql).await;
    node
}

async fn run(node: &Node, sql: &str) {
    Connection::connect(&admin(node))
        .await
        .unwrap()
        .query_all(sql)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
}

async fn report(source: &Node, target: &Node) -> CheckReport {
    let mut source = Server::connect(&admin(source)).await.unwrap();
    let mut target = Server::connect(&admin(target)).await.unwrap();
    let shop = TablePattern { schema: "shop".into(), table: None };
    let spec = MoveSpec { name: "shop".into(), tables: vec![shop], renames: Default::default() };
    check(&mut source, &mut target, &spec, TargetState::Fresh).await.unwrap()
}

fn behaviour(report: &CheckReport) -> impl Iterator<Item = &Check> {
    report.checks.iter().filter(|c| c.name.starts_with("behaviour-"))
}

/// The expressions a check says to differ.
fn differing<'a>(report: &'a CheckReport, name: &str) -> BTreeSet<&'a str> {
    let check = report.checks.iter().find(|c| c.name == name).unwrap();
    let heads = check.evidence.lines().filter(|line| line.contains(" on the source, "));
    heads.filter_map(|line| line.split_once(": ")).map(|(head, _)| head).collect()
}

fn assert_alike(report: &CheckReport) {
    for check in behaviour(report) {
        assert_eq!(check.outcome, Outcome::Passed, "{report}");
        assert!(check.evidence.ends_with("the same answers on both"), "{}", check.evidence);
    }
}

/// Runs the statements of a fix, as an operator would paste them.
async fn run_fix(target: &Node, check: &Check) {
    for line in check.fix.iter().flat_map(|fix| fix.lines()).filter(|line| !line.starts_with("--")) {
        run(target, line).await;
    }
}

const SHOP: &str = "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY)";

#[tokio::test]
async fn two_servers_alike_differ_in_nothing_whatever_their_settings() {
    // The same on both, and far from the defaults, so that errors, NULL and other quotes are compared too.
    let odd = "SET GLOBAL sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES', time_zone = '+05:30', div_precision_increment = 9, \
               block_encryption_mode = 'aes-256-cbc', lc_time_names = 'de_DE', sql_select_limit = 1000";
    let source = start(NodeOptions::new("source").server_id(1), &format!("{SHOP}; {odd}")).await;
    let target = start(NodeOptions::new("target").server_id(2), odd).await;
    let report = report(&source, &target).await;
    assert_eq!(behaviour(&report).count(), 6, "{report}");
    assert_alike(&report);
}

#[tokio::test]
async fn each_setting_that_changes_what_statements_mean_is_named_with_its_fix() {
    let source = start(NodeOptions::new("source").server_id(1), SHOP).await;
    // A session gets the global collation_connection if the collation its client asks for is that of the global
    // character_set_client, so both are set.
    let target = start(
        NodeOptions::new("target").server_id(2).arg("--collation-server=utf8mb4_unicode_ci"),
        "SET GLOBAL sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,NO_UNSIGNED_SUBTRACTION,\
         HIGH_NOT_PRECEDENCE,IGNORE_SPACE,REAL_AS_FLOAT,TIME_TRUNCATE_FRACTIONAL,ALLOW_INVALID_DATES', \
         time_zone = '-05:00', div_precision_increment = 8, default_week_format = 3, lc_time_names = 'de_DE', \
         group_concat_max_len = 100, block_encryption_mode = 'aes-256-ecb', character_set_client = 'utf8mb4', \
         collation_connection = 'utf8mb4_bin', \
         default_collation_for_utf8mb4 = 'utf8mb4_general_ci', \
         sql_select_limit = 1000, sql_safe_updates = ON, sql_auto_is_null = ON, max_execution_time = 60000, \
         regexp_time_limit = 4, explicit_defaults_for_timestamp = OFF",
    )
    .await;
    let report = report(&source, &target).await;
    let expected: &[(&str, Outcome, &[&str])] = &[
        (
            "behaviour-time",
            Outcome::Warned,
            &[
                "minutes-from-utc",
                "winter",
                "summer",
                "year-1990",
                "skipped-hour",
                "repeated-hour",
                "date-with-offset",
                "names-of-days",
                "number-of-week",
                "fraction-of-a-second",
                "invalid-date",
                "zero-in-date",
                "zero-date",
            ],
        ),
        (
            "behaviour-numbers",
            Outcome::Warned,
            &["division", "average", "division-by-zero", "unsigned-subtraction", "real-type"],
        ),
        (
            "behaviour-text",
            Outcome::Warned,
            &[
                "literals",
                "utf8mb4-default",
                "new-databases",
                "text-equality",
                "text-order",
                "trailing-space",
                "patterns",
                "patient-patterns",
                "group-concat",
            ],
        ),
        ("behaviour-json", Outcome::Passed, &[]),
        (
            "behaviour-modes",
            Outcome::Refused,
            &[
                "too-long-text",
                "group-by",
                "double-quotes",
                "two-bars",
                "backslash",
                "not-between",
                "space-before-parenthesis",
                "rows-of-a-select",
                "seconds-of-a-select",
                "careless-writes",
                "last-id-as-null",
            ],
        ),
        ("behaviour-functions", Outcome::Refused, &["encryption"]),
    ];
    for (name, outcome, differences) in expected {
        assert_eq!(differing(&report, name), differences.iter().copied().collect(), "{name}\n{report}");
        let check = report.checks.iter().find(|c| c.name == *name).unwrap();
        assert_eq!(check.outcome, *outcome, "{name}\n{report}");
    }
    let divided = behaviour(&report).find(|c| c.name == "behaviour-numbers").unwrap();
    let expected = "division: '0.3333 0.357143' on the source, '0.33333333 0.3571428571' on the target: quotients have \
                    another number of decimals, and sums of them another value [div_precision_increment is 4 on the \
                    source, 8 on the target]";
    assert_eq!(divided.evidence.lines().next(), Some(expected));
    // It changes no SELECT, so another check names it.
    let defaults = report.checks.iter().find(|c| c.name == "session-defaults").unwrap();
    assert!(defaults.evidence.contains("explicit_defaults_for_timestamp"), "{}", defaults.evidence);

    let zone = report.checks.iter().find(|c| c.name == "time-zone").unwrap();
    for check in behaviour(&report).chain([zone]) {
        run_fix(&target, check).await;
    }
    assert_alike(&self::report(&source, &target).await);
}

#[tokio::test]
async fn what_the_target_lacks_is_named_and_what_only_it_has_is_left_alone() {
    let install = "INSTALL COMPONENT 'file://component_classic_hashing'";
    let source = start(NodeOptions::new("source").server_id(1), &format!("{SHOP}; {install}")).await;
    let no_zones = "DELETE FROM mysql.time_zone_name";
    let target = start(NodeOptions::new("target").server_id(2), no_zones).await;
    let there = report(&source, &target).await;
    assert_eq!(differing(&there, "behaviour-functions"), ["md5", "sha1"].into(), "{there}");
    assert_eq!(
        differing(&there, "behaviour-time"),
        ["zone-by-name", "zone-rules", "skipped-hour-by-name"].into(),
        "{there}"
    );
    let functions = behaviour(&there).find(|c| c.name == "behaviour-functions").unwrap();
    assert_eq!(functions.outcome, Outcome::Warned);
    assert!(
        functions.evidence.starts_with("md5: '0cc175b9c0f1b6a831c399e269772661' on the source, error 1305 (")
    );

    // The other way round nothing is missing, and nothing is told to be installed.
    let back = report(&target, &source).await;
    let functions = behaviour(&back).find(|c| c.name == "behaviour-functions").unwrap();
    assert!(functions.fix.as_ref().unwrap().starts_with("-- only the target can do this"), "{back}");

    run_fix(&target, behaviour(&there).find(|c| c.name == "behaviour-functions").unwrap()).await;
    let mended = report(&source, &target).await;
    assert_eq!(differing(&mended, "behaviour-functions"), [].into(), "{mended}");
}
