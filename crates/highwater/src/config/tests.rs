//! What the settings accept, and what they say about everything else.

use std::time::Duration;

use super::*;

const CLUSTERS: &str = r#"
[clusters.old]
host = "10.0.0.1"
user = "hw"
password_env = "OLD_PASSWORD"
[clusters.new]
host = "10.0.0.2"
user = "hw"
password_env = "NEW_PASSWORD"
"#;

/// Keys whose example names a file, which this machine does not have.
const FILES: &[&str] =
    &["password_file", "server_public_key", "tls_ca", "tls_cert", "tls_key", "tls_client_ca"];

const MOVE: &str = "
[moves.shop]
source = 'old'
target = 'new'
tables = ['shop.*', 'other.t1']
";

fn resolve_text(text: &str) -> Result<ResolvedConfig, Trouble> {
    let source = SourceText::new(Path::new("/etc/highwater.toml"), text);
    let env = |name: &str| name.ends_with("_PASSWORD").then(|| OsString::from("s3cret"));
    resolve::resolve(&source, read_written(&source)?, &env)
}

/// The complaint about the two clusters, the move, and `more`.
#[track_caller]
fn check(more: &str, what: &str, hint: &str) {
    let trouble = resolve_text(&format!("{more}\n{CLUSTERS}{MOVE}")).expect_err(more);
    assert_eq!(
        (trouble.what.as_str(), trouble.state.as_str(), trouble.hint.as_str()),
        (what, "nothing was started", hint)
    );
}

#[test]
fn template_resolves_to_the_defaults() {
    let template = resolve_text(TEMPLATE).unwrap();
    let bare = resolve_text(&format!("{CLUSTERS}{MOVE}")).unwrap();
    assert_eq!(template.state_dir, Path::new("/etc/highwater-state"));
    assert_eq!(template.state_dir, bare.state_dir);
    assert_eq!(template.front_door, bare.front_door);
    assert_eq!(template.copy, bare.copy);
    assert_eq!(template.throttle, bare.throttle);
    assert_eq!(template.cutover, bare.cutover);
    assert_eq!(template.clusters["old"].port, 3306);
}

