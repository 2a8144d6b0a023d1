//! A pair of servers on which every rule passes, for tests to change one thing at a time.

use std::collections::BTreeMap;

use model::TableName;

use super::TargetState;
use super::expressions;
use super::facts::{
    Account, Clock, ColumnFacts, Facts, Gtids, KeyPart, LogFilters, Object, SchemaFacts, ServerFacts,
    TableFacts, TargetFacts, Variables,
};
use super::grants::Grants;
use super::probe::{Answer, Behaviour};
use super::report::{Outcome, Side};
use super::rule::Judged;
use crate::plan::{Along, Fence, MoveSpec, TablePattern};
use crate::schema::placement::Placement;

const VARIABLES: &[(&str, &str)] = &[
    ("version", "9.7.4"),
    ("version_comment", "MySQL Community Server"),
    ("log_bin", "ON"),
    ("log_replica_updates", "ON"),
    ("binlog_format", "ROW"),
    ("binlog_row_image", "FULL"),
    ("binlog_checksum", "CRC32"),
    ("binlog_order_commits", "ON"),
    ("binlog_expire_logs_seconds", "2592000"),
    ("binlog_expire_logs_auto_purge", "ON"),
    ("gtid_mode", "ON"),
    ("enforce_gtid_consistency", "ON"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    ("innodb_page_size", "16384"),
    ("read_only", "OFF"),
    ("super_read_only", "OFF"),
    ("persisted_globals_load", "ON"),
    ("time_zone", "SYSTEM"),
    ("system_time_zone", "UTC"),
    ("sql_mode", "STRICT_TRANS_TABLES"),
    ("lower_case_table_names", "0"),
    ("max_connections", "151"),
    ("max_allowed_packet", "67108864"),
    ("local_infile", "OFF"),
    ("event_scheduler", "ON"),
    ("innodb_native_foreign_keys", "OFF"),
    ("log_bin_trust_function_creators", "OFF"),
];

pub(super) fn server(side: Side) -> ServerFacts {
    let mut variables: BTreeMap<String, String> =
        VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let id = if side == Side::Source { "1" } else { "2" };
    variables.insert("server_id".into(), id.into());
    variables.insert("server_uuid".into(), format!("{id}e11fa47-71ca-11e1-9e33-c80aa9429562"));
    let all = [
        "GRANT ALL PRIVILEGES ON *.* TO `hw`@`%`",
        "GRANT SYSTEM_VARIABLES_ADMIN,CONNECTION_ADMIN,SHOW_ROUTINE ON *.* TO `hw`@`%`",
    ];
    let ours = Account {
        name: "hw@%".into(),
        locked: false,
        powers: ["SUPER".to_owned()].into(),
        ..account("hw@%")
    };
    ServerFacts {
        side,
        variables: Variables(variables),
        account: "hw@%".into(),
        active_roles: "NONE".into(),
        gtids: Ok(Gtids {
            executed: format!("{id}e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"),
            purged: String::new(),
        }),
        clock: Ok(Clock { now: 0, january: 0, july: 0, names_loaded: true }),
        grants: Ok(Grants::parse(all)),
        accounts: Ok(vec![ours]),
        writers: Ok(Vec::new()),
        login_plugins: Ok(["caching_sha2_password".to_owned()].into()),
        log_filters: Ok(LogFilters::default()),
        channels: Ok(Vec::new()),
        replicas: Ok(Vec::new()),
        xa_prepared: Ok(0),
        open_transactions: Ok(Vec::new()),
        connections_max_used: Ok(12),
        behaviour: Ok(Behaviour {
            answers: expressions::all().map(|e| (e.name, Answer::Value(Some("1".into())))).collect(),
            settings: BTreeMap::new(),
        }),
    }
}

pub(super) fn account(name: &str) -> Account {
    Account {
        name: name.into(),
        locked: false,
        plugin: "caching_sha2_password".into(),
        second_password: false,
        powers: [].into(),
    }
}

impl ServerFacts {
    /// The same server with one variable changed.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.0.insert(name.into(), value.into());
        self
    }
}

pub(super) fn column(name: &str, data_type: &str) -> ColumnFacts {
    ColumnFacts { name: name.into(), data_type: data_type.into(), ..ColumnFacts::default() }
}

pub(super) fn table(name: &str) -> TableFacts {
    TableFacts {
        name: TableName::new("shop", name),
        engine: "InnoDB".into(),
        collation: "utf8mb4_0900_ai_ci".into(),
        partitioned: false,
        bytes: 16_384,
        columns: vec![column("id", "bigint"), column("placed_at", "timestamp")],
        keys: vec![vec![KeyPart { column: Some("id".into()), prefix: false, nullable: false }]],
        placement: Placement::default(),
    }
}

pub(super) fn object(name: &str, definer: &str) -> Object {
    Object { name: name.into(), definer: definer.into(), status: "ENABLED".into() }
}

pub(super) fn facts() -> Facts {
    Facts {
        spec: MoveSpec {
            name: "m".into(),
            tables: vec![TablePattern { schema: "shop".into(), table: None }],
            renames: Default::default(),
        },
        state: TargetState::Fresh,
        along: Along::default(),
        fence: Fence::default(),
        fence_accounts: Vec::new(),
        spared: Vec::new(),
        source: server(Side::Source),
        target: server(Side::Target),
        schema: SchemaFacts {
            tables: Ok(vec![table("orders")]),
            unmatched: Vec::new(),
            foreign_keys: Ok(Vec::new()),
            triggers: Ok(Vec::new()),
            events: Ok(Vec::new()),
            views: Ok(Vec::new()),
            routines: Ok(Vec::new()),
            bound_to_names: Ok(Vec::new()),
        },
        there: TargetFacts {
            tables: Ok([].into()),
            collations: Ok(["utf8mb4_0900_ai_ci".to_owned()].into()),
            tablespaces: Ok([].into()),
            keyring: Ok(false),
            triggers: Ok(Vec::new()),
            events: Ok(Vec::new()),
            applied: Ok(None),
        },
    }
}

/// A finding's outcome; not having been able to read a fact fails the test.
pub(super) fn outcome(judged: Judged) -> Outcome {
    judged.unwrap().outcome
}

#[test]
fn every_rule_passes_on_the_sample_and_there_are_enough_of_them() {
    let report = super::rule::judge(super::rules(), &facts(), &[]);
    let bad: Vec<_> = report.checks.iter().filter(|c| c.outcome != Outcome::Passed).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let mut names: Vec<_> = report.checks.iter().map(|c| c.name).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 40, "{}", names.len());
    assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
}
