//! Everything that reads bytes others wrote, as functions of those bytes: what [`TARGETS`] must survive.
//!
//! A target asserts where more can be said than "no panic": what is read in pieces is read as in one, what is written
//! again is read the same. `main.rs` says how they are run.

mod answers;
mod files;
mod log;
mod login;
mod statements;

/// A decoder to be fed with anything.
#[derive(Debug)]
pub struct Target {
    /// Its name, and its corpus's.
    pub name: &'static str,
    /// Reads the bytes; survives, whatever they are.
    pub run: fn(&[u8]),
    /// What its format is made of, to be put into inputs.
    pub words: &'static [&'static [u8]],
}

/// All of them.
pub const TARGETS: &[Target] = &[
    // From a client, or who claims to be one; before the login, and after it.
    Target { name: "proxy_header", run: login::proxy_header, words: login::HEADER_WORDS },
    Target { name: "login", run: login::login, words: login::WORDS },
    Target { name: "change_user", run: login::change_user, words: login::WORDS },
    Target { name: "query", run: statements::query, words: statements::ATTRIBUTE_WORDS },
    Target { name: "execute", run: statements::execute, words: statements::ATTRIBUTE_WORDS },
    Target { name: "lexer", run: statements::lexer, words: statements::TEXT_WORDS },
    Target { name: "names", run: statements::names, words: statements::TEXT_WORDS },
    Target { name: "digest", run: statements::digest, words: statements::TEXT_WORDS },
    Target { name: "screen", run: statements::screen, words: statements::SCREEN_WORDS },
    // From a server.
    Target { name: "greeting", run: login::greeting, words: login::WORDS },
    Target { name: "public_key", run: login::public_key, words: login::PEM_WORDS },
    Target { name: "response", run: answers::response, words: answers::WORDS },
    Target { name: "rows_as_text", run: answers::rows_as_text, words: answers::WORDS },
    Target { name: "relay", run: answers::relay, words: answers::WORDS },
    Target { name: "event", run: log::event, words: log::WORDS },
    Target { name: "query_event", run: log::query_event, words: statements::DDL_WORDS },
    Target { name: "gtid_event", run: log::gtid_event, words: log::WORDS },
    Target { name: "table_map", run: log::table_map, words: log::WORDS },
    Target { name: "rows", run: log::rows, words: log::WORDS },
    Target { name: "payload", run: log::payload, words: log::WORDS },
    Target { name: "json", run: log::json, words: log::WORDS },
    Target { name: "json_changes", run: log::json_changes, words: log::PATH_WORDS },
    Target { name: "json_text", run: statements::json_text, words: statements::JSON_WORDS },
    Target { name: "decimal", run: log::decimal, words: &[] },
    Target { name: "gtid_set", run: statements::gtid_set, words: statements::GTID_WORDS },
    Target { name: "logged_statement", run: statements::logged, words: statements::DDL_WORDS },
    Target { name: "create_table", run: statements::create_table, words: statements::CREATE_WORDS },
    Target { name: "grants", run: statements::grants, words: statements::GRANT_WORDS },
    // From the operator, or from us in another life.
    Target { name: "settings", run: files::settings, words: files::SETTINGS_WORDS },
    Target { name: "journal", run: files::journal, words: files::JOURNAL_WORDS },
    Target { name: "proof", run: files::proof, words: files::PROOF_WORDS },
    Target { name: "request", run: files::request, words: files::REQUEST_WORDS },
    Target { name: "pem", run: files::pem, words: login::PEM_WORDS },
];

/// The first byte as a choice, and the rest.
fn choice(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, input), |(first, rest)| (*first, rest))
}

/// Two parts, the first as long as the first byte says, or all there is.
fn two(input: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = choice(input);
    rest.split_at(usize::from(len).min(rest.len()))
}
