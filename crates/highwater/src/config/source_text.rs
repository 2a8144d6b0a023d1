//! The settings file as text, so that every complaint can say the file and the line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use model::Trouble;

/// What state things are in when settings are refused.
pub const STATE: &str = "nothing was started";

/// A settings file and where it came from.
pub struct SourceText {
    file: PathBuf,
    /// The whole file.
    pub text: String,
}

impl SourceText {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is not there or cannot be read as text.
    pub fn read(file: &Path) -> Result<Self, Trouble> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "write one with `highwater init`, or name it with `--config FILE`".to_owned()
                }
                _ => format!("make {} readable for this user", file.display()),
            };
            Trouble::new(format!("cannot read the settings {}: {error}", file.display()), STATE, hint)
        })?;
        Ok(Self::new(file, text))
    }

    /// Text that was already read.
    pub fn new(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), text: text.into() }
    }

    /// A path in the settings is relative to the file it is written in, wherever the program was started.
    pub fn beside(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The file's name, for messages.
    pub fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// `file:line` of a byte range.
    pub fn place(&self, span: Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        format!("{}:{}", self.name(), before.matches('\n').count() + 1)
    }

    /// A complaint about a place in the file.
    pub fn refuse(
        &self,
        span: Range<usize>,
        what: impl std::fmt::Display,
        hint: impl Into<String>,
    ) -> Trouble {
        Trouble::new(format!("{}: {what}", self.place(span)), STATE, hint)
    }

    /// What the TOML reader did not understand. The text of a value of the wrong type is left out: it might be a
    /// password in the wrong place.
    pub fn unreadable(&self, error: &toml::de::Error) -> Trouble {
        let message = error.message().trim();
        let message = match (message.find('"'), message.rfind('"')) {
            (Some(from), Some(to)) if from < to => {
                format!("{}{}", message[..from].trim_end(), &message[to + 1..])
            }
            _ => message.to_owned(),
        };
        let message = message.lines().collect::<Vec<_>>().join(", ");
        let hint = "correct the line; `highwater init PATH` writes a file that shows every key";
        match error.span() {
            Some(span) => self.refuse(span, message, hint),
            None => Trouble::new(format!("{}: {message}", self.name()), STATE, hint),
        }
    }
}
