//! The corpus: a text file for each target, an input a line, bytes that are no printable ASCII escaped as in Rust.
//!
//! Lines that begin with `# ` say why the next input is there: such an input stays, whatever it reaches.

use std::path::PathBuf;

use fuzz::Target;

/// An input, and why it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Lines above it, without their `# `.
    pub why: Vec<String>,
}

/// A target's file.
pub fn file(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{}.txt", target.name))
}

/// Reads a target's corpus; none is an empty one.
///
/// # Panics
/// If the file is not one that this program writes.
pub fn read(target: &Target) -> Vec<Kept> {
    let text = std::fs::read_to_string(file(target)).unwrap_or_default();
    let mut why = Vec::new();
    let mut all = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(reason) => why.push(reason.to_owned()),
            None => {
                let bytes = unescaped(line).unwrap_or_else(|| panic!("{}: {line}", file(target).display()));
                all.push(Kept { bytes, why: std::mem::take(&mut why) });
            }
        }
    }
    all
}

/// Writes a target's corpus.
///
/// # Errors
/// If the disk refuses.
pub fn write(target: &Target, all: &[Kept]) -> std::io::Result<()> {
    let mut text = String::new();
    for kept in all {
        kept.why.iter().for_each(|why| text.push_str(&format!("# {why}\n")));
        text.push_str(&escaped(&kept.bytes));
        text.push('\n');
    }
    std::fs::write(file(target), text)
}

/// Bytes as a line of the file.
pub fn escaped(bytes: &[u8]) -> String {
    let line = bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
    // A line that would read as a reason.
    match line.strip_prefix("# ") {
        Some(rest) => format!("\\x23 {rest}"),
        None => line,
    }
}

/// A line of the file as bytes.
fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(b) = rest.next() {
        bytes.push(match b {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let mut digit = || char::from(rest.next()?).to_digit(16);
                    (digit()? << 4 | digit()?) as u8
                }
                other => other,
            },
            b => b,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{escaped, unescaped};

    #[test]
    fn every_input_is_a_line_and_the_line_is_the_input() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&b""[..], b"# no reason", b"a\\n\n\"'\\\"", &all] {
            let line = escaped(bytes);
            assert!(!line.contains('\n') && !line.starts_with("# "));
            assert_eq!(unescaped(&line).as_deref(), Some(bytes));
        }
    }
}
