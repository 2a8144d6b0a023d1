//! Where a server keeps a table: what its statement says of tablespaces, folders and encryption.
//!
//! None of it is content, and all of it must be there before the table can be created with the statement that its
//! source has.

use std::collections::BTreeSet;

use super::statement::{CreateTable, Kind, Token, Tokens};

/// What a table needs of the server that keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// General tablespaces, by name; the server's own (`innodb_system` and the like) are everywhere.
    pub tablespaces: BTreeSet<String>,
    /// Folders outside the data folder, with a slash at the end as the server prints them.
    pub directories: BTreeSet<String>,
    /// Whether its pages are encrypted, which takes a keyring.
    pub encrypted: bool,
}

impl Placement {
    /// Of a statement as SHOW CREATE TABLE prints it. One that cannot be taken apart asks for nothing here; creating
    /// the table will tell.
    pub fn of(statement: &[u8]) -> Self {
        let mut all = Self::default();
        let Some(create) = CreateTable::parse(statement) else { return all };
        let mut tokens = Tokens::of(create.tail());
        while let Some(token) = tokens.next() {
            // `NAME = value` and `NAME value` are the same to the server.
            let mut value = || tokens.find(|t| t.kind != Kind::Other).as_ref().map(text);
            if token.is_word("TABLESPACE") {
                all.tablespaces.extend(value().filter(|name| !name.starts_with("innodb_")));
            } else if token.is_word("DIRECTORY") {
                all.directories.extend(value());
            } else if token.is_word("ENCRYPTION") {
                all.encrypted |= value().is_some_and(|v| v.eq_ignore_ascii_case("y"));
            }
        }
        all
    }
}

/// A name or text without its quotes. A folder with a quote in its name keeps the doubled one, and is then not found
/// among those a server knows.
fn text(token: &Token<'_>) -> String {
    let bytes = match token.kind {
        Kind::Name => token.name(),
        Kind::Text => token.text.get(1..token.text.len().saturating_sub(1)).unwrap_or_default().to_vec(),
        _ => token.text.to_vec(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tail: &str, tablespaces: &[&str], directories: &[&str], encrypted: bool) {
        let head = "CREATE TABLE `t` (\n  `id` int COMMENT 'TABLESPACE x ENCRYPTION=''Y'''\n) ";
        let set = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect();
        let expected = Placement { tablespaces: set(tablespaces), directories: set(directories), encrypted };
        assert_eq!(Placement::of(format!("{head}{tail}").as_bytes()), expected, "{tail}");
    }

    #[test]
    fn a_statement_says_where_its_table_lies() {
        check("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4", &[], &[], false);
        check("/*!50100 TABLESPACE `ts``1` */ ENGINE=InnoDB", &["ts`1"], &[], false);
        check("/*!50100 TABLESPACE `innodb_system` */ ENGINE=InnoDB", &[], &[], false);
        check("ENGINE=InnoDB DATA DIRECTORY='/big disk/'", &[], &["/big disk/"], false);
        check("ENGINE=InnoDB /*!80016 ENCRYPTION='Y' */", &[], &[], true);
        check("ENGINE=InnoDB /*!80016 ENCRYPTION='N' */ COMMENT='DATA DIRECTORY=''/x/'''", &[], &[], false);
        check(
            "ENGINE=InnoDB\n/*!50100 PARTITION BY RANGE (`id`)\n(PARTITION p0 VALUES LESS THAN (10) \
             DATA DIRECTORY = '/a/' ENGINE = InnoDB,\n PARTITION p1 VALUES LESS THAN (20) TABLESPACE = `b` \
             ENGINE = InnoDB) */",
            &["b"],
            &["/a/"],
            false,
        );
        assert_eq!(Placement::of(b"CREATE VIEW v AS SELECT 1"), Placement::default());
    }
}
