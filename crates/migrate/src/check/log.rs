//! Whether the binary logs hold every row change, whole and in order: the source's for the way there, the target's for
//! the way back.

use model::GtidSet;

use super::facts::{Facts, ServerFacts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, passed, refused, warned};

const fn rule(name: &'static str, judge: fn(&ServerFacts) -> Judged, why: &'static str) -> Rule {
    Rule { name, judge: Judge::Each(judge), acceptance: Acceptance::Never, unread: Outcome::Refused, why }
}

pub(super) const RULES: &[Rule] = &[
    rule("binlog-enabled", enabled, "there is no stream to follow, and after the switch no way back"),
    rule("binlog-format", format, "changes logged as statements cannot be applied exactly"),
    rule(
        "binlog-row-image",
        row_image,
        "columns left out of an image cannot be proven or written on the other side",
    ),
    rule("binlog-checksum", checksum, "an event damaged on its way could not be told from a whole one"),
    rule(
        "binlog-order-commits",
        order_commits,
        "a row could be seen before its transaction is in the log, so a copied chunk could hold rows of the future",
    ),
    rule(
        "binlog-filters",
        filters,
        "changes of a filtered schema never reach the log, and so never the other side",
    ),
    rule("gtid-mode", gtid_mode, "the ledger says what is applied as a set of GTIDs"),
    rule(
        "gtid-consistency",
        gtid_consistency,
        "a transaction without a GTID of its own cannot be applied exactly once",
    ),
    rule(
        "gtid-executed",
        gtid_executed,
        "the ledger begins at the set of GTIDs that the source has executed",
    ),
    Rule {
        name: "gtid-purged",
        judge: Judge::On(Side::Source, gtid_purged),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "what is purged before it is applied is lost to the stream",
    },
    Rule {
        name: "binlog-expiry",
        judge: Judge::Each(expiry),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "a move that pauses longer than the log is kept has to start again from nothing",
    },
    Rule {
        name: "durability",
        judge: Judge::Each(durability),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "a crash could forget commits on one side that the other side already has: acknowledged orders on the \
              source, and on the target after the switch",
    },
];

/// Passes if a variable has the one value it must have.
fn must_be(server: &ServerFacts, variable: &str, wanted: &str, fix: &str) -> Judged {
    let value = server.variables.get(variable)?;
    let evidence = format!("{variable} = {}", if value.is_empty() { "''" } else { value });
    if value.eq_ignore_ascii_case(wanted) { passed(evidence) } else { refused(evidence, fix) }
}

fn enabled(s: &ServerFacts) -> Judged {
    must_be(
        s,
        "log_bin",
        "ON",
        "start the server with log_bin set (my.cnf: [mysqld] log_bin = binlog); needs a restart",
    )
}

/// Sessions that are open keep the old value, so the fix includes getting rid of them.
fn format(s: &ServerFacts) -> Judged {
    const FIX: &str =
        "SET PERSIST binlog_format = 'ROW';\n-- sessions already open keep the old format: reconnect them";
    must_be(s, "binlog_format", "ROW", FIX)
}

fn row_image(s: &ServerFacts) -> Judged {
    const FIX: &str =
        "SET PERSIST binlog_row_image = 'FULL';\n-- sessions already open keep the old image: reconnect them";
    must_be(s, "binlog_row_image", "FULL", FIX)
}

fn checksum(s: &ServerFacts) -> Judged {
    must_be(s, "binlog_checksum", "CRC32", "SET PERSIST binlog_checksum = 'CRC32';")
}

fn order_commits(s: &ServerFacts) -> Judged {
    must_be(s, "binlog_order_commits", "ON", "SET PERSIST binlog_order_commits = ON;")
}

fn filters(s: &ServerFacts) -> Judged {
    let filters = s.log_filters.as_ref().map_err(Clone::clone)?;
    if filters.only.is_empty() && filters.ignored.is_empty() {
        return passed("nothing is left out of the log");
    }
    refused(
        format!("binlog_do_db = '{}', binlog_ignore_db = '{}'", filters.only, filters.ignored),
        "remove binlog_do_db and binlog_ignore_db from the server's options; needs a restart",
    )
}

