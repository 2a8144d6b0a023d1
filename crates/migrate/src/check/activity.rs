//! What goes on in the servers right now that a move would trip over: replication, prepared and long transactions.

use super::TargetState;
use super::facts::{Channel, Facts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, listed, passed, refused, statements, warned};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "source-replication",
        judge: Judge::On(Side::Source, source_replication),
        acceptance: Acceptance::Never,
        unread: Outcome::Warned,
        why: "a source that is itself a replica is not where the application writes, and a fence on it would not stop its \
              own applier; one that does not log what it replicates has changes the stream never sees",
    },
    Rule {
        name: "target-replication",
        judge: Judge::On(Side::Target, target_replication),
        acceptance: Acceptance::Never,
        unread: Outcome::Warned,
        why: "the target would have a second writer, and no longer equal the source",
    },
    Rule {
        name: "source-replicas",
        judge: Judge::On(Side::Source, source_replicas),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "the copy waits for the replicas it is told of when they fall behind, and for no others",
    },
    Rule {
        name: "xa-prepared",
        judge: Judge::On(Side::Source, xa_prepared),
        acceptance: Acceptance::Never,
        unread: Outcome::Refused,
        why: "rows of a prepared XA transaction are in the log before the copy starts, and visible only after its commit: \
              the copy would miss them",
    },
    Rule {
        name: "open-transactions",
        judge: Judge::On(Side::Source, open_transactions),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "a cutover waits for open transactions only until its deadline, then gives up",
    },
];

/// From when on an open transaction is worth a word.
const LONG_S: i64 = 60;

fn named(channels: &[Channel]) -> String {
    listed(
        channels.iter().map(|c| format!("{} ({})", c.from, if c.applying { "applying" } else { "stopped" })),
    )
}

fn source_replication(facts: &Facts) -> Judged {
    let channels = facts.source.channels.as_ref().map_err(Clone::clone)?;
    if channels.is_empty() {
        return passed("not a replica of another server");
    }
    let evidence = format!("replicates from {}", named(channels));
    let variables = &facts.source.variables;
    if !variables.is_on("log_replica_updates") && !variables.is_on("log_slave_updates") {
        return refused(
            format!("{evidence}, and does not log what it applies"),
            "start the source with log_replica_updates = ON, or take the writer it replicates from as the source",
        );
    }
    warned(
        evidence,
        "take the writer it replicates from as the source, or stop the channel before the cutover",
    )
}

fn target_replication(facts: &Facts) -> Judged {
    let channels = facts.target.channels.as_ref().map_err(Clone::clone)?;
    let evidence = format!("replicates from {}", named(channels));
    if channels.iter().any(|c| c.applying) {
        return refused(evidence, "STOP REPLICA;\nRESET REPLICA ALL;");
    }
    if channels.is_empty() {
        return passed("not a replica of another server");
    }
    warned(evidence, "RESET REPLICA ALL;  -- so that no restart starts it again")
}

fn source_replicas(facts: &Facts) -> Judged {
    let all = facts.source.replicas.as_ref().map_err(Clone::clone)?;
    let spared = &facts.spared;
    // A replica without `report_host` shows no address that could be compared.
    let unknown: Vec<&String> = all.iter().filter(|replica| !spared.contains(replica)).collect();
    if all.len() <= spared.len() || unknown.is_empty() {
        return passed(format!("{} follow it, {} to be spared", all.len(), spared.len()));
    }
    let shown = |replica: &&String| match replica.strip_prefix(':') {
        Some(port) => format!("one that does not report its host, port {port}"),
        None => (*replica).clone(),
    };
    warned(
        format!("not named in the settings: {}", listed(unknown.iter().map(shown))),
        "name them in `replicas` of the source's cluster in highwater.toml",
    )
}

fn xa_prepared(facts: &Facts) -> Judged {
    match facts.source.xa_prepared.as_ref().map_err(Clone::clone)? {
        0 => passed("none"),
        // The stream has seen it being prepared and will see what decides it; a target cannot decide it.
        n if facts.state == TargetState::Underway => warned(
            format!("{n} in XA PREPARED state"),
            "XA RECOVER CONVERT XID;\n-- a cutover gives up until each is committed or rolled back, as its coordinator decides",
        ),
        n => refused(
            format!("{n} in XA PREPARED state"),
            "XA RECOVER CONVERT XID;\n-- then XA COMMIT or XA ROLLBACK each, as its coordinator decides",
        ),
    }
}

