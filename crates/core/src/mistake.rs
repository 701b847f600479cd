//! [`Mistake`]: one mistake in a file that a person wrote, or one thing that a person should know, with the place and the
//! fix.
//!
//! Not here: errors of requests, which are `error`'s.

use std::fmt;

use serde::Serialize;

/// One mistake in `beds.toml`, a template, or between a template and the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub file: String,
    /// 1-based; 0 where the mistake has no line, such as in an environment variable.
    pub line: usize,
    pub message: String,
    pub fix: String,
    pub severity: Severity,
}

/// Whether the thing works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The named thing does not work.
    #[default]
    Mistake,
    /// It works, and a part of it is not as it should be.
    Warning,
}

impl Mistake {
    pub fn new(
        file: impl Into<String>,
        line: usize,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            line,
            message: message.into(),
            fix: fix.into(),
            severity: Severity::Mistake,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_warning() { "warning: " } else { "" };
        match self.line {
            0 => write!(f, "{}: {word}{}. Fix: {}", self.file, self.message, self.fix),
            line => write!(f, "{}:{line}: {word}{}. Fix: {}", self.file, self.message, self.fix),
        }
    }
}