fn gtid_mode(s: &ServerFacts) -> Judged {
    // One step at a time, as the server demands, and only from where it stands.
    const STEPS: [(&str, &str); 3] = [
        ("OFF", "SET PERSIST enforce_gtid_consistency = ON;\nSET PERSIST gtid_mode = OFF_PERMISSIVE;"),
        ("OFF_PERMISSIVE", "SET PERSIST gtid_mode = ON_PERMISSIVE;"),
        (
            "ON_PERMISSIVE",
            "-- wait until SHOW STATUS LIKE 'Ongoing_anonymous_transaction_count' is 0\nSET PERSIST gtid_mode = ON;",
        ),
    ];
    let value = s.variables.get("gtid_mode")?;
    let from = STEPS.iter().position(|(mode, _)| *mode == value).unwrap_or(0);
    let steps: Vec<&str> = STEPS[from..].iter().map(|(_, step)| *step).collect();
    must_be(s, "gtid_mode", "ON", &steps.join("\n"))
}

fn gtid_consistency(s: &ServerFacts) -> Judged {
    const FIX: &str = "SET PERSIST enforce_gtid_consistency = WARN;\n-- see that the error log names no statement, then\n\
                       SET PERSIST enforce_gtid_consistency = ON;";
    must_be(s, "enforce_gtid_consistency", "ON", FIX)
}

fn gtid_executed(s: &ServerFacts) -> Judged {
    let gtids = s.gtids.as_ref().map_err(Clone::clone)?;
    match gtids.executed.parse::<GtidSet>() {
        Ok(set) => passed(format!("{} transactions executed", set.len())),
        Err(error) => {
            refused(error.to_string(), "report this: the server writes GTID sets in a form we do not know")
        }
    }
}

fn gtid_purged(facts: &Facts) -> Judged {
    let gtids = facts.source.gtids.as_ref().map_err(Clone::clone)?;
    let Some(applied) = facts.there.applied.as_ref().map_err(Clone::clone)? else {
        return passed(match gtids.purged.as_str() {
            "" => "nothing is purged".to_owned(),
            purged => format!("{purged} is purged; a copy that starts now does not need it"),
        });
    };
    match (gtids.purged.parse::<GtidSet>(), applied.parse::<GtidSet>()) {
        (Ok(purged), Ok(applied)) if applied.contains(&purged) => passed("all that is purged is applied"),
        (Ok(purged), Ok(_)) => refused(
            format!("{purged} is purged, and the ledger lacks part of it"),
            "the stream cannot go on: run `highwater finish`, raise binlog_expire_logs_seconds, and copy again",
        ),
        _ => refused("gtid_purged or the ledger holds GTIDs that cannot be read", "see gtid-executed"),
    }
}

fn expiry(s: &ServerFacts) -> Judged {
    const DAY_S: u64 = 86_400;
    let seconds = s.variables.number("binlog_expire_logs_seconds")?;
    let kept = s.variables.find("binlog_expire_logs_auto_purge") == Some("OFF") || seconds == 0;
    let evidence = format!("binlog_expire_logs_seconds = {seconds}");
    match (kept, seconds) {
        (true, _) => passed(format!("{evidence}, never purged by itself")),
        (false, DAY_S..) => passed(evidence),
        _ => warned(evidence, "SET PERSIST binlog_expire_logs_seconds = 604800;"),
    }
}

fn durability(s: &ServerFacts) -> Judged {
    let (sync, flush) = (s.variables.get("sync_binlog")?, s.variables.get("innodb_flush_log_at_trx_commit")?);
    let evidence = format!("sync_binlog = {sync}, innodb_flush_log_at_trx_commit = {flush}");
    if (sync, flush) == ("1", "1") {
        return passed(evidence);
    }
    warned(evidence, "SET PERSIST sync_binlog = 1;\nSET PERSIST innodb_flush_log_at_trx_commit = 1;")
}

