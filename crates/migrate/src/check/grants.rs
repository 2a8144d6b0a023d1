//! What our account may do, from the text of SHOW GRANTS.
//!
//! Invariant: what is not understood counts as not granted, so that a doubt becomes a visible refusal here and not a
//! failure in the middle of a cutover.

use std::collections::BTreeSet;

/// Where a privilege is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// On `*.*`.
    Server,
    /// On every table of a schema.
    Schema(&'a str),
    /// On one table.
    Table(&'a str, &'a str),
}

/// All that SHOW GRANTS lists. The server includes what comes from active roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Grants {
    given: Vec<Grant>,
    /// Partial revokes: taken back for one schema from a grant on `*.*`.
    revoked: Vec<Grant>,
    /// Roles granted, active or not, as `name`@`host`.
    pub roles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    privileges: BTreeSet<String>,
    on: Level,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Server,
    /// A pattern, in which `%` and `_` stand for any text and any character.
    Schema(String),
    Table(String, String),
}

impl Grants {
    /// Reads the lines of SHOW GRANTS.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            if let Some(rest) = line.strip_prefix("GRANT ") {
                match split_outside_quotes(rest, " ON ") {
                    Some((privileges, object)) => {
                        grants.given.extend(Grant::parse(privileges, object, " TO "))
                    }
                    None => grants
                        .roles
                        .extend(split_outside_quotes(rest, " TO ").map_or_else(Vec::new, |(r, _)| list(r))),
                }
            } else if let Some(rest) = line.strip_prefix("REVOKE ") {
                let split = split_outside_quotes(rest, " ON ");
                grants.revoked.extend(split.and_then(|(p, object)| Grant::parse(p, object, " FROM ")));
            }
        }
        grants
    }

    /// Whether the account has this privilege there.
    pub(super) fn has(&self, privilege: &str, scope: Scope<'_>) -> bool {
        let taken_back = self.revoked.iter().any(|g| g.gives(privilege) && g.on.covers(scope));
        let mut giving = self.given.iter().filter(|g| g.gives(privilege) && g.on.covers(scope));
        giving.any(|g| !taken_back || g.on != Level::Server)
    }

    /// Whether the account has one of these privileges on the whole server.
    pub(super) fn has_any(&self, privileges: &[&str]) -> bool {
        privileges.iter().any(|p| self.has(p, Scope::Server))
    }
}

impl Grant {
    fn parse(privileges: &str, rest: &str, before_account: &str) -> Option<Self> {
        let (object, _) = split_outside_quotes(rest, before_account)?;
        // PROCEDURE `a`.`b`, and PROXY on an account, give no right on tables.
        let (schema, table) = split_outside_quotes(object, ".")?;
        let on = match (schema, table) {
            ("*", "*") => Level::Server,
            (schema, "*") => Level::Schema(unquote(schema)?),
            (schema, table) => Level::Table(unquote(schema)?, unquote(table)?),
        };
        // `SELECT (a, b)` is for those columns alone, which is never enough.
        let privileges = list(privileges).into_iter().filter(|p| !p.contains('(')).collect();
        Some(Self { privileges, on })
    }

    fn gives(&self, privilege: &str) -> bool {
        ["ALL PRIVILEGES", "ALL", privilege].iter().any(|p| self.privileges.contains(*p))
    }
}

impl Level {
    fn covers(&self, scope: Scope<'_>) -> bool {
        match (self, scope) {
            (Self::Server, _) => true,
            (Self::Schema(pattern), Scope::Schema(s) | Scope::Table(s, _)) => like(pattern, s),
            (Self::Table(schema, table), Scope::Table(s, t)) => schema == s && table == t,
            _ => false,
        }
    }
}

/// Splits at the first `separator` that is outside quotes and parentheses.
fn split_outside_quotes<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let mut quote = None;
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '`' | '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if quote.is_none() && depth == 0 && text[at..].starts_with(separator) {
            return Some((&text[..at], &text[at + separator.len()..]));
        }
    }
    None
}

