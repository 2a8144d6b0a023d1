//! What a session has set that any backend can be given: default schema, system variables, `COM_SET_OPTION`.
//!
//! Settings are interned: sessions of one application set the same things, so thousands of them share one copy, and
//! whether a backend already has what a session needs is a comparison of two pointers.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use wire::WireError;
use wire::response::{OkPacket, SessionChange};

/// The variables whose values at the login are asked for, so that they can be put back by name. (`SET ... = DEFAULT` is no
/// substitute: it turns `foreign_key_checks` *off* on 9.7.) A backend with any other one set goes through
/// `COM_RESET_CONNECTION` before it serves a session that has not set it.
const BASELINE: &[&str] = &[
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "collation_connection",
    "div_precision_increment",
    "group_concat_max_len",
    "innodb_lock_wait_timeout",
    "interactive_timeout",
    "lock_wait_timeout",
    "long_query_time",
    "max_execution_time",
    "net_read_timeout",
    "net_write_timeout",
    "sql_mode",
    "sql_select_limit",
    "time_zone",
    "transaction_isolation",
    "wait_timeout",
];

/// The same, of those that are on or off.
const SWITCHES: &[&str] =
    &["autocommit", "foreign_key_checks", "sql_safe_updates", "transaction_read_only", "unique_checks"];

/// The variables that decide how a statement's text is understood when it is prepared.
const PARSING: [&[u8]; 5] = [
    b"character_set_client",
    b"character_set_connection",
    b"collation_connection",
    b"div_precision_increment",
    b"sql_mode",
];

/// What a login's collation sets.
const CHARSET: [&[u8]; 4] =
    [b"character_set_client", b"character_set_connection", b"character_set_results", b"collation_connection"];

/// Where `character_set_results` comes from. Its value is a character set's name, but result sets carry the number of a
/// collation of it: that of the login, that of the server after a reset, or the set's default one if it was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Results {
    /// A login with this collation.
    Login(u8),
    /// `COM_RESET_CONNECTION`.
    Reset,
    /// A `SET` that named the character set.
    Named,
    /// `SET NAMES ... COLLATE` this one; empty until it has been asked for.
    Collated(Box<[u8]>),
}

/// A session's settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    /// Where `character_set_results` comes from.
    pub results: Results,
    /// The default schema.
    pub schema: Option<Box<[u8]>>,
    /// What `COM_SET_OPTION` set.
    pub option: Option<[u8; 2]>,
    /// System variables that differ, or may, from what a login finds, with their values.
    pub variables: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// What makes a backend with some settings one with others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    /// `COM_RESET_CONNECTION`, and the trackers again.
    pub reset: bool,
    /// `COM_INIT_DB`.
    pub schema: Option<Box<[u8]>>,
    /// `COM_SET_OPTION`.
    pub option: Option<[u8; 2]>,
    /// Assignments of one `SET`, without the keyword.
    pub assignments: Vec<u8>,
}

impl Settings {
    /// What a login with this collation finds, as far as nobody has looked.
    pub fn of_login(collation: u8) -> Self {
        Self { results: Results::Login(collation), schema: None, option: None, variables: BTreeMap::new() }
    }

    /// Seconds after which the server closes an idle connection with these settings; MySQL's own default if it is not known.
    pub fn wait_timeout(&self) -> u32 {
        let value = self.variables.get(b"wait_timeout".as_slice());
        value.and_then(|v| std::str::from_utf8(v).ok()?.parse().ok()).unwrap_or(28_800)
    }

    /// Whether a backend with these settings can be given those: there is no command to leave a schema, none that undoes
    /// a `COM_SET_OPTION` without knowing what the login said, and none that brings a login's collation back.
    pub fn leads_to(&self, wanted: &Self) -> bool {
        let login = matches!(wanted.results, Results::Login(_));
        (wanted.schema.is_some() || self.schema.is_none())
            && (wanted.option.is_some() || self.option.is_none())
            && (!login || self.results == wanted.results && !self.must_reset(wanted))
    }

    /// What decides how a statement is understood when it is prepared.
    pub fn parsing(&self) -> Self {
        let mut parsing = Self { results: Results::Named, ..Self::of_login(0) };
        parsing.schema.clone_from(&self.schema);
        for (name, value) in &self.variables {
            if PARSING.contains(&&**name) {
                parsing.variables.insert(name.clone(), value.clone());
            }
        }
        parsing
    }

