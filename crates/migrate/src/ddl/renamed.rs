//! Statements that name schemas which are called otherwise on the target, written anew for it.
//!
//! Only the names are replaced; every other byte stays what it was. A name is replaced where its place says that it is a schema's,
//! and nothing is guessed: what may be a schema's name and may be something else is [`Unsure`], and so is a name that on the target
//! is another schema's than here. The settings take care that the names are plain ASCII, the same bytes in every character set
//! whose statements can be read here.

use super::lexer::{Dialect, Placed, Token, Unreadable, all_tokens};
use crate::plan::Renames;

/// Why a statement cannot be written anew with certainty: what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsure(pub String);

impl From<Unreadable> for Unsure {
    fn from(Unreadable(why): Unreadable) -> Self {
        Self(why.to_owned())
    }
}

/// A schema that is named in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    at: usize,
    end: usize,
    name: String,
}

/// The schemas that a statement names which changes tables: where a table is named, as the parser found them, after REFERENCES, and
/// where a column is named in three parts. Whatever else stands before a dot is a table.
pub(super) fn schemas_named(tokens: &[Placed], before_tables: &[usize], lower_case: bool) -> Vec<Named> {
    let refers =
        |i: usize| i > 0 && matches!(word(tokens, i - 1), Some(w) if w.eq_ignore_ascii_case("REFERENCES"));
    let is_first_of_three =
        |i: usize| dot(tokens, i + 1) && name(tokens, i + 2).is_some() && dot(tokens, i + 3);
    let is_schema = |i: usize| {
        let before_dot = dot(tokens, i + 1) && !(i > 0 && dot(tokens, i - 1));
        before_tables.contains(&i) || (before_dot && (refers(i) || is_first_of_three(i)))
    };
    let named = |i: usize| {
        let found = name(tokens, i).filter(|_| is_schema(i))?;
        let name = if lower_case { found.to_lowercase() } else { found.to_owned() };
        Some(Named { at: tokens[i].at, end: tokens[i].end, name })
    };
    (0..tokens.len()).filter_map(named).collect()
}

/// A statement with these names of schemas replaced.
pub(super) fn replaced(sql: &[u8], named: &[Named], renames: &Renames) -> Result<Vec<u8>, Unsure> {
    let mut edits = Vec::new();
    for Named { at, end, name } in named {
        let there = renames.on_target(name);
        if there != name {
            edits.push((*at, *end, there));
        } else if let Some((here, there)) = renames.iter().find(|(_, there)| there == name) {
            return Err(taken(here, there));
        }
    }
    Ok(edited(sql, &edits))
}

/// A CREATE DATABASE, as the source shows it.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn schema(shown: &[u8], renames: &Renames) -> Result<Vec<u8>, Unsure> {
    if renames.is_empty() {
        return Ok(shown.to_vec());
    }
    let tokens = all_tokens(shown, Dialect::UTF8)?;
    let first = (0..tokens.len()).find(|&i| matches!(tokens[i].token, Token::Name(_)));
    let named = first.and_then(|i| {
        Some(Named { at: tokens[i].at, end: tokens[i].end, name: name(&tokens, i)?.to_owned() })
    });
    replaced(shown, named.as_slice(), renames)
}

/// A CREATE TABLE, as the source shows it: what its foreign keys refer to, where that is in another schema.
///
/// # Errors
/// If it cannot be read, or refers to a schema whose name is another's on the target.
pub(crate) fn table(shown: &[u8], renames: &Renames) -> Result<Vec<u8>, Unsure> {
    if renames.is_empty() {
        return Ok(shown.to_vec());
    }
    replaced(shown, &schemas_named(&all_tokens(shown, Dialect::UTF8)?, &[], false), renames)
}

