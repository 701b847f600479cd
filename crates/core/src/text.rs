//! Texts of callers on their way into messages and to a terminal.
//!
//! Not here: which texts are shown at all, which is for each command to say.

/// True for a name that stands in URLs, event ids and the names of queues: 1 to 64 letters, digits, `-` or `_`.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

/// The text with each control character written as `\u001b`, which JSON reads too. New lines stay.
///
/// A terminal would obey such characters.
pub fn printable(text: &str) -> String {
    escaped(text, |c| c != '\n' && is_unseen(c))
}

/// The same on one line: a text with a new line in it could look like a line of the command's own.
pub fn one_line(text: &str) -> String {
    escaped(text, is_unseen)
}

/// True for control characters, for the separators of lines and paragraphs, for marks that turn the direction of writing,
/// and for the characters without a shape, by which two texts look alike.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Quotes a caller's text, cut short: an error message must not become an echo of a megabyte.
pub fn quote(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

/// Joins names for a message.
pub fn list(names: &[&str]) -> String {
    let mut names: Vec<&str> = names.to_vec();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The message of a parser without the values of the text: some of them are secret, and they can be of any length.
pub fn what_is_wrong(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let names_no_value = [
        "missing field",
        "duplicate",
        "the key",
        "nested deeper",
        "expected a JSON object",
        "a number must be",
    ];
    if !error.is_data() || names_no_value.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    let place = format!("at line {} column {}", error.line(), error.column());
    // serde names the value that it found in front of this word.
    match text.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid") || found.starts_with("unknown") => {
            format!("a value has a wrong type or form: expected {expected}")
        }
        _ => format!("a value has a wrong type or form {place}"),
    }
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    if !text.contains(&is_escaped) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            // JSON has no other way to write one beyond the first 65,536: two units of UTF-16.
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_character_is_shown_and_not_carried_out() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}\u{202e}"), "a\\u001b[2Jb\nc\\u009b\\u202e");
        assert_eq!(one_line("x\nok 1\r"), "x\\u000aok 1\\u000d");
        assert_eq!(one_line("Zoë 漢字"), "Zoë 漢字");
        assert_eq!(
            one_line("a\u{200b}b\u{61c}\u{feff}\u{e0041}"),
            "a\\u200bb\\u061c\\ufeff\\udb40\\udc41"
        );
    }
}