    /// These settings, but so that a statement is understood as under those others.
    pub fn parsing_as(&self, parsing: &Self) -> Self {
        let mut there = self.clone();
        there.variables.retain(|name, _| !PARSING.contains(&&**name));
        there.variables.extend(parsing.variables.iter().map(|(n, v)| (n.clone(), v.clone())));
        // A text without a schema to it names one wherever it needs one.
        if parsing.schema.is_some() {
            there.schema.clone_from(&parsing.schema);
        }
        there
    }

    /// Whether only `COM_RESET_CONNECTION` leads to those settings.
    pub fn must_reset(&self, wanted: &Self) -> bool {
        self.variables.keys().any(|name| !wanted.variables.contains_key(name))
            || wanted.results == Results::Reset && self.results != Results::Reset
    }

    /// The steps from these settings of a backend to those a session wants.
    pub fn steps_to(&self, wanted: &Self) -> Steps {
        let reset = self.must_reset(wanted);
        let mut steps = Steps { reset, ..Steps::default() };
        steps.schema = wanted.schema.clone().filter(|_| wanted.schema != self.schema);
        steps.option = wanted.option.filter(|_| reset || wanted.option != self.option);
        let [client, connection, results, collation] = CHARSET;
        let mut renamed = false;
        if let (Results::Collated(collated), Some(set)) = (&wanted.results, wanted.variables.get(results))
            && (reset || self.results != wanted.results || self.variables.get(results) != Some(set))
        {
            steps.name(set, collated);
            renamed = true;
        }
        let reset = reset || renamed;
        let differs = |name: &[u8]| reset || self.variables.get(name) != wanted.variables.get(name);
        for (name, value) in &wanted.variables {
            let assign = match &**name {
                name if name == results => {
                    wanted.results == Results::Named && (differs(name) || self.results != Results::Named)
                }
                // Last, since setting a connection's character set sets its collation too.
                name if name == collation => false,
                name => differs(name),
            };
            if assign {
                steps.assign(name, &literal(name, value));
            }
        }
        if let Some(value) = wanted.variables.get(collation)
            && [client, connection, collation].into_iter().any(differs)
        {
            steps.assign(collation, &literal(collation, value));
        }
        steps
    }

    /// Whether what a server reported agrees with every variable here.
    ///
    /// # Errors
    /// If the report cannot be read.
    pub fn agrees(&self, ok: &OkPacket) -> Result<bool, WireError> {
        Ok(ok.session_changes()?.iter().all(|change| match change {
            SessionChange::Variable { name, value } => {
                self.variables.get(name.as_slice()).is_none_or(|wanted| **wanted == **value)
            }
            _ => true,
        }))
    }

    /// Takes the answer to [`baseline_question`]; NULL, as `character_set_results` can be, is reported as no text.
    pub fn set_baseline(&mut self, values: &Baseline) {
        for (name, value) in BASELINE.iter().chain(SWITCHES).zip(&values.0) {
            self.variables.insert(name.as_bytes().into(), value.clone().into());
        }
    }
}

/// What a login found: the values of the variables that are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Baseline(Vec<Vec<u8>>);

impl Baseline {
    /// From the cells of the answer; `None` if the server runs statements of its own at each login, whose effect on the
    /// session nobody can undo.
    pub fn of(mut cells: Vec<Option<Vec<u8>>>) -> Option<Self> {
        let init_connect = cells.pop()?;
        let whole = cells.len() == BASELINE.len() + SWITCHES.len();
        let quiet = init_connect.is_none_or(|statements| statements.is_empty());
        (whole && quiet).then(|| Self(cells.into_iter().map(Option::unwrap_or_default).collect()))
    }
}

impl Steps {
    /// Adds `NAMES ... COLLATE`.
    fn name(&mut self, set: &[u8], collation: &[u8]) {
        if !self.assignments.is_empty() {
            self.assignments.extend_from_slice(b", ");
        }
        let names: [&[u8]; 4] = [b"NAMES ", &literal(b"", set), b" COLLATE ", &literal(b"", collation)];
        names.iter().for_each(|part| self.assignments.extend_from_slice(part));
    }

