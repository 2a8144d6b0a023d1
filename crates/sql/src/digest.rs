//! A statement's digest: its text with every value taken out, so that statements that differ in nothing else are one.
//!
//! | as written | as it counts |
//! |---|---|
//! | `'x'`, `"x"`, `5`, `-1.5e3`, `0xAF`, `x'AF'`, `_latin1'x'`, a parameter; `NULL` or `TRUE` where a value stands | `?` |
//! | `(1, 2, 'c')`, of whatever length | `(...)` |
//! | `(1, now()), (2, now())` | one such row |
//! | white space, comments, the marks of `/*!80000 ... */` | nothing, or one blank |
//! | `select`, `SELECT`; `` `t` ``, `t` | the same; the text that is shown is the first one's |
//!
//! Invariant: nothing between quotes that can be a value is shown, whatever `sql_mode` the session has: with `ANSI_QUOTES` a name
//! in double quotes counts as a value. In a character set in which half a character can be a backslash, such as gbk or sjis, a quote can be
//! taken for escaped: of those no text is shown at all. Two texts that count as the same have the same hash because both come from the same
//! tokens, in one pass that allocates nothing; the text to be shown comes from a second pass, made once per digest.

/// Groups nested deeper than this are read as flat.
const DEPTH_MAX: usize = 16;
/// Bytes of a digest's text that are kept.
const SHOWN_MAX: usize = 1024;
/// What is shown instead of a text in which values cannot be told from the rest.
const HIDDEN: &str = "(in a character set whose values cannot be taken out)";
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// What a digest is taken of.
#[derive(Debug, Clone, Copy)]
pub struct Sql<'a> {
    /// The statement, or its beginning.
    pub text: &'a [u8],
    /// Whether a backslash escapes inside quotes.
    pub backslash: bool,
    /// Whether the text is all of the statement.
    pub whole: bool,
    /// Whether a byte that looks like ASCII may be half a letter, so that where a value ends cannot be told.
    pub multibyte: bool,
}

impl Sql<'_> {
    /// The hash that tells digests apart; never 0.
    pub fn digest(self) -> u64 {
        let mut fold = Fold::<false>::new();
        fold.read(self);
        fold.hash.max(1)
    }

    /// The text with its values taken out, cut where it is too long to be kept.
    pub fn shown(self) -> String {
        if self.multibyte {
            return HIDDEN.to_owned();
        }
        let mut fold = Fold::<true>::new();
        fold.read(self);
        let mut shown: String = String::from_utf8_lossy(&fold.shown)
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        if fold.len > fold.shown.len() || !self.whole {
            shown.push_str(" ...");
        }
        shown
    }
}

/// What a byte begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// Nothing was read yet.
    Start,
    /// A name or keyword.
    Word,
    Value,
    Open,
    Close,
    Comma,
    Dot,
    At,
    Operator,
    Semicolon,
}

/// A state to go back to.
#[derive(Debug, Clone, Copy)]
struct Mark {
    hash: u64,
    len: usize,
    before: Token,
}

