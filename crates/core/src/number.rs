//! Numbers as people write them: whether 64 bits of floating point hold the number of a text. A number that would be another
//! one once it is stored is refused, and that shows in the text only: a parser has rounded it already.
//!
//! Not here: the range of a column's own type (adapters: rel/convert.rs, rec/convert.rs).

/// Significant digits of which a double keeps each, for every number.
const KEPT_DIGITS: usize = 17;

/// The double that a text says, or none where none prints as that number with as many digits: `0.1` and
/// `48.053808600000004` are doubles, `0.12345678901234567890` and `9007199254740993` are none.
pub fn exact_double(text: &str) -> Option<f64> {
    let double: f64 = text.parse().ok()?;
    let said = digits(text)?;
    let printed = digits(&format!("{double:.*e}", said.0.len().saturating_sub(1)));
    (double.is_finite() && said.0.len() <= KEPT_DIGITS && printed.as_ref() == Some(&said))
        .then_some(double)
}

/// How many digits a number needs behind the point and in front of it, in its shortest form: `0.001` needs 3 and 0.
pub fn places(number: f64) -> (usize, usize) {
    let Some((digits, exponent)) = digits(&format!("{:e}", number.abs())) else {
        return (usize::MAX, usize::MAX);
    };
    let behind = usize::try_from(-exponent).unwrap_or(0);
    let before = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(exponent);
    (behind, usize::try_from(before).unwrap_or(0))
}

/// The member of a JSON object under which stands a number that no 64 bits hold, whole or floating. Empty where the number
/// stands in no object. The text must be JSON.
pub fn first_inexact(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let (mut depth, mut at, mut member) = (0_usize, 0, "");
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = end_of_text(bytes, at);
                // A text at the first level is a member's name, or a value that the next name replaces.
                if depth == 1
                    && bytes[end..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
                {
                    member = &json[at..end];
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let length =
                    bytes[at..].iter().take_while(|b| b"+-.eE0123456789".contains(b)).count();
                let number = &json[at..at + length];
                let is_whole = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
                if !is_whole && exact_double(number).is_none() {
                    return Some(serde_json::from_str(member).unwrap_or_default());
                }
                at += length;
            }
            byte => {
                match byte {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at += 1;
            }
        }
    }
    None
}

/// Behind the closing quote of the text that begins at `start`.
fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// A number's digits without zeros at either end, and the power of ten of the last one; zero has no digits.
fn digits(text: &str) -> Option<(String, i64)> {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all: String = [whole, fraction].concat();
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_end_matches('0');
    let dropped = i64::try_from(all.len() - significant.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some((String::new(), 0));
    }
    let exponent: i64 = exponent.parse().ok()?;
    let exponent =
        exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
    Some((significant.to_owned(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_is_exact_where_it_prints_as_what_was_said() {
        for text in [
            "0.1",
            "-0.0",
            "1e3",
            "31.245270191439438",
            "48.053808600000004",
            "100000000000000000000",
            "5e-324",
            "6.02214076e23",
            "0.1000",
            "1E400e",
            "007",
        ] {
            let expected = text != "1E400e";
            assert_eq!(exact_double(text).is_some(), expected, "{text}");
        }
        for text in [
            "1234567890.123456789",
            "1e-400",
            "1e400",
            "12345678901234567890123",
            "9007199254740993",
            "0.12345678901234567",
            "NaN",
            "",
        ] {
            assert_eq!(exact_double(text), None, "{text}");
        }
    }

    #[test]
    fn the_member_with_an_inexact_number_is_named() {
        for (json, member) in [
            (r#"{"a":1,"price":1234567890.123456789}"#, Some("price")),
            (r#"{"a":{"deep":[0.1, 1e-400]}}"#, Some("a")),
            (r#"{"a":"1234567890.123456789","b":[{"c":"\"x"}]}"#, None),
            (r#"{"a":18446744073709551615,"b":-9223372036854775808,"c":6.02214076e23}"#, None),
            (r#"{"t\"x" : 12345678901234567890123}"#, Some("t\"x")),
            ("1.00000000000000000001", Some("")),
        ] {
            assert_eq!(first_inexact(json).as_deref(), member, "{json}");
        }
    }

    #[test]
    fn places_are_those_of_the_shortest_form() {
        assert_eq!(places(0.001), (3, 0));
        assert_eq!(places(-123.5), (1, 3));
        assert_eq!(places(1e20), (0, 21));
        assert_eq!(places(0.0), (0, 0));
    }
}
