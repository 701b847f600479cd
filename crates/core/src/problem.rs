//! [`Problem`]: one mistake in a file that a person wrote, with the place and the fix.

use std::fmt;

use serde::Serialize;

/// One mistake in `beds.toml`, a template, or between a template and the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: String,
    /// 1-based; 0 where the mistake has no line, such as in an environment variable.
    pub line: usize,
    pub message: String,
    pub fix: String,
}

impl Problem {
    pub fn new(file: impl Into<String>, line: usize, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}. Fix: {}", self.file, self.message, self.fix),
            line => write!(f, "{}:{line}: {}. Fix: {}", self.file, self.message, self.fix),
        }
    }
}
