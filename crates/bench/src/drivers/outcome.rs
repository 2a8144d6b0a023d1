//! What became of a suite's tests, and how two runs of it differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Result, failed};

/// The differences that are known, with the reason: suite, test and reason, a tab between them. A test that ends with `*` stands
/// for all that begin like it.
const EXPLAINED: &str = "scripts/drivers/explained.tsv";

/// One test's line in what `scripts/drivers/record.py` writes.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    test: String,
    #[serde(flatten)]
    told: Told,
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// `passed`, `failed` or `skipped`.
    pub outcome: String,
    /// The last line of what the test said, if it did not pass.
    pub why: String,
}

/// One run of a suite.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// The driver's name and version.
    pub version: String,
    /// Whether it was ended before it had come to all of its tests.
    pub cut: bool,
    pub tests: BTreeMap<String, Told>,
}

impl Outcomes {
    /// Reads what a run wrote: a line with the version, then one for each test.
    ///
    /// # Errors
    /// If it is not there, or is something else.
    pub fn read(file: &Path) -> Result<Self> {
        let reading = |e: &dyn fmt::Display| failed(format!("read {}", file.display()), e);
        let text = fs::read_to_string(file).map_err(|e| reading(&e))?;
        Self::parse(&text).map_err(|e| reading(&e))
    }

    fn parse(text: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            version: String,
        }
        let mut lines = text.lines();
        let head: Head = serde_json::from_str(lines.next().unwrap_or_default())?;
        let tests = lines.map(|line| serde_json::from_str::<Line>(line).map(|l| (l.test, l.told)));
        Ok(Self { version: head.version, cut: false, tests: tests.collect::<serde_json::Result<_>>()? })
    }

    /// How many tests passed.
    pub fn passed(&self) -> usize {
        self.tests.values().filter(|told| told.outcome == "passed").count()
    }
}

/// A test that came out differently, or was seen in one run only.
#[derive(Debug, Serialize)]
pub struct Difference {
    suite: String,
    test: String,
    direct: Option<Told>,
    door: Option<Told>,
    /// Why that is so, if it is known.
    pub explained: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |told: &Option<Told>| match told {
            None => "not run".to_owned(),
            Some(Told { outcome, why }) if why.is_empty() => outcome.clone(),
            Some(Told { outcome, why }) => format!("{outcome} ({why})"),
        };
        write!(
            f,
            "{} {}\n  direct {}\n  door   {}\n",
            self.suite,
            self.test,
            told(&self.direct),
            told(&self.door)
        )?;
        write!(f, "  why    {}", self.explained.as_deref().unwrap_or("NOT EXPLAINED"))
    }
}

/// The differences that have a reason.
#[derive(Debug, Default)]
pub struct Explained(Vec<[String; 3]>);

impl Explained {
    /// Reads the repository's list.
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(EXPLAINED).map_err(|e| failed(format!("read {EXPLAINED}"), e))?;
        Self::parse(&text).ok_or_else(|| failed(format!("read {EXPLAINED}"), "a line has not three fields"))
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let fields = lines.map(|line| {
            let fields: Vec<String> = line.splitn(3, '\t').map(str::to_owned).collect();
            <[String; 3]>::try_from(fields).ok()
        });
        fields.collect::<Option<_>>().map(Self)
    }

    fn why(&self, suite: &str, test: &str) -> Option<&str> {
        let fits = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        self.0.iter().find(|[s, t, _]| fits(s, suite) && fits(t, test)).map(|[_, _, why]| why.as_str())
    }
}

/// The tests that came out differently, in the order of their names. What a run that was cut short has not come to says nothing.
pub fn compare(suite: &str, direct: &Outcomes, door: &Outcomes, explained: &Explained) -> Vec<Difference> {
    let names: BTreeSet<&String> = direct.tests.keys().chain(door.tests.keys()).collect();
    let outcome = |run: &Outcomes, name: &str| run.tests.get(name).map(|told| told.outcome.clone());
    let cut = direct.cut || door.cut;
    let seen = |name: &&String| !cut || (direct.tests.contains_key(*name) && door.tests.contains_key(*name));
    let seen_by_both = names.into_iter().filter(seen);
    let differ = seen_by_both.filter(|name| outcome(direct, name) != outcome(door, name));
    differ
        .map(|name| Difference {
            suite: suite.to_owned(),
            test: name.clone(),
            direct: direct.tests.get(name).cloned(),
            door: door.tests.get(name).cloned(),
            explained: explained.why(suite, name).map(str::to_owned),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn outcomes(tests: &[(&str, &str)]) -> Outcomes {
        let lines =
            tests.iter().map(|(t, o)| format!("{{\"test\":\"{t}\",\"outcome\":\"{o}\",\"why\":\"\"}}\n"));
        Outcomes::parse(&("{\"version\":\"x 1\"}\n".to_owned() + &lines.collect::<String>())).unwrap()
    }

    #[test]
    fn what_differs_is_named_and_explained_where_it_can_be() {
        let direct = outcomes(&[("a", "passed"), ("b", "passed"), ("c", "failed"), ("d", "passed")]);
        let door = outcomes(&[("a", "passed"), ("b", "failed"), ("c", "failed"), ("e", "passed")]);
        let explained = Explained::parse("# what\nother\tb\tno\nsui*\tb*\tbecause\n").unwrap();
        let found = compare("suite", &direct, &door, &explained);
        let named: Vec<_> = found.iter().map(|d| (d.test.as_str(), d.explained.as_deref())).collect();
        assert_eq!(named, [("b", Some("because")), ("d", None), ("e", None)]);
        assert_eq!((direct.passed(), direct.version.as_str()), (3, "x 1"));
    }

    #[test]
    fn what_a_run_that_was_cut_short_has_not_come_to_is_no_difference() {
        let direct = outcomes(&[("a", "passed"), ("b", "passed"), ("c", "passed")]);
        let door = Outcomes { cut: true, ..outcomes(&[("a", "failed")]) };
        let found = compare("suite", &direct, &door, &Explained::default());
        assert_eq!(found.iter().map(|d| d.test.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn half_a_file_is_not_taken_for_a_run() {
        assert!(Outcomes::parse("").is_err());
        assert!(Outcomes::parse("{\"version\":\"x\"}\n{\"test\":\"a\",\"outc").is_err());
        assert!(Explained::parse("suite\ttest without a reason\n").is_none());
    }
}