    /// Adds an assignment.
    pub fn assign(&mut self, name: &[u8], value: &[u8]) {
        if !self.assignments.is_empty() {
            self.assignments.extend_from_slice(b", ");
        }
        self.assignments.extend_from_slice(b"SESSION ");
        self.assignments.extend_from_slice(name);
        self.assignments.push(b'=');
        self.assignments.extend_from_slice(value);
    }
}

/// Asks what a login has found, and whether the server does something unseen at each login.
pub(crate) fn baseline_question() -> String {
    let values: Vec<String> = BASELINE.iter().map(|name| format!("@@{name}")).collect();
    let switches: Vec<String> = SWITCHES.iter().map(|name| format!("IF(@@{name}, 'ON', 'OFF')")).collect();
    format!("SELECT {}, {}, @@init_connect", values.join(", "), switches.join(", "))
}

/// A value as SQL. Numbers must be unquoted for the server to take them; text in quotes cannot end early, whatever
/// the sql_mode: a quote is doubled, and a value with a backslash has pinned its session.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    if value.is_empty() && name == b"character_set_results" {
        return b"NULL".to_vec();
    }
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let number = !digits.is_empty()
        && digits.iter().all(|b| b.is_ascii_digit() || *b == b'.')
        && digits.iter().filter(|b| **b == b'.').count() <= 1
        && digits[0] != b'.';
    if number {
        return value.to_vec();
    }
    let mut out = vec![b'\''];
    for &b in value {
        if b == b'\'' {
            out.push(b);
        }
        out.push(b);
    }
    out.push(b'\'');
    out
}

/// Values in use, each once: settings, and texts of statements.
#[derive(Debug)]
pub(crate) struct Interned<T: ?Sized> {
    known: Mutex<Known<T>>,
}

#[derive(Debug)]
struct Known<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// When so many are known, those no longer in use are forgotten.
    sweep_at: usize,
}

impl<T: ?Sized> Default for Interned<T> {
    fn default() -> Self {
        Self { known: Mutex::new(Known { all: HashSet::new(), sweep_at: 64 }) }
    }
}

impl<T: ?Sized + Eq + Hash> Interned<T> {
    /// The one copy of this value.
    pub fn intern<V>(&self, value: V) -> Arc<T>
    where
        V: Borrow<T> + Into<Arc<T>>,
    {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.all.get(value.borrow()) {
            return Arc::clone(same);
        }
        if known.all.len() >= known.sweep_at {
            known.all.retain(|value| Arc::strong_count(value) > 1);
            known.sweep_at = (known.all.len() * 2).max(64);
        }
        let value = value.into();
        known.all.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Settings {
        Settings { results: Results::Named, ..Settings::of_login(0) }
    }

    fn settings(schema: Option<&str>, variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(n, v)| (n.as_bytes().into(), v.as_bytes().into())).collect();
        Settings { schema: schema.map(|s| s.as_bytes().into()), variables, ..named() }
    }

    fn assignments(from: &Settings, to: &Settings) -> String {
        String::from_utf8(from.steps_to(to).assignments).unwrap()
    }

    #[test]
    fn equal_settings_need_nothing_and_are_one_copy() {
        let a = settings(Some("shop"), &[("time_zone", "+00:00")]);
        assert_eq!(a.steps_to(&a.clone()), Steps::default());
        let interned = Interned::<Settings>::default();
        let one = interned.intern(Arc::new(a.clone()));
        assert!(Arc::ptr_eq(&one, &interned.intern(Arc::new(a))));
        for n in 0..1000 {
            interned.intern(Arc::new(settings(Some(&n.to_string()), &[])));
        }
        assert!(interned.known.lock().unwrap().all.len() < 200);
    }

    #[test]
    fn what_another_session_set_is_undone_and_what_this_one_set_is_restored() {
        let other = settings(Some("a"), &[("sql_mode", "ANSI_QUOTES"), ("time_zone", "+01:00")]);
        let mine =
            settings(Some("b"), &[("sql_mode", ""), ("sql_select_limit", "5"), ("time_zone", "+02:00")]);
        let steps = other.steps_to(&mine);
        assert_eq!((steps.reset, steps.schema.as_deref()), (false, Some(b"b".as_slice())));
        assert_eq!(
            assignments(&other, &mine),
            "SESSION sql_mode='', SESSION sql_select_limit=5, SESSION time_zone='+02:00'"
        );
    }

