//! [`Cursor`]: a place in the stream of changes, with a mark of the message there. The mark tells a stream that was made anew from the
//! one of before, in which the place was another's.
//!
//! Not here: the way back to a place (replay.rs).

use std::fmt;
use std::str::FromStr;

use beds_core::digest::digest;

/// Hexadecimal digits of the mark.
const MARK: usize = 16;

/// Written as `<offset>-<mark>`, both hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) offset: u64,
    mark: String,
}

impl Cursor {
    pub(crate) fn of(offset: u64, body: &[u8]) -> Self {
        let mut mark = digest(body);
        mark.truncate(MARK);
        Self { offset, mark }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.offset, self.mark)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (offset, mark) = text.split_once('-').ok_or(())?;
        let is_hex =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if offset.is_empty()
            || offset.len() > 16
            || mark.len() != MARK
            || !is_hex(offset)
            || !is_hex(mark)
        {
            return Err(());
        }
        let offset = u64::from_str_radix(offset, 16).map_err(drop)?;
        Ok(Self { offset, mark: mark.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_other_texts_are_none() {
        let cursor = Cursor::of(255, b"{}");
        let text = cursor.to_string();
        assert!(text.starts_with("ff-") && text.len() == 19, "{text}");
        assert_eq!(text.parse(), Ok(cursor));
        for bad in [
            "",
            "-",
            "ff",
            "ff-",
            "g-0123456789abcdef",
            "ff-0123456789abcdeg",
            "-0123456789abcdef",
            "ff-0123456789ABCDEF",
            "ff-0123456789abcdef0",
            "10000000000000000-0123456789abcdef",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(()), "{bad}");
        }
    }
}
