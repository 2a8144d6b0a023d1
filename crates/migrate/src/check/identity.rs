//! Whether these are two MySQL servers, in an order in which rows can go.

use super::facts::{Facts, ServerFacts, Version};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, passed, refused, warned};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "server-version",
        judge: Judge::Each(server_version),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "the copy relies on binary logs, GTIDs and metadata as MySQL 8.0 and later have them",
    },
    Rule {
        name: "version-order",
        judge: Judge::On(Side::Target, version_order),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why: "an older server may not know a collation, a function or a table option of the newer one",
    },
    Rule {
        name: "server-identity",
        judge: Judge::On(Side::Both, server_identity),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "GTIDs name the server they began on: with one name for two servers, our own writes and theirs look alike",
    },
];

fn server_version(server: &ServerFacts) -> Judged {
    let text = server.variables.get("version")?;
    let comment = server.variables.find("version_comment").unwrap_or_default();
    let evidence = format!("{text} ({comment})");
    if evidence.contains("MariaDB") || server.version() < Version(8, 0, 22) {
        return refused(evidence, "use MySQL 8.0.22 or later, or a server derived from it");
    }
    passed(evidence)
}

fn version_order(facts: &Facts) -> Judged {
    let (source, target) = (facts.source.version(), facts.target.version());
    let evidence = format!("source {source}, target {target}");
    let fix = format!("upgrade the target to {source} or later");
    if (target.0, target.1) < (source.0, source.1) {
        refused(evidence, fix)
    } else if target < source {
        warned(evidence, fix)
    } else {
        passed(evidence)
    }
}

fn server_identity(facts: &Facts) -> Judged {
    let (source, target) = (&facts.source.variables, &facts.target.variables);
    let (one, other) = (source.get("server_uuid")?, target.get("server_uuid")?);
    if one == other {
        return refused(
            format!("both have server_uuid {one}: they are one server, or one is a file copy of the other"),
            "point the move at two servers; if the target is a file copy, remove its auto.cnf and restart it",
        );
    }
    let (one_id, other_id) = (source.get("server_id")?, target.get("server_id")?);
    if one_id == other_id {
        return warned(
            format!("different server_uuid, but both have server_id {one_id}"),
            format!("SET PERSIST server_id = {};  -- on the target", other_id.parse().unwrap_or(0_u64) + 1),
        );
    }
    passed(format!("source {one}, target {other}"))
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, outcome};
    use super::*;

    #[test]
    fn a_server_that_is_too_old_or_not_mysql_is_refused() {
        let version = |text| outcome(server_version(&sample::server(Side::Source).with("version", text)));
        assert_eq!(version("9.7.4-2"), Outcome::Passed);
        assert_eq!(version("8.0.36"), Outcome::Passed);
        assert_eq!(version("5.7.44-log"), Outcome::Refused);
        assert_eq!(version("11.4.2-MariaDB"), Outcome::Refused);
    }

    #[test]
    fn rows_do_not_go_to_an_older_server() {
        let order = |source, target| {
            let mut facts = sample::facts();
            facts.source = facts.source.with("version", source);
            facts.target = facts.target.with("version", target);
            outcome(version_order(&facts))
        };
        assert_eq!(order("8.0.36", "9.7.4"), Outcome::Passed);
        assert_eq!(order("8.4.3", "8.4.2"), Outcome::Warned);
        assert_eq!(order("9.7.4", "8.4.9"), Outcome::Refused);
    }

    #[test]
    fn a_server_is_not_moved_onto_itself() {
        let mut facts = sample::facts();
        assert_eq!(outcome(server_identity(&facts)), Outcome::Passed);
        facts.target = facts.target.with("server_id", "1");
        assert_eq!(outcome(server_identity(&facts)), Outcome::Warned);
        facts.target = facts.source.clone();
        assert_eq!(outcome(server_identity(&facts)), Outcome::Refused);
    }
}
