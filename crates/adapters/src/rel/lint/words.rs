//! The words of a routine's body, outside comments and texts. Executable comments (`/*! … */`) are code and are read as
//! such. It holds for the SQL modes that `lint` lets through: a double quote begins a text, and a backslash escapes.
//!
//! Not here: the meaning of the words (statements.rs).

/// A word, or one of the marks `;`, `(`, `)`, `,` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// In capitals; behind a backquote where it was quoted, so that a name is never taken for a keyword.
    pub(crate) upper: String,
    /// As it was written, without quotes.
    pub(crate) written: String,
}

impl Word {
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.upper == keyword
    }

    fn mark(mark: char) -> Self {
        Self { upper: mark.to_string(), written: mark.to_string() }
    }
}

/// The words of a body, in order.
pub(crate) fn words(body: &str) -> Vec<Word> {
    let chars: Vec<char> = body.chars().collect();
    let mut words = Vec::new();
    let mut i = 0;
    let skip_to = |from: usize, end: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|i| end(*i)).unwrap_or(chars.len())
    };
    while i < chars.len() {
        let next = chars.get(i + 1).copied().unwrap_or(' ');
        match chars[i] {
            // `5--1` is arithmetic; only white space makes it a comment.
            '-' if next == '-'
                && chars.get(i + 2).is_none_or(|c| c.is_whitespace() || c.is_control()) =>
            {
                i = skip_to(i, &|j| chars[j] == '\n')
            }
            '#' => i = skip_to(i, &|j| chars[j] == '\n'),
            '/' if next == '*'
                && !matches!(chars.get(i + 2..), Some(['!', ..] | ['M', '!', ..])) =>
            {
                i = skip_to(i + 3, &|j| chars[j] == '/' && chars[j - 1] == '*') + 1;
            }
            // Of an executable comment, the opening with its version is no word.
            '/' if next == '*' => {
                i = skip_to(i + 2, &|j| !matches!(chars[j], 'M' | '!' | '0'..='9'))
            }
            quote @ ('\'' | '"') => {
                i += 1;
                while i < chars.len() && chars[i] != quote {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '`' => {
                let end = skip_to(i + 1, &|j| chars[j] == '`');
                let written: String = chars[i + 1..end].iter().collect();
                words.push(Word { upper: format!("`{}", written.to_uppercase()), written });
                i = end + 1;
            }
            c if is_of_a_word(c) || c == '@' => {
                let end = skip_to(i + 1, &|j| !is_of_a_word(chars[j]) && chars[j] != '@');
                let written: String = chars[i..end].iter().collect();
                words.push(Word { upper: written.to_uppercase(), written });
                i = end;
            }
            c => {
                if matches!(c, ';' | '(' | ')' | ',' | '.') {
                    words.push(Word::mark(c));
                }
                i += 1;
            }
        }
    }
    words
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}