#[cfg(test)]
mod tests {
    use super::super::facts::LogFilters;
    use super::super::sample::{self, outcome};
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn source() -> ServerFacts {
        sample::server(Side::Source)
    }

    #[test]
    fn each_log_setting_passes_with_one_value_and_is_refused_with_others() {
        type Case = (fn(&ServerFacts) -> Judged, &'static str, &'static [&'static str]);
        let cases: [Case; 6] = [
            (enabled, "log_bin", &["OFF"]),
            (format, "binlog_format", &["STATEMENT", "MIXED"]),
            (row_image, "binlog_row_image", &["MINIMAL", "NOBLOB"]),
            (checksum, "binlog_checksum", &["NONE"]),
            (order_commits, "binlog_order_commits", &["OFF"]),
            (gtid_consistency, "enforce_gtid_consistency", &["OFF", "WARN"]),
        ];
        for (judge, variable, wrong) in cases {
            assert_eq!(outcome(judge(&source())), Outcome::Passed, "{variable}");
            for value in wrong {
                let finding = judge(&source().with(variable, value)).unwrap();
                assert_eq!(finding.outcome, Outcome::Refused, "{variable} = {value}");
                assert!(finding.fix.unwrap().contains(variable), "{variable}");
            }
        }
    }

    #[test]
    fn gtids_are_turned_on_from_where_the_server_stands() {
        let fix = |mode| gtid_mode(&source().with("gtid_mode", mode)).unwrap().fix.unwrap_or_default();
        assert_eq!(fix("ON"), "");
        assert!(fix("OFF").contains("OFF_PERMISSIVE") && fix("OFF").ends_with("gtid_mode = ON;"));
        assert!(!fix("ON_PERMISSIVE").contains("OFF_PERMISSIVE"));
    }

    #[test]
    fn a_gtid_set_that_cannot_be_read_is_refused() {
        let judge = |executed: &str| {
            let mut s = source();
            if let Ok(gtids) = &mut s.gtids {
                gtids.executed = executed.into();
            }
            outcome(gtid_executed(&s))
        };
        assert_eq!(judge(&format!("{UUID}:1-5:nightly:1-3")), Outcome::Passed);
        assert_eq!(judge(&format!("{UUID}/1-5")), Outcome::Refused);
    }

    #[test]
    fn what_is_purged_must_be_in_the_ledger_once_there_is_one() {
        let judge = |purged: &str, applied: Option<&str>| {
            let mut facts = sample::facts();
            if let Ok(gtids) = &mut facts.source.gtids {
                gtids.purged = purged.into();
            }
            facts.there.applied = Ok(applied.map(str::to_owned));
            outcome(gtid_purged(&facts))
        };
        assert_eq!(judge(&format!("{UUID}:1-9"), None), Outcome::Passed);
        assert_eq!(judge(&format!("{UUID}:1-9"), Some(&format!("{UUID}:1-9"))), Outcome::Passed);
        assert_eq!(judge(&format!("{UUID}:1-9"), Some(&format!("{UUID}:1-8"))), Outcome::Refused);
    }

    #[test]
    fn a_filtered_log_is_refused() {
        let mut s = source();
        s.log_filters = Ok(LogFilters { only: String::new(), ignored: "shop".into() });
        assert_eq!(outcome(filters(&s)), Outcome::Refused);
    }

    #[test]
    fn a_log_kept_for_less_than_a_day_is_warned_about() {
        let kept = |seconds| outcome(expiry(&source().with("binlog_expire_logs_seconds", seconds)));
        assert_eq!(
            (kept("3600"), kept("86400"), kept("0")),
            (Outcome::Warned, Outcome::Passed, Outcome::Passed)
        );
    }

    #[test]
    fn a_server_that_may_forget_commits_is_warned_about() {
        assert_eq!(outcome(durability(&source().with("sync_binlog", "0"))), Outcome::Warned);
        assert_eq!(outcome(durability(&source())), Outcome::Passed);
    }
}
