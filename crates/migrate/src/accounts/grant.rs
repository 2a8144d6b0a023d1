//! What is granted on a schema that the target calls otherwise.
//!
//! Of a grant on a whole schema the name is a pattern: `_` and `%` stand for others unless a backslash is before them, or the
//! server has `partial_revokes`, with which a name is a name (the manual, "GRANT Statement"). Of a grant on a table or a routine
//! it is always a name.

use model::quote_ident;
use mysql::Connection;

use super::definition::find;
use crate::error::{Doing, Result, Side};
use crate::plan::Renames;

/// The schemas that have another name on the target, and how that server takes names in grants.
pub(super) struct Schemas<'a> {
    renames: &'a Renames,
    partial_revokes: bool,
}

impl<'a> Schemas<'a> {
    /// Asks the target.
    pub async fn of(target: &mut Connection, renames: &'a Renames) -> Result<Self> {
        // Before 8.0.16 there is no such variable.
        let sql = "SHOW GLOBAL VARIABLES LIKE 'partial_revokes'";
        let row = target.row(sql).await.doing(Side::Target, "read partial_revokes")?;
        Ok(Self { renames, partial_revokes: row.is_some_and(|row| row.text(1) == "ON") })
    }

    /// A line of SHOW GRANTS with the target's names.
    ///
    /// # Errors
    /// The pattern, if it takes in one of the schemas without being its name.
    pub fn in_grant(&self, grant: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let unchanged = || Ok(grant.to_vec());
        let Some((at, end, name)) = schema_of(grant) else { return unchanged() };
        let whole = grant[end..].starts_with(b".*");
        let plain = if whole { without_escapes(&name) } else { name.clone() };
        let renamed = self.renames.iter().find(|(here, _)| *here == plain);
        let Some((_, there)) = renamed else {
            let takes_in = |here: &str| whole && !self.partial_revokes && matches(&name, here);
            return match self.renames.iter().any(|(here, _)| takes_in(here)) {
                true => Err(name),
                false => unchanged(),
            };
        };
        let exact = whole && !self.partial_revokes;
        let there = if exact { there.replace('_', "\\_").replace('%', "\\%") } else { there.to_owned() };
        Ok([&grant[..at], quote_ident(&there).as_bytes(), &grant[end..]].concat())
    }
}

/// The schema that a line is about: where its name begins and ends, with its quotes, and what it is.
fn schema_of(grant: &[u8]) -> Option<(usize, usize, String)> {
    let mut at = find(grant, b" ON ")? + b" ON ".len();
    for kind in [b"PROCEDURE ".as_slice(), b"FUNCTION ", b"TABLE "] {
        if grant[at..].starts_with(kind) {
            at += kind.len();
        }
    }
    let mut name = Vec::new();
    let mut rest = grant.get(at..)?.strip_prefix(b"`")?;
    loop {
        let close = rest.iter().position(|&b| b == b'`')?;
        name.extend_from_slice(&rest[..close]);
        rest = &rest[close + 1..];
        match rest.first() {
            Some(b'`') => name.push(b'`'),
            Some(b'.') => return Some((at, grant.len() - rest.len(), String::from_utf8(name).ok()?)),
            // Of an account: GRANT PROXY.
            _ => return None,
        }
        rest = &rest[1..];
    }
}

fn without_escapes(pattern: &str) -> String {
    pattern.replace("\\_", "_").replace("\\%", "%")
}

/// Whether a pattern takes in a name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('%') => (0..=name.len()).any(|i| name.is_char_boundary(i) && matches(rest.as_str(), &name[i..])),
        Some(wanted) => {
            let wanted = if wanted == '\\' {
                rest.next().unwrap_or('\\')
            } else if wanted == '_' {
                return name.chars().next().is_some_and(|c| matches(rest.as_str(), &name[c.len_utf8()..]));
            } else {
                wanted
            };
            name.strip_prefix(wanted).is_some_and(|name| matches(rest.as_str(), name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(partial_revokes: bool, grant: &str, wanted: Result<&str, &str>) {
        let renames = Renames::new([("my_shop".into(), "our_store".into()), ("mail".into(), "post".into())]);
        let found = Schemas { renames: &renames, partial_revokes }.in_grant(grant.as_bytes());
        let found = found.map(|line| String::from_utf8(line).unwrap());
        assert_eq!(found, wanted.map(str::to_owned).map_err(str::to_owned), "{grant}");
    }

    type Result<T, E> = std::result::Result<T, E>;

    #[test]
    fn grants_go_to_the_schema_of_the_new_name() {
        check(
            false,
            "GRANT SELECT ON `mail`.* TO `a ON b`@`%`",
            Ok("GRANT SELECT ON `post`.* TO `a ON b`@`%`"),
        );
        check(
            false,
            "GRANT SELECT (`x ON y`), INSERT ON `mail`.`box` TO `u`@`%` WITH GRANT OPTION",
            Ok("GRANT SELECT (`x ON y`), INSERT ON `post`.`box` TO `u`@`%` WITH GRANT OPTION"),
        );
        check(
            false,
            "GRANT EXECUTE ON PROCEDURE `my_shop`.`p` TO `u`@`%`",
            Ok("GRANT EXECUTE ON PROCEDURE `our_store`.`p` TO `u`@`%`"),
        );
        check(
            false,
            "GRANT SELECT ON `my\\_shop`.* TO `u`@`%`",
            Ok("GRANT SELECT ON `our\\_store`.* TO `u`@`%`"),
        );
        check(
            false,
            "GRANT SELECT ON `my_shop`.* TO `u`@`%`",
            Ok("GRANT SELECT ON `our\\_store`.* TO `u`@`%`"),
        );
        check(
            true,
            "REVOKE SELECT ON `my_shop`.* FROM `u`@`%`",
            Ok("REVOKE SELECT ON `our_store`.* FROM `u`@`%`"),
        );
        for same in [
            "GRANT USAGE ON *.* TO `mail`@`%`",
            "GRANT `mail`@`%` TO `u`@`%`",
            "GRANT PROXY ON `mail`@`%` TO `u`@`%`",
            "GRANT SELECT ON `other`.`mail` TO `u`@`%`",
            "GRANT SELECT ON `m\\_il`.* TO `u`@`%`",
        ] {
            check(false, same, Ok(same));
        }
    }

    #[test]
    fn a_pattern_that_takes_in_more_is_named() {
        check(false, "GRANT SELECT ON `ma%`.* TO `u`@`%`", Err("ma%"));
        check(false, "GRANT SELECT ON `m_il`.* TO `u`@`%`", Err("m_il"));
        check(true, "GRANT SELECT ON `ma%`.* TO `u`@`%`", Ok("GRANT SELECT ON `ma%`.* TO `u`@`%`"));
    }
}
