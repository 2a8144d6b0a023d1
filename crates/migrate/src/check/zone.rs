//! Whether both servers tell the application the same time.
//!
//! The move itself does not depend on it: all our sessions run in +00:00, so TIMESTAMP values arrive exact and DATETIME
//! values untouched. But an application's session takes the server's zone, converts every TIMESTAMP with it, and fills
//! DATETIME columns from NOW() in it. Rows written after the switch would then differ from those before by some hours.

use super::facts::{Clock, Facts, ServerFacts};
use super::report::{Outcome, Side};
use super::rule::{Acceptance, Judge, Judged, Rule, passed, refused, warned};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "time-zone",
        judge: Judge::On(Side::Both, time_zone),
        acceptance: Acceptance::Operator,
        unread: Outcome::Refused,
        why: "rows are copied exactly (our sessions run in +00:00), but the application's sessions on the target would \
              read and write TIMESTAMP columns in another zone, and NOW() would put another hour into DATETIME columns",
    },
    Rule {
        name: "time-zone-tables",
        judge: Judge::On(Side::Target, zone_tables),
        acceptance: Acceptance::Operator,
        unread: Outcome::Warned,
        why: "without zone tables CONVERT_TZ() with a zone's name answers NULL, and SET time_zone = 'a name' fails",
    },
];

fn time_zone(facts: &Facts) -> Judged {
    let source = facts.source.clock.as_ref().map_err(Clone::clone)?;
    let target = facts.target.clock.as_ref().map_err(Clone::clone)?;
    let evidence = format!(
        "source: {}; target: {}; {}",
        described(&facts.source, source)?,
        described(&facts.target, target)?,
        temporal_columns(facts)
    );
    let fix = fix(&facts.source, source, target)?;
    if source.now != target.now {
        let hours = (target.now - source.now) as f64 / 3600.0;
        return refused(format!("{evidence}. Clocks on the target show {hours:+} h"), fix);
    }
    if (source.january, source.july) != (target.january, target.july) {
        return warned(format!("{evidence}. They agree today, but not all year round"), fix);
    }
    if names(&facts.source)? == names(&facts.target)? || is_utc(source) {
        return passed(evidence);
    }
    warned(format!("{evidence}. They agree now, under different names"), fix)
}

/// `time_zone`, and what SYSTEM stands for.
fn names(server: &ServerFacts) -> Result<(&str, &str), super::rule::Unread> {
    let zone = server.variables.get("time_zone")?;
    Ok((zone, if zone == "SYSTEM" { server.variables.get("system_time_zone")? } else { "" }))
}

fn described(server: &ServerFacts, clock: &Clock) -> Result<String, super::rule::Unread> {
    let zone = server.variables.get("time_zone")?;
    let system = server.variables.get("system_time_zone")?;
    Ok(format!("time_zone = {zone}, system_time_zone = {system}, now UTC{}", offset(clock.now)))
}

fn is_utc(clock: &Clock) -> bool {
    (clock.now, clock.january, clock.july) == (0, 0, 0)
}

/// Seconds east of UTC, as SET time_zone takes them.
fn offset(seconds: i64) -> String {
    let minutes = seconds.abs() / 60;
    format!("{}{:02}:{:02}", if seconds < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
}

fn temporal_columns(facts: &Facts) -> String {
    let Ok(tables) = &facts.schema.tables else { return "columns not read".into() };
    let of = |kind| tables.iter().flat_map(|t| &t.columns).filter(|c| c.data_type == kind).count();
    format!("{} TIMESTAMP and {} DATETIME columns move", of("timestamp"), of("datetime"))
}

/// What to set on the target. SYSTEM cannot be set to mean something else while a server runs, so the zone is named.
fn fix(source: &ServerFacts, clock: &Clock, target: &Clock) -> Result<String, super::rule::Unread> {
    let (zone, system) = names(source)?;
    let name = match zone {
        "SYSTEM" if is_utc(clock) => Some("+00:00"),
        "SYSTEM" => zone_named(system, clock),
        name => Some(name),
    };
    let by_name = |name: &str| {
        let set = format!("SET PERSIST time_zone = '{name}';  -- on the target, then reconnect its sessions");
        let needs_tables = !name.starts_with(['+', '-']) && !target.names_loaded;
        if needs_tables {
            format!("mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql  # on the target\n{set}")
        } else {
            set
        }
    };
    Ok(match name {
        Some(name) => by_name(name),
        None if clock.january == clock.july => by_name(&offset(clock.now)),
        None => format!(
            "SET PERSIST time_zone = '<the zone of the source machine; {system} is only its short form>';\n\
             -- UTC{} in January, UTC{} in July",
            offset(clock.january),
            offset(clock.july)
        ),
    })
}

/// The zone that a machine with this abbreviation most likely is in. Abbreviations are not unique (CST is also
/// Shanghai), so the offsets of January and July must agree.
fn zone_named(abbreviation: &str, clock: &Clock) -> Option<&'static str> {
    const HOUR: i64 = 3600;
    const KNOWN: &[(&[&str], i64, i64, &str)] = &[
        (&["PST", "PDT"], -8, -7, "America/Los_Angeles"),
        (&["MST", "MDT"], -7, -6, "America/Denver"),
        (&["MST"], -7, -7, "America/Phoenix"),
        (&["CST", "CDT"], -6, -5, "America/Chicago"),
        (&["EST", "EDT"], -5, -4, "America/New_York"),
        (&["GMT", "BST"], 0, 1, "Europe/London"),
        (&["WET", "WEST"], 0, 1, "Europe/Lisbon"),
        (&["CET", "CEST"], 1, 2, "Europe/Berlin"),
        (&["EET", "EEST"], 2, 3, "Europe/Helsinki"),
        (&["CST"], 8, 8, "Asia/Shanghai"),
        (&["JST"], 9, 9, "Asia/Tokyo"),
        (&["AEST", "AEDT"], 11, 10, "Australia/Sydney"),
    ];
    let fits = |names: &[&str], january: i64, july: i64| {
        names.contains(&abbreviation) && (clock.january, clock.july) == (january * HOUR, july * HOUR)
    };
    KNOWN.iter().find(|(names, january, july, _)| fits(names, *january, *july)).map(|(.., zone)| *zone)
}