struct Fold<const SHOWS: bool> {
    hash: u64,
    shown: Vec<u8>,
    /// Bytes there would be in `shown` without its limit.
    len: usize,
    before: Token,
    depth: usize,
    /// Of the group at each depth: where it began, and whether it is nothing but values so far.
    groups: [(Mark, bool); DEPTH_MAX],
    /// The hash around a group at the top, while its own is taken.
    around: u64,
    /// The last group at the top, if nothing but a comma came since: its hash, and the state behind it.
    row: Option<(u64, Mark)>,
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

fn step(hash: u64, b: u8) -> u64 {
    (hash.rotate_left(5) ^ u64::from(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<const SHOWS: bool> Fold<SHOWS> {
    fn new() -> Self {
        let start = Mark { hash: SEED, len: 0, before: Token::Start };
        Self {
            hash: SEED,
            shown: Vec::new(),
            len: 0,
            before: Token::Start,
            depth: 0,
            groups: [(start, false); DEPTH_MAX],
            around: 0,
            row: None,
        }
    }

    fn mark(&self) -> Mark {
        Mark { hash: self.hash, len: self.len, before: self.before }
    }

    fn back_to(&mut self, mark: Mark) {
        (self.hash, self.len, self.before) = (mark.hash, mark.len, mark.before);
        self.shown.truncate(mark.len);
    }

    fn show(&mut self, text: &[u8]) {
        if SHOWS {
            self.len += text.len();
            let room = SHOWN_MAX.saturating_sub(self.shown.len());
            self.shown.extend_from_slice(&text[..text.len().min(room)]);
        }
    }

    /// A token begins.
    fn begin(&mut self, token: Token) {
        let joined = matches!(self.before, Token::Start | Token::Open | Token::Dot | Token::At)
            || matches!(token, Token::Close | Token::Comma | Token::Dot | Token::Semicolon);
        if !joined {
            self.show(b" ");
        }
        // A byte that ends no name, so that `ab` and `a b` differ.
        self.hash = step(self.hash, token as u8);
        if !matches!(token, Token::Value | Token::Comma | Token::Open | Token::Close) {
            self.no_list();
        }
        if self.depth == 0 && !matches!(token, Token::Comma | Token::Open) {
            self.row = None;
        }
        self.before = token;
    }

    fn no_list(&mut self) {
        if let Some((_, values)) = self.depth.checked_sub(1).and_then(|n| self.groups.get_mut(n)) {
            *values = false;
        }
    }

    fn token(&mut self, token: Token, text: &[u8]) {
        self.begin(token);
        for &b in text {
            self.hash = step(self.hash, b);
        }
        self.show(text);
    }

    fn value(&mut self) {
        // 'a' 'b' is one string.
        if self.before != Token::Value {
            self.token(Token::Value, b"?");
        }
    }

    fn open(&mut self) {
        let before = self.mark();
        self.token(Token::Open, b"(");
        if self.depth == 0 {
            self.around = before.hash;
            self.hash = SEED;
            if before.before != Token::Comma {
                self.row = None;
            }
        }
        let begun = self.mark();
        if let Some(group) = self.groups.get_mut(self.depth) {
            *group = (begun, true);
        }
        self.depth += 1;
    }

    fn close(&mut self) {
        let Some(depth) = self.depth.checked_sub(1) else { return self.token(Token::Close, b")") };
        let list = match self.groups.get(depth) {
            Some((begun, true)) if self.before != Token::Open => Some(*begun),
            _ => None,
        };
        if let Some(begun) = list {
            self.back_to(begun);
            for &b in b"..." {
                self.hash = step(self.hash, b);
            }
            self.show(b"...");
        }
        self.depth = depth;
        let row = self.row;
        self.token(Token::Close, b")");
        if depth > 0 {
            if list.is_none() {
                self.no_list();
            }
            return;
        }
        let own = self.hash;
        match row {
            Some((same, behind)) if same == own => self.back_to(behind),
            _ => self.hash = (self.around.rotate_left(17) ^ own).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
        self.row = Some((own, self.mark()));
    }

    fn read(&mut self, sql: Sql<'_>) {
        let text = sql.text;
        let (mut at, mut executable) = (0, false);
        while let Some(&b) = text.get(at) {
            at = match b {
                b if is_word(b) => self.word(sql, at),
                b'\'' | b'"' => {
                    self.value();
                    past_quote(sql, at)
                }
                b'`' => {
                    let end = past_quote(Sql { backslash: false, ..sql }, at);
                    self.quoted_name(&text[at..end]);
                    end
                }
                b'.' if self.before != Token::Word && text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                    self.value();
                    // No number after all: its digits are read next.
                    past_number(text, at).max(at + 1)
                }
                b'?' => {
                    self.value();
                    at + 1
                }
                b'#' => past_line(text, at),
                b'-' if text[at..].starts_with(b"--") && text.get(at + 2).is_none_or(|b| *b <= b' ') => {
                    past_line(text, at)
                }
                b'/' if text[at..].starts_with(b"/*!") => {
                    executable = true;
                    at + 3 + text[at + 3..].iter().take_while(|b| b.is_ascii_digit()).count()
                }
                b'/' if text[at..].starts_with(b"/*") => past(text, at + 2, b"*/"),
                b'*' if executable && text[at..].starts_with(b"*/") => {
                    executable = false;
                    at + 2
                }
                b'(' => {
                    self.open();
                    at + 1
                }
                b')' => {
                    self.close();
                    at + 1
                }
                b',' => {
                    self.token(Token::Comma, b",");
                    at + 1
                }
                b'.' => {
                    self.token(Token::Dot, b".");
                    at + 1
                }
                b';' => {
                    self.token(Token::Semicolon, b";");
                    at + 1
                }
                b'@' => {
                    self.token(Token::At, b"@");
                    at + 1
                }
                b'-' | b'+' if self.expects_value() && number_follows(text, at + 1) => at + 1,
                b if b <= b' ' => at + 1,
                _ => self.operator(text, at),
            };
        }
        if !sql.whole {
            self.cut();
        }
    }

    /// The statement goes on where the text ends: a row begun behind another one is probably like it.
    fn cut(&mut self) {
        if let Some((_, behind)) = self.row {
            self.back_to(behind);
        }
    }

    /// Whether what comes next can only be a value, or an expression.
    fn expects_value(&self) -> bool {
        matches!(self.before, Token::Open | Token::Comma | Token::Operator)
    }

    fn word(&mut self, sql: Sql<'_>, at: usize) -> usize {
        let text = sql.text;
        let after_dot = self.before == Token::Dot;
        if text[at].is_ascii_digit() && !after_dot {
            let end = past_number(text, at);
            if end > at {
                self.value();
                return end;
            }
        }
        let end = at + text[at..].iter().take_while(|b| is_word(**b)).count();
        let word = &text[at..end];
        let quote = text.get(end) == Some(&b'\'');
        if quote && matches!(word, [b'x' | b'X' | b'b' | b'B' | b'n' | b'N']) {
            self.value();
            return past_quote(sql, end);
        }
        // The character set of the string behind it.
        if word[0] == b'_' && !after_dot {
            let gap = text[end..].iter().take_while(|b| **b <= b' ').count();
            if matches!(text.get(end + gap), Some(b'\'' | b'"')) {
                return end;
            }
        }
        if self.expects_value()
            && [&b"NULL"[..], b"TRUE", b"FALSE"].iter().any(|value| word.eq_ignore_ascii_case(value))
        {
            self.value();
            return end;
        }
        self.begin(Token::Word);
        for &b in word {
            self.hash = step(self.hash, b.to_ascii_lowercase());
        }
        self.show(word);
        end
    }

    fn quoted_name(&mut self, quoted: &[u8]) {
        self.begin(Token::Word);
        let name = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        for &b in name {
            self.hash = step(self.hash, b);
        }
        self.show(quoted);
    }

    /// An operator of several bytes is one token.
    fn operator(&mut self, text: &[u8], at: usize) -> usize {
        let more = |b: &&u8| matches!(b, b'<' | b'>' | b'=' | b'!' | b':' | b'|' | b'&');
        let joins = more(&&text[at]) || text[at..].starts_with(b"->");
        let end = at + 1 + if joins { text[at + 1..].iter().take_while(more).count() } else { 0 };
        self.token(Token::Operator, &text[at..end]);
        end
    }
}

/// Whether a number begins at or behind the white space here.
fn number_follows(text: &[u8], at: usize) -> bool {
    let rest = text.get(at..).unwrap_or_default();
    let gap = rest.iter().take_while(|b| **b <= b' ').count();
    match rest.get(gap) {
        Some(b'.') => rest.get(gap + 1).is_some_and(u8::is_ascii_digit),
        Some(b) => b.is_ascii_digit() && past_number(rest, gap) > gap,
        None => false,
    }
}

/// Where the number that begins here ends; here, if it is a name, such as `2fa`.
fn past_number(text: &[u8], at: usize) -> usize {
    let count = |from: usize, is: fn(&u8) -> bool| text[from..].iter().take_while(|b| is(b)).count();
    let whole = |end: usize| if text.get(end).is_none_or(|b| !is_word(*b)) { end } else { at };
    match text.get(at..at + 2) {
        Some(b"0x") => return whole(at + 2 + count(at + 2, u8::is_ascii_hexdigit)),
        Some(b"0b") => return whole(at + 2 + count(at + 2, |b| matches!(b, b'0' | b'1'))),
        _ => {}
    }
    let mut end = at + count(at, u8::is_ascii_digit);
    if text.get(end) == Some(&b'.') {
        end += 1;
        end += count(end, u8::is_ascii_digit);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let digits = text.get(end + 1 + sign..).map_or(0, |_| count(end + 1 + sign, u8::is_ascii_digit));
        if digits > 0 {
            end += 1 + sign + digits;
        }
    }
    whole(end)
}

/// Behind the quote that ends what one begins here. A doubled quote ends one and begins another, which is the same to us.
fn past_quote(sql: Sql<'_>, at: usize) -> usize {
    let quote = sql.text[at];
    let mut at = at + 1;
    while let Some(&b) = sql.text.get(at) {
        at += 1;
        if b == quote {
            if sql.text.get(at) != Some(&quote) {
                return at;
            }
            at += 1;
        } else if b == b'\\' && sql.backslash {
            at += 1;
        }
    }
    sql.text.len()
}

fn past_line(text: &[u8], at: usize) -> usize {
    past(text, at, b"\n")
}

fn past(text: &[u8], at: usize, end: &[u8]) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.windows(end.len()).position(|w| w == end).map_or(text.len(), |n| at + n + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(text: &str) -> Sql<'_> {
        Sql { text: text.as_bytes(), backslash: true, whole: true, multibyte: false }
    }

    fn shows(text: &str, expected: &str) {
        assert_eq!(sql(text).shown(), expected, "{text}");
    }

    fn same(texts: &[&str]) {
        for text in texts {
            let first = (sql(texts[0]).shown().to_lowercase().replace('`', ""), sql(texts[0]).digest());
            let this = (sql(text).shown().to_lowercase().replace('`', ""), sql(text).digest());
            assert_eq!(this, first, "{text}");
        }
    }

    #[test]
    fn values_are_taken_out() {
        shows("SELECT * FROM t WHERE a=1 AND b = 'x''y\\'z'", "SELECT * FROM t WHERE a = ? AND b = ?");
        shows("select a.b,`c d` from t.u", "select a.b, `c d` from t.u");
        shows(
            "SELECT -5, .5, 1.5e-3, 0xAF, x'AF', N'x', _utf8mb4 'x', \"y\", ?, 1e5",
            "SELECT - ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
        );
        shows("UPDATE t SET a = NULL, b = -1 WHERE c IS NULL", "UPDATE t SET a = ?, b = ? WHERE c IS NULL");
        shows(
            "SELECT 2fa FROM t1.2fa WHERE a - 1 > @x AND @@sql_mode >= 5",
            "SELECT 2fa FROM t1.2fa WHERE a - ? > @x AND @@sql_mode >= ?",
        );
        shows("SELECT doc->>'$.a' FROM t", "SELECT doc ->> ? FROM t");
        shows("SELECT 'a' 'b', count(*), now()", "SELECT ?, count (*), now ()");
    }

    #[test]
    fn spelling_does_not_matter() {
        same(&[
            "SELECT a FROM t",
            "select  A\n from\tT",
            "SELECT /* x */ a FROM t -- y",
            "SELECT a # z\nFROM `t`",
            "/*!80000 SELECT a FROM t*/",
        ]);
        same(&["SELECT 1", "SELECT 'x'", "SELECT ?"]);
        assert_ne!(sql("SELECT ab").digest(), sql("SELECT a b").digest());
        assert_ne!(sql("SELECT a.b").digest(), sql("SELECT a, b").digest());
    }

    #[test]
    fn lists_and_rows_of_any_length_are_one() {
        shows(
            "SELECT a FROM t WHERE b IN (1, 2) AND (c IN ('x'))",
            "SELECT a FROM t WHERE b IN (...) AND (c IN (...))",
        );
        same(&["SELECT a IN (1)", "SELECT a IN (1,2,-3,NULL)"]);
        same(&["SELECT (a,b) IN ((1,2))", "SELECT (a, b) IN ((1,2),(3,4))"]);
        same(&["INSERT INTO t VALUES (1,'a')", "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,NULL)"]);
        same(&["INSERT t (a,b) VALUES (1,now())", "INSERT t (a,b) VALUES (1,now()),(2,now()), (3,now())"]);
        shows("INSERT t (a, b) VALUES (1, now()), (2, now())", "INSERT t (a, b) VALUES (?, now ())");
        assert_ne!(sql("SELECT f(a), f(b)").digest(), sql("SELECT f(a)").digest());
        assert_ne!(sql("VALUES (1, a), (1, b)").digest(), sql("VALUES (1, a)").digest());
    }

    #[test]
    fn the_beginning_of_a_long_insert_counts_as_the_whole() {
        let text = b"INSERT INTO t VALUES (1, now(), 'x'), (2, now(), 'y'), (3, now(), 'z')";
        let first = Sql { text: &text[..36], backslash: true, whole: true, multibyte: false }.digest();
        for end in 36..=text.len() {
            let part = Sql { text: &text[..end], backslash: true, whole: false, multibyte: false };
            assert_eq!(part.digest(), first, "{end}");
        }
    }

    #[test]
    fn nothing_is_shown_where_half_a_letter_may_be_a_backslash() {
        // In gbk the first string is one letter, and `secret` is another string; by bytes the quote is escaped.
        let text = b"SELECT '\xbf\\', 'secret'";
        let gbk = Sql { text, backslash: true, whole: true, multibyte: true };
        assert!(!gbk.shown().contains("secret"), "{}", gbk.shown());
        assert_eq!(gbk.digest(), Sql { multibyte: false, ..gbk }.digest());
    }

    #[test]
    fn any_bytes_are_read_to_their_end() {
        let text = b"SELECT ((((((((((((((((((((1)))))))))))))))))))))) /*!5 'a\\'`\"#--/*x\xff\0 0x 0b 1e 1e+ . .5e _x'";
        for begin in 0..text.len() {
            for end in begin..=text.len() {
                let part = Sql {
                    text: &text[begin..end],
                    backslash: begin % 2 == 0,
                    whole: end % 2 == 0,
                    multibyte: false,
                };
                assert!(part.digest() > 0);
                part.shown();
            }
        }
        let long = "a, ".repeat(5_000);
        assert!(sql(&long).shown().len() <= SHOWN_MAX + 4);
    }
}