#[test]
fn keys_the_template_shows_commented_out_are_the_defaults() {
    let shown: String = TEMPLATE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
        .filter(|line| !FILES.iter().any(|key| line.starts_with(key)))
        // Examples: there is no hook by default, no statement is slow, and how much memory there is depends.
        .filter(|line| {
            !["before.", "after.", "undone", "slow = ", "memory_max = "]
                .iter()
                .any(|hook| line.starts_with(hook))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let shown = resolve_text(&shown).unwrap();
    let template = resolve_text(TEMPLATE).unwrap();
    assert_eq!(shown.state_dir, template.state_dir);
    assert_eq!(shown.front_door, template.front_door);
    assert_eq!(shown.copy, template.copy);
    assert_eq!(shown.throttle, template.throttle);
    assert_eq!(shown.cutover, template.cutover);
}

#[test]
fn move_names_its_tables_and_both_clusters() {
    let config = resolve_text(&format!("{CLUSTERS}{MOVE}")).unwrap();
    let shop = config.move_named(None).unwrap();
    let moved = shop.spec.on(model::Side::Source);
    assert!(moved.takes("shop", "anything") && moved.takes("other", "t1") && !moved.takes("other", "t2"));
    assert_eq!(config.source_of(shop).connect_options().address(), "10.0.0.1:3306");
    assert_eq!(config.target_of(shop).host, "10.0.0.2");
    assert_eq!(config.first_writer().unwrap().name, "old");
}

#[test]
fn accounts_move_along_as_the_settings_say() {
    let accounts = |line: &str| {
        let config = resolve_text(&format!("{CLUSTERS}{MOVE}{line}"))?;
        Ok::<_, Trouble>(config.move_named(None)?.along.accounts.clone())
    };
    assert_eq!(accounts("").unwrap(), migrate::Accounts::None);
    assert_eq!(accounts("\naccounts = true").unwrap(), migrate::Accounts::All);
    let named = migrate::Accounts::Named(vec!["shop@%".into()]);
    assert_eq!(accounts("\naccounts = ['shop@%']").unwrap(), named);
    let what = accounts("\naccounts = 'shop@%'").unwrap_err().what;
    assert!(what.contains("`true`, `false`, or a list of accounts as `user@host`"), "{what}");
}

#[test]
fn unknown_key_names_the_nearest_one() {
    check(
        "[copy]\nchunk_row = 1",
        "/etc/highwater.toml:2: unknown key `chunk_row` in [copy]",
        "did you mean `chunk_rows`?",
    );
    check(
        "[cutover]\n\nlag_maximum = '1s'",
        "/etc/highwater.toml:3: unknown key `lag_maximum` in [cutover]",
        "did you mean `lag_max`?",
    );
}

#[test]
fn key_in_the_wrong_table_is_told_where_it_belongs() {
    check(
        "[copy]\nhold_max = '1s'",
        "/etc/highwater.toml:2: unknown key `hold_max` in [copy]",
        "`hold_max` belongs in [front_door]",
    );
}

#[test]
fn key_like_no_other_is_answered_with_all_of_them() {
    check(
        "[copy]\nzzz = 1",
        "/etc/highwater.toml:2: unknown key `zzz` in [copy]",
        "[copy] has the keys chunk_rows, readers, defer_indexes",
    );
}

#[test]
fn inline_password_is_refused_and_not_shown() {
    let text = "[clusters.third]\nhost = 'h'\nuser = 'u'\npassword = 'hunter2'\n";
    check(
        text,
        "/etc/highwater.toml:4: `password` in [clusters.third]: a password does not belong in this file",
        "put it in an environment variable or a file, and name that with `password_env` or `password_file`",
    );
}

#[test]
fn missing_variable_is_named_if_it_looks_like_one() {
    let with =
        |variable: &str| format!("[clusters.third]\nhost = 'h'\nuser = 'u'\npassword_env = '{variable}'\n");
    let hint = "export it for this process, or use `password_file`";
    check(
        &with("MY_DB_PW"),
        "/etc/highwater.toml:4: the environment variable MY_DB_PW with the password of cluster 'third' is not set",
        hint,
    );
    check(
        &with("hunter2"),
        "/etc/highwater.toml:4: the environment variable with the password of cluster 'third' is not set",
        hint,
    );
}

#[test]
fn value_of_the_wrong_type_is_not_shown() {
    let trouble = resolve_text(&format!("[copy]\nreaders = \"hunter2\"\n{CLUSTERS}")).unwrap_err();
    assert!(trouble.what.starts_with("/etc/highwater.toml:2: "), "{}", trouble.what);
    assert!(!trouble.what.contains("hunter2"), "{}", trouble.what);
}

#[test]
fn bad_duration_says_how_to_write_one() {
    check(
        "[cutover]\nlag_max = '1 second'",
        "/etc/highwater.toml:2: '1 second' is not a duration; write a whole number and a unit, like 500ms, 10s or 2m",
        "correct the line; `highwater init PATH` writes a file that shows every key",
    );
}

#[test]
fn move_needs_two_different_known_clusters() {
    let between = |source: &str, target: &str| {
        format!("[moves.second]\nsource = '{source}'\ntarget = '{target}'\ntables = ['x.*']\n")
    };
    check(
        &between("old", "newer"),
        "/etc/highwater.toml:3: there is no cluster 'newer'",
        "the clusters are: new, old",
    );
    check(
        &between("old", "old"),
        "/etc/highwater.toml:3: move 'second' goes from cluster 'old' to itself",
        "name another cluster as its `target`",
    );
}

#[test]
fn table_that_two_moves_take_is_refused() {
    check(
        "[moves.alpha]\nsource = 'old'\ntarget = 'new'\ntables = ['shop.orders']",
        "/etc/highwater.toml:18: moves 'alpha' and 'shop' both take shop.*",
        "let each table go with one move only",
    );
}

#[test]
fn patterns_other_than_a_schema_or_a_table_are_refused() {
    for pattern in ["shop", "*.*", "shop.ord*", ".t", "shop.", "mysql.*", "MySQL.user", "highwater.*"] {
        let text = format!("[moves.x]\nsource = 'old'\ntarget = 'new'\ntables = ['{pattern}']\n{CLUSTERS}");
        assert!(resolve_text(&text).is_err(), "{pattern}");
    }
}

#[test]
fn names_the_ledger_cannot_hold_are_refused() {
    for name in ["'it''s'", "'a b'", "\"\"", &"x".repeat(65)] {
        let text = format!("[moves.{name}]\nsource = 'old'\ntarget = 'new'\ntables = ['x.*']\n{CLUSTERS}");
        assert!(resolve_text(&text).is_err(), "{name}");
    }
}

#[test]
fn numbers_out_of_range_are_refused() {
    check(
        "[copy]\nreaders = 0",
        "/etc/highwater.toml:2: `copy.readers` cannot be 0",
        "choose a number from 1 to 256",
    );
}

#[test]
fn cluster_needs_exactly_one_password() {
    let text = "[clusters.third]\nhost = 'h'\nuser = 'u'\n";
    check(
        text,
        "/etc/highwater.toml: cluster 'third' has no password",
        "name it with `password_env` or `password_file` in [clusters.third]",
    );
    check(
        &format!("{text}password_env = 'A_PASSWORD'\npassword_file = 'x'\n"),
        "/etc/highwater.toml:5: cluster 'third' has both `password_env` and `password_file`",
        "keep one of them",
    );
}

#[test]
fn several_moves_must_be_told_apart() {
    let point = ControlPoint { state_dir: "s".into(), moves: vec!["a".into(), "b".into()] };
    assert_eq!(point.move_named(Some("b")), Ok("b"));
    assert_eq!(point.move_named(None).unwrap_err().hint, "add `--move NAME`; the moves are: a, b");
    assert_eq!(point.move_named(Some("c")).unwrap_err().what, "there is no move 'c'");
}

#[test]
fn what_clients_may_do_and_how_long_they_may_take() {
    let config = resolve_text(&format!(
        "{CLUSTERS}[front_door]\nlocal_infile = true\ncompression = false\nidle_max = '10m'\nstatement_max = '0s'\n"
    ));
    let terms = config.unwrap().front_door.rules.terms;
    let idle_max = Duration::from_secs(600);
    let compression = false;
    assert_eq!(terms, proxy::Terms { local_infile: true, compression, idle_max, ..proxy::Terms::default() });
}

#[test]
fn front_door_is_asked_for_its_cluster_only_when_the_settings_leave_it_open() {
    let config = resolve_text(CLUSTERS).unwrap();
    assert!(config.first_writer().unwrap_err().hint.contains("front_door.cluster"));
}

#[test]
fn replicas_are_reached_with_the_account_of_their_cluster() {
    let clusters = CLUSTERS.replacen("user = \"hw\"", "user = \"hw\"\nreplicas = ['r1', '10.0.0.9:3307']", 1);
    let config = resolve_text(&format!("{clusters}{MOVE}")).unwrap();
    let replicas = config.clusters["old"].replica_options();
    let addresses: Vec<String> = replicas.iter().map(mysql::ConnectOptions::address).collect();
    assert_eq!(addresses, ["r1:3306", "10.0.0.9:3307"]);
    assert_eq!(replicas[0].user, b"hw");
    let wrong = CLUSTERS.replacen("user = \"hw\"", "user = \"hw\"\nreplicas = ['r1:x']", 1);
    let trouble = resolve_text(&format!("{wrong}{MOVE}")).unwrap_err();
    assert_eq!(trouble.what, "/etc/highwater.toml:5: 'r1:x' is no address of a replica");
}

#[test]
fn zero_switches_a_limit_of_the_throttle_off() {
    let limits = |more: &str| resolve_text(&format!("{CLUSTERS}{MOVE}{more}")).unwrap().throttle;
    let off = limits("[throttle]\nlatency_rise_max = 0\nrows_per_second = 0");
    assert_eq!(
        (off.limits.latency_rise, off.limits.threads_running, off.rows_per_second),
        (None, None, None)
    );
    let on = limits("[throttle]\nlatency_rise_max = 25\nthreads_running_max = 64\nrows_per_second = 9");
    assert_eq!(
        (on.limits.latency_rise, on.limits.threads_running, on.rows_per_second),
        (Some(0.25), Some(64), Some(9))
    );
}

#[test]
fn cluster_that_one_move_makes_read_only_is_no_source_of_another() {
    let third = "[clusters.third]\nhost = '10.0.0.3'\nuser = 'u'\npassword_env = 'X_PASSWORD'\n";
    let next = "[moves.next]\nsource = 'new'\ntarget = 'third'\ntables = ['shop.*']\n";
    check(
        &format!("{third}{next}"),
        "/etc/highwater.toml:6: cluster 'new' is the target of move 'shop' and the source of move 'next'",
        "let one move end before the next one begins",
    );
}

#[test]
fn fence_around_schemas_takes_whole_schemas_and_accounts_that_do_not_move_along() {
    let of = |tables: &str, more: &str| {
        resolve_text(&format!(
            "{CLUSTERS}[moves.shop]\nsource = 'old'\ntarget = 'new'\ntables = [{tables}]\n{more}\n"
        ))
    };
    let whole = of("'shop.*'", "fence = 'schemas'\nfence_accounts = ['shop@%']").unwrap();
    assert_eq!(
        (whole.moves[0].fence, whole.moves[0].fence_accounts.as_slice()),
        (migrate::Fence::Schemas, ["shop@%".to_owned()].as_slice())
    );
    assert_eq!(of("'shop.*'", "").unwrap().moves[0].fence, migrate::Fence::Server);
    let parted = of("'shop.orders', 'shop.items'", "fence = 'tables'").unwrap();
    assert_eq!(parted.moves[0].fence, migrate::Fence::Tables);
    let refused = |tables: &str, more: &str| of(tables, more).unwrap_err().what;
    for (tables, more, what) in [
        (
            "'shop.*', 'other.t1'",
            "fence = 'schemas'",
            "is fenced by schemas, and takes only some tables of other",
        ),
        ("'shop.*'", "fence_accounts = ['shop@%']", "has `fence_accounts`, which its fence does not need"),
        ("'shop.*'", "fence = 'schemas'\nfence_accounts = ['shop']", "'shop' is not an account"),
        (
            "'shop.*'",
            "fence = 'schemas'\naccounts = true\nfence_accounts = ['shop@%']",
            "and has accounts move along",
        ),
        ("'shop.*'", "fence = 'schema'", "schemas"),
        ("'shop.orders', 'mail.*'", "fence = 'tables'", "takes all of mail without naming them"),
        (
            "'shop.orders'",
            "fence = 'tables'\nfence_accounts = ['shop@%']",
            "has `fence_accounts`, which its fence does not need",
        ),
    ] {
        let said = refused(tables, more);
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn schemas_are_renamed_where_no_front_door_speaks_of_them() {
    let of = |door: bool, tables: &str, rename: &str, more: &str| {
        resolve_text(&format!(
            "{CLUSTERS}[front_door]\nenabled = {door}\n[moves.shop]\nsource = 'old'\ntarget = 'new'\ntables = [{tables}]\n\
             rename = {{ {rename} }}\n{more}"
        ))
    };
    let config =
        of(false, "'shop.*', 'mail.box', 'logs.*'", "shop = 'store', mail = 'post', logs = 'logs'", "")
            .unwrap();
    let spec = &config.moves[0].spec;
    assert_eq!(spec.on(model::Side::Source).schemas(), ["logs", "mail", "shop"]);
    assert_eq!(spec.on(model::Side::Target).schemas(), ["logs", "post", "store"]);
    assert!(of(true, "'shop.*'", "shop = 'shop'", "").is_ok(), "no new name");
    let other = "[moves.other]\nsource = 'old'\ntarget = 'new'\ntables = ['store.t']";
    for (door, tables, rename, more, what, hint) in [
        (
            true,
            "'shop.*'",
            "shop = 'store'",
            "",
            "the front door cannot change names in clients' statements",
            "front_door.enabled",
        ),
        (
            false,
            "'shop.*'",
            "shpo = 'store'",
            "",
            "renames schema 'shpo', which it does not take",
            "`tables` names shop",
        ),
        (
            false,
            "'shop.*', 'mail.*'",
            "shop = 'mail'",
            "",
            "a name that another schema of its own has",
            "give each",
        ),
        (
            false,
            "'a.*', 'b.*'",
            "a = 'b', b = 'a'",
            "",
            "a name that another schema of its own has",
            "give each",
        ),
        (false, "'a.*', 'b.*'", "a = 'c', b = 'C'", "", "gives schemas 'a' and 'b' one name", "give each"),
        (
            false,
            "'shop.*'",
            "shop = 'mysql'",
            "",
            "'mysql' cannot be the name of a schema that moves",
            "ASCII",
        ),
        (false, "'shop.*'", "shop = 'a`b'", "", "'a`b' cannot be the name of a schema that moves", "ASCII"),
        (
            false,
            "'läden.*'",
            "'läden' = 'store'",
            "",
            "'läden' cannot be the name of a schema that moves",
            "ASCII",
        ),
        (
            false,
            "'shop.*'",
            "shop = 'store'",
            other,
            "moves 'other' and 'shop' both bring store.t to cluster 'new'",
            "another name",
        ),
    ] {
        let refused = of(door, tables, rename, more).unwrap_err();
        assert!(refused.what.contains(what) && refused.hint.contains(hint), "{refused:?}");
        assert!(refused.what.starts_with("/etc/highwater.toml:"), "{refused:?}");
    }
}

#[test]
fn hooks_are_commands_by_phase_and_programs_are_found_beside_the_file() {
    let hooks = "[cutover.hooks]\nbefore.hold = ['bin/maintenance', 'on']\nafter.switch = ['point-dns', 'a b; c']\n\
                 undone = ['/opt/off']\ndeadline = '20s'";
    let hooks = resolve_text(&format!("{hooks}\n{CLUSTERS}{MOVE}")).unwrap().cutover.hooks;
    let named: Vec<_> = hooks.named().map(|(name, command)| (name, command.to_vec())).collect();
    let command = |name: &str, parts: &[&str]| {
        (name.to_owned(), parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        named,
        [
            command("before.hold", &["/etc/bin/maintenance", "on"]),
            command("after.switch", &["point-dns", "a b; c"]),
            command("undone", &["/opt/off"]),
        ]
    );
    assert_eq!(hooks.deadline, Duration::from_secs(20));
}

#[test]
fn hooks_of_no_phase_and_without_a_program_are_refused() {
    check(
        "[cutover.hooks]\nbefore.setle = ['x']",
        "/etc/highwater.toml:2: unknown key `setle` in [cutover.hooks.before]",
        "did you mean `settle`?",
    );
    check(
        "[cutover.hooks]\nbefore_hold = ['x']",
        "/etc/highwater.toml:2: unknown key `before_hold` in [cutover.hooks]",
        "did you mean `before`?",
    );
    check(
        "[cutover.hooks]\nundone = []",
        "/etc/highwater.toml:2: a hook needs a program",
        "write a list: a program and its arguments, [\"/usr/local/bin/maintenance\", \"on\"]",
    );
}

#[test]
fn files_of_tls_go_with_a_mode_that_uses_them() {
    let third =
        |tls: &str| format!("[clusters.third]\nhost = 'h'\nuser = 'u'\npassword_env = 'X_PASSWORD'\n{tls}\n");
    check(
        &third("tls = 'required'\ntls_ca = 'ca.pem'"),
        "/etc/highwater.toml:6: cluster 'third' has `tls_ca`, which nothing is checked against",
        "set `tls` to \"verify_ca\" or \"verify_identity\", or remove `tls_ca`",
    );
    check(
        &third("tls = 'verify_ca'"),
        "/etc/highwater.toml: cluster 'third' verifies certificates and has no `tls_ca`",
        "name the CA's PEM file with `tls_ca` in [clusters.third]; a server's own is its ca.pem",
    );
    check(
        &third("tls = 'required'\ntls_key = 'key.pem'"),
        "/etc/highwater.toml:6: [clusters.third] has `tls_key` and no `tls_cert`",
        "set `tls_cert` too",
    );
    let trouble = resolve_text(&third("tls = 'verify_ca'\ntls_ca = 'nosuch.pem'")).unwrap_err();
    assert!(
        trouble.what.starts_with("/etc/highwater.toml:6: cannot use /etc/nosuch.pem: "),
        "{}",
        trouble.what
    );
    let preferred = resolve_text(&third("tls = 'preferred'")).unwrap();
    assert_eq!(preferred.clusters["third"].tls.mode(), mysql::TlsMode::Preferred);
}

#[test]
fn rules_of_the_entrance_are_resolved() {
    let config = resolve_text(&format!(
        "{CLUSTERS}[front_door]\nhandshakes_max = 9\nlogins_per_second = 50\nproxy_protocol_from = ['10.9.0.0/16']\n\
         [front_door.users.app]\nclients_max = 5\nfrom = ['10.0.0.0/8', '::1']\npassword_env = 'APP_PASSWORD'\n"
    ));
    let entrance = config.unwrap().front_door.rules.entrance;
    assert_eq!((entrance.handshakes_max, entrance.logins_per_second), (9, 50));
    assert_eq!(entrance.proxy_protocol_from, ["10.9.0.0/16".parse().unwrap()]);
    let app = &entrance.users[&b"app"[..]];
    assert_eq!((app.clients_max, app.from.len(), app.certificate), (Some(5), 2, false));
    assert_eq!(app.password.as_ref().unwrap().reveal(), b"s3cret");
}

#[test]
fn rules_that_let_nobody_in_and_keys_in_the_wrong_table_are_refused() {
    check(
        "[front_door]\ntls_required = true",
        "/etc/highwater.toml:2: `front_door.tls_required` lets nobody in: the door has no certificate",
        "set `tls_cert` and `tls_key` too",
    );
    check(
        "[front_door]\ntls_client_ca = 'x.pem'",
        "/etc/highwater.toml:2: `front_door.tls_client_ca` is for a door that has a certificate itself",
        "set `tls_cert` and `tls_key` too, or remove it",
    );
    check(
        "[front_door.users.app]\ncertificate = true",
        "/etc/highwater.toml:2: `front_door.users.app.certificate` lets nobody in: the door believes no certificate",
        "set `front_door.tls_client_ca` too",
    );
    check(
        "[front_door.users.app]\nfrom = ['10.0.0.1/8']",
        "/etc/highwater.toml:2: '10.0.0.1/8' names an address within a range; its last 24 bits must be 0",
        "write addresses, or ranges with the number of leading bits that count",
    );
    check(
        "[front_door.users.app]\nclient_max = 5",
        "/etc/highwater.toml:2: unknown key `client_max` in [front_door.users.app]",
        "did you mean `clients_max`?",
    );
    check(
        "[front_door.users.app]\npassword = 'hunter2'",
        "/etc/highwater.toml:2: `password` in [front_door.users.app]: a password does not belong in this file",
        "put it in an environment variable or a file, and name that with `password_env` or `password_file`",
    );
}

#[test]
fn schemas_and_accounts_are_sent_to_clusters_that_exist_and_are_not_moved_by_others() {
    let third = "[clusters.third]\nhost = '10.0.0.3'\nuser = 'h'\npassword_env = 'THIRD_PASSWORD'\n";
    let text = |moves: &str, door: &str| format!("{CLUSTERS}{third}{moves}\n{door}");
    let one = |name: &str, tables: &str| {
        format!("[moves.{name}]\nsource = 'old'\ntarget = 'new'\ntables = [{tables}]\n")
    };
    let routed = |moves: &str| {
        let config = resolve_text(&text(moves, "[front_door.schemas]\ncatalog = 'third'")).unwrap();
        assert_eq!(config.front_door.schemas, [("catalog".to_owned(), "third".to_owned())].into());
        config.moves.iter().map(|m| config.route_of(m)).collect::<Vec<_>>()
    };
    let schemas = |names: [&str; 2]| Some(MoveRoute::Schemas(names.map(str::to_owned).to_vec()));
    // A move takes everything along, unless it closes only its own schemas.
    assert_eq!(routed(&one("a", "'shop.*'")), [None]);
    let both = one("a", "'shop.*', 'orders.*'") + "fence = 'schemas'\n" + &one("b", "'other.t'");
    assert_eq!(routed(&both), [schemas(["shop", "orders"]), None]);
    let users =
        resolve_text(&text(&both, "[front_door.users.reports]\ncluster = 'new'")).unwrap().front_door.users;
    assert_eq!(users, [("reports".to_owned(), "new".to_owned())].into());
    for (door, what, hint) in [
        (
            "schemas = { catalog = 'fourth' }",
            "there is no cluster 'fourth'",
            "the clusters are: new, old, third",
        ),
        (
            "schemas = { Shop = 'third' }",
            "schema 'Shop' goes with move 'a', which says where it is",
            "remove it",
        ),
        ("schemas = { mysql = 'third' }", "schema 'mysql' cannot have a route of its own", "ASCII letters"),
        ("schemas = { 'a b' = 'third' }", "schema 'a b' cannot have a route of its own", "ASCII letters"),
        ("schemas = { c = 'third', C = 'new' }", "would be one route", "without regard to case"),
        ("users = { app = { cluster = 'fourth' } }", "there is no cluster 'fourth'", "the clusters are"),
        (
            "users = { app = { cluster = 'old' } }",
            "account 'app' would stay on cluster 'old' when move 'a'",
            "remove",
        ),
    ] {
        let refused = resolve_text(&text(&both, &format!("[front_door]\n{door}"))).unwrap_err();
        assert!(refused.what.contains(what) && refused.hint.contains(hint), "{refused:?}");
    }
}

#[test]
fn accounts_go_with_one_move_that_leaves_everybody_else_alone() {
    let third = "[clusters.third]\nhost = '10.0.0.3'\nuser = 'h'\npassword_env = 'THIRD_PASSWORD'\n";
    let one = |name: &str, tables: &str, target: &str, more: &str| {
        format!("[moves.{name}]\nsource = 'old'\ntarget = '{target}'\ntables = ['{tables}']\n{more}\n")
    };
    let schemas = "fence = 'schemas'\nusers";
    let text = |moves: &str| resolve_text(&format!("{CLUSTERS}{third}{moves}"));
    let both = one("a", "shop.*", "new", &format!("{schemas} = ['jobs', 'app', 'app']"))
        + &one("b", "mail.*", "third", &format!("{schemas} = []"));
    let config = text(&both).unwrap();
    let routes: Vec<_> = config.moves.iter().map(|m| config.route_of(m)).collect();
    assert_eq!(
        routes,
        [
            Some(MoveRoute::Users {
                users: vec!["app".to_owned(), "jobs".to_owned()],
                schemas: vec!["shop".to_owned()]
            }),
            Some(MoveRoute::Schemas(vec!["mail".to_owned()]))
        ]
    );
    let a = one("a", "shop.*", "new", &format!("{schemas} = ['app']"));
    for (moves, what, hint) in [
        (
            one("a", "shop.*", "new", "users = ['app']"),
            "has `users`, and its fence closes the whole server",
            "set `fence` to what closes only what moves",
        ),
        (
            one("a", "shop.*", "new", &format!("{schemas} = ['app@%']")),
            "'app@%' in `users` of move 'a' is not the name",
            "without a host",
        ),
        (
            one("a", "shop.*", "new", &format!("{schemas} = ['']")),
            "'' in `users` of move 'a' is not the name",
            "without a host",
        ),
        (
            a.clone() + &one("b", "mail.*", "third", &format!("{schemas} = ['other', 'app']")),
            "moves 'a' and 'b' both take account 'app' along",
            "let each account go with one move only",
        ),
        (
            a.clone() + "[front_door.users.app]\ncluster = 'third'\n",
            "account 'app' goes with move 'a', which says where it is",
            "remove `cluster` from [front_door.users.app]",
        ),
    ] {
        let refused = text(&moves).unwrap_err();
        assert!(refused.what.contains(what) && refused.hint.contains(hint), "{refused:?}");
    }
    // What else is said of an account goes with it.
    assert!(text(&(a + "[front_door.users.app]\nclients_max = 5\n")).is_ok());
}

#[test]
fn the_doors_memory_is_half_of_what_there_is_unless_it_is_said() {
    let half = memory::available().unwrap() / 2;
    let door = |lines: &str| resolve_text(&format!("{CLUSTERS}{MOVE}[front_door]\n{lines}\n"));
    assert_eq!(door("").unwrap().front_door.rules.memory_max, half);
    let small = door("memory_max = '64MiB'").unwrap().front_door;
    let (words, fit) = small.memory_in_words();
    assert!(small.rules.memory_max == 64 << 20 && !fit, "{words}");
    assert!(
        words.contains("64.0 MiB") && words.contains("20,000") && words.contains("clients_max"),
        "{words}"
    );
    assert!(door("memory_max = '2GiB'").unwrap().front_door.memory_in_words().1);
    for wrong in ["memory_max = '1MiB'", "memory_max = '2GB'", "memory_max = 5"] {
        door(wrong).unwrap_err();
    }
}