fn open_transactions(facts: &Facts) -> Judged {
    let open = facts.source.open_transactions.as_ref().map_err(Clone::clone)?;
    let long: Vec<_> = open.iter().filter(|t| t.open_s >= LONG_S).collect();
    if long.is_empty() {
        return passed(format!("{} open, none for {LONG_S} s", open.len()));
    }
    warned(
        listed(long.iter().map(|t| format!("connection {} for {} s", t.connection, t.open_s))),
        statements(long.iter().filter(|t| t.connection > 0).map(|t| format!("KILL {};", t.connection))),
    )
}

#[cfg(test)]
mod tests {
    use super::super::facts::OpenTransaction;
    use super::super::rule::Unread;
    use super::super::sample::{self, outcome};
    use super::*;

    fn channel(applying: bool) -> Channel {
        Channel { from: "db0:3306".into(), applying }
    }

    #[test]
    fn a_source_that_does_not_log_what_it_replicates_is_refused() {
        let mut facts = sample::facts();
        assert_eq!(outcome(source_replication(&facts)), Outcome::Passed);
        facts.source.channels = Ok(vec![channel(true)]);
        assert_eq!(outcome(source_replication(&facts)), Outcome::Warned);
        facts.source = facts.source.with("log_replica_updates", "OFF");
        assert_eq!(outcome(source_replication(&facts)), Outcome::Refused);
    }

    #[test]
    fn a_target_that_replicates_from_elsewhere_is_refused() {
        let mut facts = sample::facts();
        facts.target.channels = Ok(vec![channel(true)]);
        assert_eq!(outcome(target_replication(&facts)), Outcome::Refused);
        facts.target.channels = Ok(vec![channel(false)]);
        assert_eq!(outcome(target_replication(&facts)), Outcome::Warned);
    }

    #[test]
    fn replicas_that_nobody_spares_are_named() {
        let mut facts = sample::facts();
        facts.source.replicas = Ok(vec!["db2:3306".into(), ":3307".into()]);
        let finding = source_replicas(&facts).unwrap();
        assert_eq!(
            finding.evidence,
            "not named in the settings: db2:3306, one that does not report its host, port 3307"
        );
        facts.spared = vec!["db2:3306".into()];
        let finding = source_replicas(&facts).unwrap();
        assert_eq!(
            (finding.outcome, finding.evidence.as_str()),
            (Outcome::Warned, "not named in the settings: one that does not report its host, port 3307")
        );
        facts.spared.push("db3:3306".into());
        assert_eq!(outcome(source_replicas(&facts)), Outcome::Passed);
    }

    #[test]
    fn prepared_transactions_are_refused_and_so_is_not_knowing() {
        let mut facts = sample::facts();
        assert_eq!(outcome(xa_prepared(&facts)), Outcome::Passed);
        facts.source.xa_prepared = Ok(2);
        assert_eq!(outcome(xa_prepared(&facts)), Outcome::Refused);
        facts.state = TargetState::Underway;
        assert_eq!(outcome(xa_prepared(&facts)), Outcome::Warned);
        facts.source.xa_prepared = Err(Unread { error: "denied".into(), fix: "GRANT".into() });
        let report = super::super::rule::judge(RULES.iter().filter(|r| r.name == "xa-prepared"), &facts, &[]);
        assert_eq!(report.refused(), 1);
    }

    #[test]
    fn transactions_open_for_a_minute_are_named() {
        let mut facts = sample::facts();
        facts.source.open_transactions = Ok(vec![
            OpenTransaction { connection: 7, open_s: 59 },
            OpenTransaction { connection: 8, open_s: 60 },
        ]);
        let finding = open_transactions(&facts).unwrap();
        assert_eq!((finding.outcome, finding.evidence.as_str()), (Outcome::Warned, "connection 8 for 60 s"));
        assert_eq!(finding.fix.as_deref(), Some("KILL 8;"));
    }
}
