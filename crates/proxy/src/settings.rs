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

/// The variables that `SET ... = DEFAULT` puts back to what a login finds, without side effects on others. A backend with
/// any other one set goes through `COM_RESET_CONNECTION` before it serves a session that has not set it.
const UNDONE_BY_DEFAULT: &[&[u8]] = &[
    b"autocommit",
    b"foreign_key_checks",
    b"group_concat_max_len",
    b"innodb_lock_wait_timeout",
    b"interactive_timeout",
    b"lock_wait_timeout",
    b"long_query_time",
    b"max_execution_time",
    b"net_read_timeout",
    b"net_write_timeout",
    b"sql_mode",
    b"sql_safe_updates",
    b"sql_select_limit",
    b"time_zone",
    b"transaction_isolation",
    b"transaction_read_only",
    b"unique_checks",
    b"wait_timeout",
];

/// What a login's collation sets, in the order in which [`Settings::charset`] takes the values.
pub(crate) const CHARSET: [&[u8]; 4] =
    [b"character_set_client", b"character_set_connection", b"character_set_results", b"collation_connection"];

/// Where `character_set_results` comes from. Its value is a character set's name, but result sets carry the number of a
/// collation of it: that of the login, that of the server after a reset, or the set's default one if it was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Results {
    /// A login with this collation.
    Login(u8),
    /// `COM_RESET_CONNECTION`.
    Reset,
    /// A `SET`.
    Named,
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

    /// Whether a backend with these settings can be given those: there is no command to leave a schema, none that undoes
    /// a `COM_SET_OPTION` without knowing what the login said, and none that brings a login's collation back.
    pub fn leads_to(&self, wanted: &Self) -> bool {
        let login = matches!(wanted.results, Results::Login(_));
        (wanted.schema.is_some() || self.schema.is_none())
            && (wanted.option.is_some() || self.option.is_none())
            && (!login || self.results == wanted.results && !self.must_reset(wanted))
    }

    /// Whether only `COM_RESET_CONNECTION` leads to those settings.
    fn must_reset(&self, wanted: &Self) -> bool {
        let lost = |name: &[u8]| !wanted.variables.contains_key(name) && !UNDONE_BY_DEFAULT.contains(&name);
        self.variables.keys().any(|name| lost(name))
            || wanted.results == Results::Reset && self.results != Results::Reset
    }

    /// The steps from these settings of a backend to those a session wants.
    pub fn steps_to(&self, wanted: &Self) -> Steps {
        let reset = self.must_reset(wanted);
        let mut steps = Steps { reset, ..Steps::default() };
        steps.schema = wanted.schema.clone().filter(|_| wanted.schema != self.schema);
        steps.option = wanted.option.filter(|_| reset || wanted.option != self.option);
        if !reset {
            let undone = self.variables.keys().filter(|name| !wanted.variables.contains_key(*name));
            undone.for_each(|name| steps.assign(name, b"DEFAULT"));
        }
        let [client, connection, results, collation] = CHARSET;
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

    /// Takes the answer to [`charset_question`]; NULL, as `character_set_results` can be, is reported as no text.
    pub fn set_charset(&mut self, values: [Vec<u8>; 4]) {
        for (name, value) in CHARSET.into_iter().zip(values) {
            self.variables.insert(name.into(), value.into());
        }
    }
}

impl Steps {
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

/// Asks what a login's collation has set, and whether the server does something unseen at each login.
pub(crate) fn charset_question() -> &'static str {
    "SELECT @@character_set_client, @@character_set_connection, @@character_set_results, @@collation_connection, \
     @@init_connect"
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
        let mine = settings(Some("b"), &[("sql_select_limit", "5"), ("time_zone", "+02:00")]);
        let steps = other.steps_to(&mine);
        assert_eq!((steps.reset, steps.schema.as_deref()), (false, Some(b"b".as_slice())));
        assert_eq!(
            assignments(&other, &mine),
            "SESSION sql_mode=DEFAULT, SESSION sql_select_limit=5, SESSION time_zone='+02:00'"
        );
    }

    #[test]
    fn what_default_may_not_undo_is_reset() {
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
    fn values_cannot_end_their_quotes() {
        assert_eq!(literal(b"x", b"a'b"), b"'a''b'");
        assert_eq!(literal(b"x", b""), b"''");
        assert_eq!(literal(b"x", b"-1.5"), b"-1.5");
        assert_eq!(literal(b"x", b"1.2.3"), b"'1.2.3'");
    }
}
