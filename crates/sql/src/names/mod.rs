//! Which schemas a statement's text names, so that none is sent to a cluster that does not serve them.
//!
//! No parser: a lexer, and what stands before a name. `x.y` names a schema where a table may stand (behind `FROM`, `JOIN`,
//! `INTO`, a comma between tables, ...), as a function (`x.y(`), and in three parts (`x.y.z`). Behind an operator, `SELECT`,
//! `WHERE` and the like it is a column of a table or alias `x`. Where neither is certain it counts only if a route for
//! that schema exists: a refusal too many is seen, a row read from the wrong cluster is not.
//!
//! Where the lexer cannot be sure to read as the server does (a text in a character set whose letters can end in a quote or
//! a backslash, executable comments, dollar quotes, `PREPARE ... FROM '...'`), it goes *blind*: from there on every
//! word that is the name of a schema with a route counts, in quotes and comments too.
//!
//! Not seen: names in views, triggers, procedures and text that a statement computes.

mod keywords;
mod sight;

use crate::lexer::{Kind, Token};
use crate::reading::Reading;
use keywords::{Before, Place, Short};
use sight::Sight;

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The schema that its first statement makes the default one, with `USE`.
    pub uses: Option<Vec<u8>>,
    /// Schemas, each once.
    pub schemas: Vec<Vec<u8>>,
    /// Schemas without routes may be named that are not among these.
    pub blind: bool,
}

/// The nesting that is followed; deeper, it goes blind.
const DEPTH_MAX: u32 = 63;

impl Named {
    /// Reads a text; `routed` says of which schemas there are routes.
    pub fn of(text: &[u8], reading: Reading, routed: impl Fn(&[u8]) -> bool) -> Self {
        let sight = Sight::new(text, reading);
        let mut scan = Scan {
            sight,
            routed,
            named: Self::default(),
            tables: 0,
            query: 0,
            depth: 0,
            at: Place::default(),
        };
        scan.run();
        scan.named
    }
}

struct Scan<'a, R> {
    sight: Sight<'a>,
    routed: R,
    named: Named,
    /// By depth of parentheses: a comma there stands between tables.
    tables: u64,
    /// By depth: a query began there, so a FROM is a query's and not a function's.
    query: u64,
    depth: u32,
    at: Place,
}

impl<R: Fn(&[u8]) -> bool> Scan<'_, R> {
    fn run(&mut self) {
        while let Some(token) = self.sight.next() {
            match token.kind {
                Kind::Word => self.word(token.text),
                Kind::Name => {
                    let name = token.name();
                    if !self.qualified(&name) {
                        self.single(&name);
                    }
                    self.at.before = Before::Other;
                }
                Kind::Sign => self.sign(token.text[0]),
                _ => self.at.before = Before::Other,
            }
        }
        if self.sight.blind {
            self.named.blind = true;
            let rest = self.sight.rest();
            let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'-');
            for word in rest.split(|b| !is_name(b)).filter(|word| !word.is_empty()) {
                // `-` may be a part of a quoted name, or a sign.
                for part in [word].into_iter().chain(word.split(|b| *b == b'-')) {
                    if (self.routed)(part) {
                        self.name(part);
                    }
                }
            }
        }
    }

    fn bit(&self) -> u64 {
        1 << self.depth
    }

    fn name(&mut self, schema: &[u8]) {
        if !self.named.schemas.iter().any(|known| known == schema) {
            self.named.schemas.push(schema.to_vec());
        }
    }

    fn sign(&mut self, sign: u8) {
        self.at.before = match sign {
            b'.' | b'@' => Before::Part,
            b',' => Before::Among,
            b'(' => {
                let among = self.at.before == Before::Among && self.tables & self.bit() != 0;
                let tables = self.at.before == Before::Table || among;
                if self.depth == DEPTH_MAX {
                    self.sight.blind = true;
                    return;
                }
                self.depth += 1;
                self.set(tables);
                self.query &= !self.bit();
                Before::Among
            }
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                Before::Other
            }
            b';' => return self.end_statement(),
            b'{' | b'}' => Before::Other,
            _ => Before::Expression,
        };
    }

    fn end_statement(&mut self) {
        // What it sets may change how the rest is read.
        self.sight.blind |= self.at.keyword.get() == b"SET";
        let later = self.at.later || self.at.words > 0;
        self.at = Place { later, ..Place::default() };
        (self.tables, self.query, self.depth) = (0, 0, 0);
    }

    /// A comma in this frame stands between tables, or not.
    fn set(&mut self, tables: bool) {
        let bit = self.bit();
        self.tables = if tables { self.tables | bit } else { self.tables & !bit };
    }

    /// Takes a name with a dot behind it; `false` if there is none, or the name is itself behind a dot.
    fn qualified(&mut self, name: &[u8]) -> bool {
        if self.at.before != Before::Part && !self.sight.may_come_to_a_dot() {
            return false;
        }
        let mut ahead = self.sight;
        if self.at.before == Before::Part || !is(ahead.next(), b'.') {
            return self.at.before == Before::Part;
        }
        // A number.
        if name.iter().all(u8::is_ascii_digit) {
            return true;
        }
        let all = is(ahead.next(), b'*');
        let behind = ahead.next();
        let certain = match self.at.before {
            _ if is(behind, b'.') || is(behind, b'(') => Some(true),
            // Where the lexer went blind behind it, anything may follow.
            _ if ahead.blind => None,
            // `DELETE x.* FROM`: a table or alias, perhaps.
            _ if all && self.at.keyword.get() == b"DELETE" => None,
            Before::Table => Some(true),
            Before::Among => Some(self.tables & self.bit() != 0),
            Before::Expression => Some(false),
            Before::Other | Before::Part => None,
        };
        if certain.unwrap_or_else(|| (self.routed)(name)) {
            self.name(name);
        }
        true
    }

    /// A name by itself, where a schema's may stand.
    fn single(&mut self, name: &[u8]) {
        if std::mem::take(&mut self.at.schema_next) {
            match self.at.keyword.get() == b"USE" && !self.at.later {
                true => self.named.uses = Some(name.to_vec()),
                false => self.name(name),
            }
        } else if self.at.about_schema && (self.routed)(name) {
            self.name(name);
        }
    }

    fn word(&mut self, word: &[u8]) {
        let part = self.at.before == Before::Part;
        if self.qualified(word) {
            self.at.before = Before::Other;
            if !part {
                self.at.words += 1;
            }
            return;
        }
        let (short, first) = (Short::of(word), self.at.words == 0);
        self.at.words += 1;
        if first {
            self.at.keyword = short;
            self.at.schema_next = short.get() == b"USE";
            self.at.shows = (short.get() == b"SHOW").then_some(0);
            // A text in quotes follows.
            self.sight.blind |= short.get() == b"PREPARE";
        } else {
            self.single(word);
        }
        self.at.before = self.keyword(short.get(), first);
        self.at.last = short;
    }
}

fn is(token: Option<Token<'_>>, sign: u8) -> bool {
    token.is_some_and(|token| token.is_sign(sign))
}

#[cfg(test)]
mod tests;
