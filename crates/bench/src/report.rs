//! What a benchmark found: a series of figures per case and contestant, and the JSON they are kept in.
//!
//! Ours is compared with a peer pair by pair, round by round, since the two ran one after the other on the same
//! machine in the same mood; the ratio told is the median of these.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::{Result, failed};

/// The name of ours among the contestants.
pub const OURS: &str = "ours";

/// Least, middle and most of several figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of no figures, all are 0.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let end = |figure: Option<&f64>| figure.copied().unwrap_or_default();
        Self { min: end(sorted.first()), median: median(&sorted), max: end(sorted.last()) }
    }

    fn rounded(self) -> Self {
        Self { min: rounded(self.min), median: rounded(self.median), max: rounded(self.max) }
    }
}

/// Of sorted figures the middle one, or the mean of the middle two.
fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => 0.0,
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e4).round() / 1e4
}

/// One case: what was measured, and every contestant's figures in the order of the rounds.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub unit: &'static str,
    /// Whether less is better.
    pub lower_is_better: bool,
    pub figures: BTreeMap<String, Vec<f64>>,
}

impl Case {
    /// Least, middle and most of a contestant.
    pub fn spread(&self, contestant: &str) -> Option<Spread> {
        self.figures.get(contestant).filter(|f| !f.is_empty()).map(|f| Spread::of(f))
    }

    /// The median, pair by pair, of ours divided by theirs; a pair with a difference below nothing says nothing.
    pub fn ratio(&self, peer: &str) -> Option<f64> {
        let pairs = self.figures.get(OURS)?.iter().zip(self.figures.get(peer)?);
        let ratios: Vec<f64> =
            pairs.filter(|(ours, theirs)| **ours >= 0.0 && **theirs > 0.0).map(|(o, t)| o / t).collect();
        (!ratios.is_empty()).then(|| Spread::of(&ratios).median)
    }

    /// The peers that have figures.
    pub fn peers(&self) -> impl Iterator<Item = &String> {
        self.figures.iter().filter(|(name, f)| name.as_str() != OURS && !f.is_empty()).map(|(name, _)| name)
    }

    fn to_json(&self) -> Value {
        let spread = |name: &str| self.spread(name).map(Spread::rounded);
        let peers: BTreeMap<_, _> = self.peers().map(|p| (p, spread(p))).collect();
        let ratio: BTreeMap<_, _> = self.peers().filter_map(|p| Some((p, rounded(self.ratio(p)?)))).collect();
        json!({
            "case": self.name,
            "unit": self.unit,
            "better": if self.lower_is_better { "lower" } else { "higher" },
            "ours": spread(OURS),
            "peers": peers,
            "ratio": ratio,
        })
    }
}

/// A benchmark's result.
#[derive(Debug)]
pub struct Report {
    pub bench: &'static str,
    pub machine: Machine,
    /// How each contestant was run.
    pub settings: BTreeMap<String, String>,
    /// Why a contestant has no figures.
    pub absent: BTreeMap<String, String>,
    /// What a contestant's result lacks, although it counts.
    pub flaws: BTreeMap<String, String>,
    pub cases: Vec<Case>,
    /// Figures in the order of time, where that is what they are about.
    pub series: BTreeMap<String, Vec<f64>>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(bench: &'static str, machine: Machine) -> Self {
        let none = BTreeMap::new;
        Self {
            bench,
            machine,
            settings: none(),
            absent: none(),
            flaws: none(),
            cases: Vec::new(),
            series: BTreeMap::new(),
        }
    }

    /// Adds a contestant's figure of a round to a case where less is better.
    pub fn add(&mut self, case: &str, unit: &'static str, contestant: &str, figure: f64) {
        self.case(case, unit, true).figures.entry(contestant.to_owned()).or_default().push(figure);
    }

    /// Adds a contestant's figure of a round to a case where more is better.
    pub fn add_rate(&mut self, case: &str, unit: &'static str, contestant: &str, figure: f64) {
        self.case(case, unit, false).figures.entry(contestant.to_owned()).or_default().push(figure);
    }

    fn case(&mut self, name: &str, unit: &'static str, lower_is_better: bool) -> &mut Case {
        let at = self.cases.iter().position(|c| c.name == name).unwrap_or_else(|| {
            let (name, figures) = (name.to_owned(), BTreeMap::new());
            self.cases.push(Case { name, unit, lower_is_better, figures });
            self.cases.len() - 1
        });
        &mut self.cases[at]
    }

    /// As it is written.
    pub fn to_json(&self, command: &str) -> Value {
        json!({
            "bench": self.bench,
            "machine": self.machine,
            "command": command,
            "settings": self.settings,
            "absent": self.absent,
            "flaws": self.flaws,
            "series": self.series,
            "rows": self.cases.iter().map(Case::to_json).collect::<Vec<_>>(),
        })
    }

    /// Writes it to the file, by default `bench/results/NAME.json`; where it is.
    pub fn write(&self, file: Option<&Path>) -> Result<PathBuf> {
        let default = || PathBuf::from(format!("bench/results/{}.json", self.bench));
        let file = file.map_or_else(default, Path::to_path_buf);
        let words: Vec<String> = std::env::args().skip(1).collect();
        let mut text = format!("{:#}", self.to_json(&format!("bench {}", words.join(" "))));
        text.push('\n');
        let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
        folder
            .and_then(|()| fs::write(&file, text))
            .map_err(|e| failed(format!("write {}", file.display()), e))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(figures: &[(&str, &[f64])]) -> Case {
        Case {
            name: "wall time".into(),
            unit: "s",
            lower_is_better: true,
            figures: figures.iter().map(|(n, f)| ((*n).to_owned(), f.to_vec())).collect(),
        }
    }

    #[track_caller]
    fn check(figures: &[f64], min: f64, median: f64, max: f64) {
        assert_eq!(Spread::of(figures), Spread { min, median, max });
    }

    #[test]
    fn a_spread_is_of_the_sorted_figures() {
        check(&[3.0, 1.0, 2.0], 1.0, 2.0, 3.0);
        check(&[4.0, 1.0, 2.0, 3.0], 1.0, 2.5, 4.0);
        check(&[7.0], 7.0, 7.0, 7.0);
        check(&[], 0.0, 0.0, 0.0);
    }

    #[test]
    fn ours_is_divided_by_theirs_of_the_same_round() {
        // Medians divided would say 2/4; round by round it is 1/2, 2/8 and 9/4.
        let case = case(&[("ours", &[1.0, 2.0, 9.0]), ("clone", &[2.0, 8.0, 4.0])]);
        assert_eq!(case.ratio("clone"), Some(0.5));
        assert_eq!(case.ratio("native"), None);
    }

    #[test]
    fn a_peer_that_took_nothing_measurable_has_no_ratio() {
        assert_eq!(case(&[("ours", &[1.0]), ("clone", &[0.0])]).ratio("clone"), None);
        assert_eq!(case(&[("ours", &[-1.0, 2.0]), ("clone", &[2.0, 4.0])]).ratio("clone"), Some(0.5));
    }

    #[test]
    fn a_row_has_the_keys_that_readers_of_results_rely_on() {
        let row = case(&[("ours", &[1.0, 3.0]), ("clone", &[2.0, 2.0])]).to_json();
        let expected = serde_json::json!({
            "case": "wall time", "unit": "s", "better": "lower",
            "ours": {"min": 1.0, "median": 2.0, "max": 3.0},
            "peers": {"clone": {"min": 2.0, "median": 2.0, "max": 2.0}},
            "ratio": {"clone": 1.0},
        });
        assert_eq!(row, expected);
    }
}