fn zone_tables(facts: &Facts) -> Judged {
    let source = facts.source.clock.as_ref().map_err(Clone::clone)?;
    let target = facts.target.clock.as_ref().map_err(Clone::clone)?;
    let word = |loaded| if loaded { "loaded" } else { "empty" };
    let evidence = format!("source: {}, target: {}", word(source.names_loaded), word(target.names_loaded));
    if source.names_loaded && !target.names_loaded {
        return warned(evidence, "mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql  # on the target");
    }
    passed(evidence)
}

#[cfg(test)]
mod tests {
    use super::super::rule::Finding;
    use super::super::sample;
    use super::*;

    const PACIFIC: (i64, i64) = (-28_800, -25_200);

    fn side(facts: &mut ServerFacts, zone: &str, system: &str, (january, july): (i64, i64)) {
        *facts = facts.clone().with("time_zone", zone).with("system_time_zone", system);
        facts.clock = Ok(Clock { now: january, january, july, names_loaded: false });
    }

    fn judge(source: (&str, &str, (i64, i64)), target: (&str, &str, (i64, i64))) -> Finding {
        let mut facts = sample::facts();
        side(&mut facts.source, source.0, source.1, source.2);
        side(&mut facts.target, target.0, target.1, target.2);
        time_zone(&facts).unwrap()
    }

    #[test]
    fn a_source_on_pacific_time_and_a_target_on_utc_are_refused_with_the_zone_to_set() {
        let finding = judge(("SYSTEM", "PST", PACIFIC), ("SYSTEM", "UTC", (0, 0)));
        assert_eq!(finding.outcome, Outcome::Refused);
        assert!(
            finding.evidence.contains("now UTC-08:00") && finding.evidence.contains("+8 h"),
            "{}",
            finding.evidence
        );
        let fix = finding.fix.unwrap();
        assert!(fix.contains("SET PERSIST time_zone = 'America/Los_Angeles'"), "{fix}");
        assert!(fix.starts_with("mysql_tzinfo_to_sql"), "{fix}");
    }

    #[test]
    fn the_same_hour_under_two_names_is_only_warned_about() {
        let finding = judge(("SYSTEM", "PDT", PACIFIC), ("US/Pacific", "UTC", PACIFIC));
        assert_eq!(finding.outcome, Outcome::Warned);
    }

    #[test]
    fn zones_that_part_with_the_season_are_warned_about_before_they_do() {
        let finding = judge(("SYSTEM", "MST", (-25_200, -21_600)), ("-07:00", "UTC", (-25_200, -25_200)));
        assert_eq!(finding.outcome, Outcome::Warned);
        assert!(finding.fix.unwrap().contains("America/Denver"));
    }

    #[test]
    fn utc_is_utc_under_any_name() {
        assert_eq!(judge(("SYSTEM", "UTC", (0, 0)), ("+00:00", "PST", (0, 0))).outcome, Outcome::Passed);
        assert_eq!(judge(("SYSTEM", "PST", PACIFIC), ("SYSTEM", "PST", PACIFIC)).outcome, Outcome::Passed);
    }

    #[test]
    fn an_abbreviation_is_believed_only_if_its_hours_agree() {
        let clock = |january: i64, july: i64| Clock { now: 0, january, july, names_loaded: true };
        assert_eq!(zone_named("CST", &clock(28_800, 28_800)), Some("Asia/Shanghai"));
        assert_eq!(zone_named("CST", &clock(-21_600, -18_000)), Some("America/Chicago"));
        assert_eq!(zone_named("CST", &clock(0, 0)), None);
        let fix = judge(("SYSTEM", "NZDT", (46_800, 43_200)), ("SYSTEM", "UTC", (0, 0))).fix.unwrap();
        assert!(fix.contains("UTC+13:00 in January"), "{fix}");
        let fixed = judge(("SYSTEM", "IST", (19_800, 19_800)), ("SYSTEM", "UTC", (0, 0))).fix.unwrap();
        assert!(fixed.contains("'+05:30'"), "{fixed}");
    }

    #[test]
    fn zone_names_the_application_may_use_must_exist_on_the_target() {
        let mut facts = sample::facts();
        side(&mut facts.source, "SYSTEM", "UTC", (0, 0));
        side(&mut facts.target, "SYSTEM", "UTC", (0, 0));
        assert_eq!(zone_tables(&facts).unwrap().outcome, Outcome::Passed);
        if let Ok(clock) = &mut facts.source.clock {
            clock.names_loaded = true;
        }
        assert_eq!(zone_tables(&facts).unwrap().outcome, Outcome::Warned);
    }
}