    #[test]
    fn what_no_value_is_known_of_is_reset() {
        let other = settings(None, &[("optimizer_switch", "x=off"), ("time_zone", "+01:00")]);
        let mine = settings(None, &[("time_zone", "+01:00")]);
        assert!(other.steps_to(&mine).reset);
        assert_eq!(assignments(&other, &mine), "SESSION time_zone='+01:00'");
    }

    #[test]
    fn a_schema_cannot_be_left() {
        let (with, without) = (settings(Some("a"), &[]), settings(None, &[]));
        assert!(!with.leads_to(&without) && without.leads_to(&with) && with.leads_to(&with));
    }

    #[test]
    fn the_collation_is_set_after_the_character_set_and_null_stays_null() {
        let mine = settings(
            None,
            &[
                ("character_set_connection", "latin1"),
                ("character_set_results", ""),
                ("collation_connection", "latin1_bin"),
                ("unique_checks", "OFF"),
            ],
        );
        assert_eq!(
            assignments(&Settings::of_login(45), &mine),
            "SESSION character_set_connection='latin1', SESSION character_set_results=NULL, \
             SESSION unique_checks='OFF', SESSION collation_connection='latin1_bin'"
        );
        // A charset that changes takes the collation with it, even one that was the same before.
        let other = settings(
            None,
            &[("character_set_connection", "utf8mb4"), ("collation_connection", "latin1_bin")],
        );
        let mine =
            settings(None, &[("character_set_connection", "latin1"), ("collation_connection", "latin1_bin")]);
        assert_eq!(
            assignments(&other, &mine),
            "SESSION character_set_connection='latin1', SESSION collation_connection='latin1_bin'"
        );
    }

    #[test]
    fn the_collation_of_results_is_kept_apart_from_their_character_set() {
        let with = |results| Settings { results, ..settings(None, &[("character_set_results", "utf8mb4")]) };
        let (login, reset, set) = (with(Results::Login(45)), with(Results::Reset), with(Results::Named));
        assert!(
            !set.leads_to(&login) && !reset.leads_to(&login) && !with(Results::Login(255)).leads_to(&login)
        );
        assert_eq!(assignments(&login, &set), "SESSION character_set_results='utf8mb4'");
        assert!(set.steps_to(&reset).reset && assignments(&set, &reset).is_empty());
        let odd = Settings { results: Results::Login(45), ..settings(None, &[("optimizer_switch", "x")]) };
        assert!(!odd.leads_to(&login) && odd.leads_to(&reset));
    }

    #[test]
    fn names_with_a_collation_are_named_again() {
        let pairs = [
            ("character_set_connection", "utf8mb4"),
            ("character_set_results", "utf8mb4"),
            ("collation_connection", "utf8mb4_bin"),
        ];
        let named = settings(None, &pairs);
        let collated =
            Settings { results: Results::Collated(b"utf8mb4_bin".as_slice().into()), ..named.clone() };
        assert_eq!(
            assignments(&named, &collated),
            "NAMES 'utf8mb4' COLLATE 'utf8mb4_bin', SESSION character_set_connection='utf8mb4', \
             SESSION collation_connection='utf8mb4_bin'"
        );
        assert_eq!(assignments(&collated, &named), "SESSION character_set_results='utf8mb4'");
        assert!(assignments(&collated, &collated.clone()).is_empty());
    }

    #[test]
    fn a_statement_is_understood_as_where_it_was_prepared() {
        let then = settings(Some("a"), &[("sql_mode", "ANSI_QUOTES"), ("time_zone", "+01:00")]);
        let now = settings(Some("b"), &[("sql_mode", ""), ("time_zone", "+02:00")]);
        let there = now.parsing_as(&then.parsing());
        assert_eq!(there, settings(Some("a"), &[("sql_mode", "ANSI_QUOTES"), ("time_zone", "+02:00")]));
        assert!(!now.must_reset(&there) && !there.must_reset(&now));
    }

    #[test]
    fn values_cannot_end_their_quotes() {
        assert_eq!(literal(b"x", b"a'b"), b"'a''b'");
        assert_eq!(literal(b"x", b""), b"''");
        assert_eq!(literal(b"x", b"-1.5"), b"-1.5");
        assert_eq!(literal(b"x", b"1.2.3"), b"'1.2.3'");
    }
}
