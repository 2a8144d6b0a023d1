//! What makes an account what it is, as a server shows it.

use mysql::Connection;

use super::Name;
use super::grant::Schemas;
use crate::error::{Doing, MoveError, Result, Side};

/// There is no such account: error 1396 of SHOW CREATE USER, 1141 of SHOW GRANTS.
const NONE_SUCH: [u16; 2] = [1396, 1141];

/// An account: the statement that creates it, and its grants. Not shown by any server, and so not carried: a second
/// password kept beside the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Definition {
    pub name: Name,
    /// CREATE USER, without its default roles: those have to be granted first.
    create: Vec<u8>,
    /// The list of default roles, as the statement has it; empty if there are none.
    roles: Vec<u8>,
    grants: Vec<Vec<u8>>,
}

const DEFAULT_ROLE: &[u8] = b" DEFAULT ROLE ";
/// What follows the default roles in SHOW CREATE USER, always.
const AFTER_ROLES: &[u8] = b" REQUIRE ";

impl Definition {
    pub fn new(name: Name, shown: Vec<u8>, mut grants: Vec<Vec<u8>>) -> Self {
        // Servers list them in no order that means anything.
        grants.sort();
        let (mut create, mut roles) = (shown, Vec::new());
        if let Some(begin) = find(&create, DEFAULT_ROLE)
            && let Some(len) = find(&create[begin..], AFTER_ROLES)
        {
            let clause: Vec<u8> = create.drain(begin..begin + len).collect();
            roles = clause[DEFAULT_ROLE.len()..].to_vec();
        }
        Self { name, create, roles, grants }
    }

    /// The same account for the target, which calls some schemas otherwise: what is granted on them.
    ///
    /// # Errors
    /// If something is granted on a pattern that takes in one of them, and others.
    pub fn in_names_of_target(self, schemas: &Schemas<'_>) -> Result<Self> {
        let mut grants: Vec<Vec<u8>> = Vec::with_capacity(self.grants.len());
        for grant in &self.grants {
            let there = schemas.in_grant(grant).map_err(|pattern| MoveError::Refused {
                what: format!(
                    "account {} is granted something on `{pattern}`, a pattern that takes in a schema that has another name on \
                     the target",
                    self.name
                ),
                hint: "grant it on each schema by its own name, on the source; or leave it out of the move's `accounts`".into(),
            })?;
            grants.push(there);
        }
        grants.sort();
        Ok(Self { grants, ..self })
    }

    /// The statement that creates it.
    pub fn create(&self) -> &[u8] {
        &self.create
    }

    /// The statement that makes an account of this name that there is like it.
    pub fn alter(&self) -> Vec<u8> {
        let rest = self.create.strip_prefix(b"CREATE").unwrap_or(&self.create);
        [b"ALTER".as_slice(), rest].concat()
    }

    /// The statements that grant it what it has.
    pub fn grants(&self) -> &[Vec<u8>] {
        &self.grants
    }

    /// The statement that says which of its roles are active when it logs in.
    pub fn default_roles(&self) -> Option<Vec<u8>> {
        let begin = || format!("ALTER USER {} DEFAULT ROLE ", self.name.quoted()).into_bytes();
        (!self.roles.is_empty()).then(|| [begin(), self.roles.clone()].concat())
    }

    /// What is not the same, in a word; the texts hold hashes of passwords.
    pub fn difference(&self, other: &Self) -> &'static str {
        match () {
            () if self.create != other.create => "its password, or what else CREATE USER says of it",
            () if self.roles != other.roles => "its default roles",
            () => "what it is granted",
        }
    }

    /// A digest of all of it, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut all = Vec::new();
        for part in [&self.create, &self.roles].into_iter().chain(&self.grants) {
            all.extend_from_slice(&(part.len() as u64).to_le_bytes());
            all.extend_from_slice(part);
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &all);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Where a clause begins outside of quotes.
pub(super) fn find(statement: &[u8], clause: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (i, &byte) in statement.iter().enumerate() {
        match quote {
            // A doubled quote ends and begins again; a backslash is never in a name, and a server shows texts escaped.
            Some(open) if byte == open && statement.get(i.wrapping_sub(1)) != Some(&b'\\') => quote = None,
            Some(_) => {}
            None if statement[i..].starts_with(clause) => return Some(i),
            None if matches!(byte, b'`' | b'\'' | b'"') => quote = Some(byte),
            None => {}
        }
    }
    None
}

/// Reads an account; `None` if there is none of this name.
///
/// # Errors
/// If the server refuses.
pub(super) async fn read(server: &mut Connection, side: Side, name: &Name) -> Result<Option<Definition>> {
    let doing = format!("show account {name}");
    let shown = server.row(format!("SHOW CREATE USER {}", name.quoted())).await;
    let grants = match &shown {
        Ok(_) => server.rows(format!("SHOW GRANTS FOR {}", name.quoted())).await,
        Err(_) => Ok(Vec::new()),
    };
    let gone = |error: &mysql::Error| error.server_code().is_some_and(|code| NONE_SUCH.contains(&code));
    match (shown, grants) {
        (Err(error), _) | (_, Err(error)) if gone(&error) => Ok(None),
        (Err(error), _) | (_, Err(error)) => Err(error).doing(side, doing),
        (Ok(shown), Ok(grants)) => {
            let text = |row: &mysql::Row| row.bytes(0).unwrap_or_default().to_vec();
            Ok(shown
                .map(|shown| Definition::new(name.clone(), text(&shown), grants.iter().map(text).collect())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &str, create: &str, roles: Option<&str>) {
        let name = Name { user: "o'x".into(), host: "10.%".into() };
        let account = Definition::new(name, shown.into(), Vec::new());
        assert_eq!(account.create().escape_ascii().to_string(), create.as_bytes().escape_ascii().to_string());
        let sql = account.default_roles().map(|sql| String::from_utf8(sql).unwrap());
        assert_eq!(sql, roles.map(|r| format!("ALTER USER 'o''x'@'10.%' DEFAULT ROLE {r}")));
    }

    #[test]
    fn default_roles_are_set_once_they_are_granted() {
        let plain = "CREATE USER `a`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 REQUIRE NONE PASSWORD EXPIRE DEFAULT";
        check(plain, plain, None);
        check(
            "CREATE USER `a`@`%` IDENTIFIED WITH 'p' AS 0x24 DEFAULT ROLE `r`@`%`,` REQUIRE `@`%` REQUIRE SSL",
            "CREATE USER `a`@`%` IDENTIFIED WITH 'p' AS 0x24 REQUIRE SSL",
            Some("`r`@`%`,` REQUIRE `@`%`"),
        );
        let odd = "CREATE USER ` DEFAULT ROLE ``x`@`%` REQUIRE NONE COMMENT ' DEFAULT ROLE x'";
        check(odd, odd, None);
    }
}