/// A part of the statement that creates a view, routine, trigger or event: the schemas that stand before a dot in it.
///
/// A view is what the server makes of its text, in which a schema is never named by itself; the others are what somebody wrote, in
/// which it may be.
///
/// # Errors
/// If it names a schema that has another name on the target, or may, in any other way.
pub(crate) fn object(
    text: &[u8],
    dialect: Dialect,
    is_view: bool,
    renames: &Renames,
) -> Result<Vec<u8>, Unsure> {
    if renames.iter().all(|(here, there)| !mentions(text, here) && !mentions(text, there)) {
        return Ok(text.to_vec());
    }
    let tokens = all_tokens(text, dialect)?;
    let (mut edits, mut alone) = (Vec::new(), None);
    for (i, placed) in tokens.iter().enumerate() {
        let said = &text[placed.at..placed.end];
        // What somebody says about an object is not what it does.
        let is_comment = i > 0 && word(&tokens, i - 1).is_some_and(|w| w.eq_ignore_ascii_case("COMMENT"));
        for (here, there) in renames.iter() {
            match &placed.token {
                Token::Text if !is_comment && names_in_text(said, here, there) => {
                    return Err(Unsure(format!("a text that names schema {here} or {there}")));
                }
                Token::Word(found) | Token::Name(found) => {
                    // `user`@`host`, and @variable
                    if symbol(&tokens, i + 1) == Some(b'@') || (i > 0 && symbol(&tokens, i - 1) == Some(b'@'))
                    {
                        continue;
                    }
                    let qualifies = dot(&tokens, i + 1) && !(i > 0 && dot(&tokens, i - 1));
                    let is_row = matches!(here.to_ascii_lowercase().as_str(), "new" | "old");
                    match qualifies {
                        true if found == here && !is_row => edits.push((placed.at, placed.end, there)),
                        true if found.eq_ignore_ascii_case(here) => {
                            return Err(Unsure(format!("{found}, which may be schema {here} or not")));
                        }
                        true if found.eq_ignore_ascii_case(there) => return Err(taken(here, there)),
                        false if found.eq_ignore_ascii_case(here) => alone = Some(here),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
    match alone {
        Some(here) if !is_view || !edits.is_empty() => {
            Err(Unsure(format!("{here}, which may be the schema or something else of that name")))
        }
        _ => Ok(edited(text, &edits)),
    }
}

fn taken(here: &str, there: &str) -> Unsure {
    Unsure(format!("the name of schema {there}, which on the target is that of what is {here} here"))
}

/// Each of these stretches with a name in its place, in the quotes that it had.
fn edited(sql: &[u8], edits: &[(usize, usize, &str)]) -> Vec<u8> {
    let (mut out, mut from) = (Vec::with_capacity(sql.len()), 0);
    for (at, end, name) in edits {
        out.extend_from_slice(&sql[from..*at]);
        // The settings allow no quote in a name.
        let quote = if sql.get(*at) == Some(&b'"') { '"' } else { '`' };
        out.extend_from_slice(format!("{quote}{name}{quote}").as_bytes());
        from = *end;
    }
    out.extend_from_slice(&sql[from..]);
    out
}

fn name(tokens: &[Placed], i: usize) -> Option<&str> {
    match &tokens.get(i)?.token {
        Token::Word(name) | Token::Name(name) => Some(name),
        _ => None,
    }
}

fn word(tokens: &[Placed], i: usize) -> Option<&str> {
    match &tokens.get(i)?.token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

fn symbol(tokens: &[Placed], i: usize) -> Option<u8> {
    match tokens.get(i)?.token {
        Token::Symbol(symbol) => Some(symbol),
        _ => None,
    }
}

fn dot(tokens: &[Placed], i: usize) -> bool {
    symbol(tokens, i) == Some(b'.')
}

fn mentions(text: &[u8], name: &str) -> bool {
    found_in(text, name).next().is_some()
}

/// Where a name begins in a text, whatever its letters' case.
fn found_in<'a>(text: &'a [u8], name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let windows = text.windows(name.len()).enumerate();
    windows.filter(move |(_, window)| window.eq_ignore_ascii_case(name.as_bytes())).map(|(at, _)| at)
}

/// Whether a text may become part of a statement that names one of the schemas. The source's name is one wherever it is a word;
/// the target's, which is none of the move's here, where it stands before a dot.
fn names_in_text(text: &[u8], here: &str, there: &str) -> bool {
    let is_part = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'));
    let words = |name: &'_ str| -> Vec<usize> {
        let whole =
            |at: &usize| !is_part(text.get(at.wrapping_sub(1))) && !is_part(text.get(at + name.len()));
        found_in(text, name).filter(whole).map(|at| at + name.len()).collect()
    };
    !words(here).is_empty() || words(there).iter().any(|end| matches!(text.get(*end), Some(b'.' | b'`')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames() -> Renames {
        Renames::new([("shop".into(), "store".into()), ("mail".into(), "post".into())])
    }

    fn body(text: &str, is_view: bool) -> Result<String, String> {
        let done = object(text.as_bytes(), Dialect::UTF8, is_view, &renames());
        done.map(|done| String::from_utf8(done).unwrap()).map_err(|Unsure(why)| why)
    }

    #[test]
    fn a_shown_table_refers_to_schemas_as_the_target_calls_them() {
        let shown = "CREATE TABLE `t` (\n  `shop` int COMMENT 'REFERENCES `shop`.`x`',\n  CONSTRAINT `a` FOREIGN KEY (`shop`) \
                     REFERENCES `mail`.`box` (`id`),\n  CONSTRAINT `b` FOREIGN KEY (`shop`) REFERENCES `t2` (`shop`)\n)";
        let wanted = shown.replace("REFERENCES `mail`", "REFERENCES `post`");
        assert_eq!(table(shown.as_bytes(), &renames()), Ok(wanted.into_bytes()));
        let other = b"CREATE TABLE `t` (CONSTRAINT `a` FOREIGN KEY (`b`) REFERENCES `store`.`x` (`id`))";
        assert!(table(other, &renames()).unwrap_err().0.contains("store"));
        let database =
            b"CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */";
        assert!(schema(database, &renames()).unwrap().windows(7).any(|w| w == b"`store`"));
    }

    #[test]
    fn what_stands_before_a_dot_is_a_schema_unless_something_else_has_its_name() {
        assert_eq!(
            body(
                "CREATE VIEW `v` AS select `shop`.`t`.`a` AS `a`,`mail`.`f`(1) AS `f` from `shop`.`t`",
                true
            )
            .unwrap(),
            "CREATE VIEW `v` AS select `store`.`t`.`a` AS `a`,`post`.`f`(1) AS `f` from `store`.`t`"
        );
        assert_eq!(
            body(
                "CREATE DEFINER=`shop`@`%` TRIGGER x BEFORE INSERT ON shop . t FOR EACH ROW SET @shop = 1",
                false
            )
            .unwrap(),
            "CREATE DEFINER=`shop`@`%` TRIGGER x BEFORE INSERT ON `store` . t FOR EACH ROW SET @shop = 1"
        );
        assert_eq!(
            body("CREATE EVENT e COMMENT 'sweeps shop' DO DELETE FROM t -- shop", false).unwrap(),
            "CREATE EVENT e COMMENT 'sweeps shop' DO DELETE FROM t -- shop"
        );
        // A column of that name in a view that names no schema.
        let column = "CREATE VIEW `v` AS select `t`.`shop` AS `shop` from `t`";
        assert_eq!(body(column, true).unwrap(), column);
        assert!(
            body("CREATE VIEW `v` AS select `shop`.`a` AS `a` from `t` `shop`", true).is_err(),
            "an alias"
        );
        assert!(
            body("CREATE VIEW `v` AS select 1 from `information_schema`.`tables` where `s` = 'shop'", true)
                .is_err()
        );
        assert!(body("CREATE PROCEDURE p() SHOW TABLES FROM shop", false).is_err());
        assert!(
            body("CREATE PROCEDURE p() BEGIN PREPARE s FROM 'SELECT * FROM shop.t'; END", false).is_err()
        );
        assert!(body("CREATE PROCEDURE p() SELECT 'the workshop'", false).is_ok());
        assert!(
            body("CREATE PROCEDURE p() SELECT * FROM Shop.t", false).is_err(),
            "which of them, the server knows"
        );
        assert!(
            body("CREATE PROCEDURE p() SELECT * FROM store.t", false).unwrap_err().contains("on the target")
        );
        assert!(body("CREATE PROCEDURE p() SELECT 'in store'", false).is_ok());
    }

    #[test]
    fn a_row_of_a_trigger_is_no_schema() {
        let renames = Renames::new([("new".into(), "store".into())]);
        let text = b"CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = new.b";
        assert!(object(text, Dialect::UTF8, false, &renames).is_err());
    }

    #[test]
    fn quotes_stay_what_they_were() {
        let ansi = Dialect::named("ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "latin1");
        let done =
            object(br#"CREATE PROCEDURE p() SELECT 'a\' FROM "shop".t"#, ansi, false, &renames()).unwrap();
        assert_eq!(done, br#"CREATE PROCEDURE p() SELECT 'a\' FROM "store".t"#);
    }
}