/// The parts of a comma-separated list.
fn list(mut text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = split_outside_quotes(text, ",") {
        parts.push(part.trim().to_owned());
        text = rest;
    }
    parts.push(text.trim().to_owned());
    parts
}

fn unquote(name: &str) -> Option<String> {
    let quote = name.chars().next().filter(|c| matches!(c, '`' | '"'))?;
    let inner = name.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
}

/// SQL's LIKE, without regard to a collation.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let mut p = pattern.chars();
    match p.next() {
        None => text.is_empty(),
        Some('%') => {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| like(p.as_str(), &text[at..]))
        }
        Some(c) => {
            let (any, wanted) = match c {
                '\\' => (false, p.next().unwrap_or('\\')),
                c => (c == '_', c),
            };
            let mut t = text.chars();
            t.next().is_some_and(|found| (any || found == wanted) && like(p.as_str(), t.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(lines.iter().copied())
    }

    #[test]
    fn a_privilege_counts_at_its_level_and_below() {
        let g = grants(&[
            "GRANT SELECT, REPLICATION SLAVE ON *.* TO `hw`@`%`",
            "GRANT INSERT, UPDATE ON `shop`.* TO `hw`@`%` WITH GRANT OPTION",
            "GRANT DELETE ON `shop`.`orders` TO `hw`@`%`",
        ]);
        assert!(g.has("SELECT", Scope::Table("any", "where")) && g.has_any(&["SUPER", "REPLICATION SLAVE"]));
        assert!(g.has("INSERT", Scope::Schema("shop")) && g.has("INSERT", Scope::Table("shop", "t")));
        assert!(!g.has("INSERT", Scope::Schema("crm")) && !g.has("INSERT", Scope::Server));
        assert!(g.has("DELETE", Scope::Table("shop", "orders")) && !g.has("DELETE", Scope::Schema("shop")));
    }

    #[test]
    fn a_grant_on_some_columns_is_not_enough() {
        let g = grants(&["GRANT SELECT (`a`, `b ON c`), INSERT ON `shop`.`t` TO `hw`@`%`"]);
        assert!(!g.has("SELECT", Scope::Table("shop", "t")) && g.has("INSERT", Scope::Table("shop", "t")));
    }

    #[test]
    fn schema_patterns_match_as_the_server_matches_them() {
        let g = grants(&["GRANT SELECT ON `shop\\_%`.* TO `hw`@`%`"]);
        assert!(g.has("SELECT", Scope::Schema("shop_eu")) && !g.has("SELECT", Scope::Schema("shopx")));
        assert!(like("a_c%", "abcd") && like("%", "") && !like("a_c", "ac") && like("é%", "éa"));
    }

    #[test]
    fn a_partial_revoke_takes_a_schema_out_of_a_global_grant() {
        let g = grants(&["GRANT SELECT ON *.* TO `hw`@`%`", "REVOKE SELECT ON `mysql`.* FROM `hw`@`%`"]);
        assert!(!g.has("SELECT", Scope::Schema("mysql")) && g.has("SELECT", Scope::Schema("shop")));
        assert!(g.has("SELECT", Scope::Server));
    }

    #[test]
    fn roles_procedures_and_proxies_are_no_rights_on_tables() {
        let g = grants(&[
            "GRANT `dba`@`%`,`ops`@`%` TO `hw`@`%`",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `hw`@`%`",
            "GRANT PROXY ON ``@`` TO `root`@`localhost` WITH GRANT OPTION",
            "something new",
        ]);
        assert_eq!(g.roles, ["`dba`@`%`", "`ops`@`%`"]);
        assert!(!g.has("EXECUTE", Scope::Schema("shop")) && g.given.is_empty());
    }

    #[test]
    fn all_privileges_are_all_of_them() {
        assert!(
            grants(&["GRANT ALL PRIVILEGES ON `shop`.* TO `hw`@`%`"]).has("CREATE", Scope::Schema("shop"))
        );
    }
}
