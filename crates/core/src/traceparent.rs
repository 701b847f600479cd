//! The W3C trace context of a caller: its header and its form.
//!
//! Source: <https://www.w3.org/TR/trace-context/>.
//!
//! Not here: the spans of BEDS (crate trail).

/// The header in which a caller's trace travels, over HTTP and AMQP.
pub const TRACEPARENT: &str = "traceparent";

/// True where a text is one as W3C says: `00-` 32 digits `-` 16 digits `-` 2 digits.
pub fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    // W3C forbids the version ff.
    parts.len() == 4
        && parts.iter().zip([2, 32, 16, 2]).all(|(part, length)| is_hex(part, length))
        && parts[0] != "ff"
}
