//! The programs of others, found or fetched by the repository's scripts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Result, failed};

/// What the scripts said, by name.
pub struct Tools(BTreeMap<String, String>);

impl Tools {
    /// Runs one of the repository's scripts that print `NAME=value` lines. Its progress goes to our stderr.
    pub fn from_script(script: &str) -> Result<Self> {
        Self::from_script_for(script, &[])
    }

    /// The same, of a script that is told what is wanted.
    pub fn from_script_for(script: &str, arguments: &[&str]) -> Result<Self> {
        let doing = format!("run {script}");
        let output = Command::new("bash")
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| failed(&doing, e))?;
        if !output.status.success() {
            return Err(failed(&doing, format!("{}; what it said stands above", output.status)));
        }
        Ok(Self(assignments(&String::from_utf8_lossy(&output.stdout))))
    }

    /// A program's path.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let found = self.0.get(name).ok_or_else(|| failed(format!("find {name}"), "no script told of it"))?;
        Ok(PathBuf::from(found))
    }
}

fn assignments(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs a program to its end; its output goes to nobody unless it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| failed(format!("run {program}"), e))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("run {program}"), format!("{}: {}", output.status, last_lines(&said, &errors))))
}

/// The end of what a program said, enough to see why it failed.
pub fn last_lines(said: &str, errors: &str) -> String {
    let lines: Vec<&str> = said.lines().chain(errors.lines()).filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tells_its_programs_line_by_line() {
        let found = assignments("A=/x/a\nnoise\nB=/y/b=c\n");
        assert_eq!(found.get("A").map(String::as_str), Some("/x/a"));
        assert_eq!(found.get("B").map(String::as_str), Some("/y/b=c"));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn only_the_end_of_a_long_complaint_is_told() {
        assert_eq!(last_lines("1\n2\n\n3\n4\n", "5\n6\n7\n"), "2; 3; 4; 5; 6; 7");
        assert_eq!(last_lines("", ""), "");
    }
}
