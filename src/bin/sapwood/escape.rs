//! How any bytes are written as one field of a line.
//!
//! ```text
//! \t a tab    \n a newline    \\ a backslash    every other byte stands for itself
//! ```
//!
//! There is exactly one way to write each field, so that two equal databases give equal lines:
//! 1. what [`encode`] writes holds no tab and no newline, and [`decode`] gives the same bytes back;
//! 2. [`decode`] takes no other backslash sequence.

use std::borrow::Cow;
use std::fmt;

/// A backslash that begins nothing that is known.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokenEscape {
    /// Where the backslash stands in the field, in bytes, counted from 1.
    pub column: usize,
    /// What follows it.
    follower: Option<u8>,
}

impl fmt::Display for BrokenEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.follower {
            Some(byte) => write!(f, "\\{} is no escape", byte.escape_ascii())?,
            None => f.write_str("a backslash ends the field")?,
        }
        f.write_str("; there are \\t, \\n and \\\\")
    }
}

/// The bytes that a field stands for; nothing is copied when it has no escape.
pub fn decode(field: &[u8]) -> Result<Cow<'_, [u8]>, BrokenEscape> {
    let Some(first) = field.iter().position(|byte| *byte == b'\\') else {
        return Ok(Cow::Borrowed(field));
    };
    let (plain, mut rest) = field.split_at(first);
    let mut bytes = Vec::with_capacity(field.len());
    bytes.extend_from_slice(plain);
    while let Some((byte, behind)) = rest.split_first() {
        if *byte != b'\\' {
            bytes.push(*byte);
            rest = behind;
            continue;
        }
        let column = field.len() - rest.len() + 1;
        let (meant, behind) = decode_one(behind, column)?;
        bytes.push(meant);
        rest = behind;
    }
    Ok(Cow::Owned(bytes))
}

/// The byte that an escape stands for whose backslash was taken off, and what is behind it.
fn decode_one(rest: &[u8], column: usize) -> Result<(u8, &[u8]), BrokenEscape> {
    match rest.split_first() {
        Some((b't', behind)) => Ok((b'\t', behind)),
        Some((b'n', behind)) => Ok((b'\n', behind)),
        Some((b'\\', behind)) => Ok((b'\\', behind)),
        other => Err(BrokenEscape { column, follower: other.map(|(byte, _)| *byte) }),
    }
}

/// Appends the field that stands for `bytes`.
pub fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            other => out.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=u8::MAX).chain(*b"\\\\t\\n\t\n").collect();
        let mut field = Vec::new();
        encode(&mut field, &bytes);
        assert!(!field.contains(&b'\t') && !field.contains(&b'\n'));
        assert_eq!(decode(&field).unwrap(), bytes);
    }

    #[test]
    fn what_needs_no_escape_is_not_copied() {
        assert!(matches!(decode(b"plain \xff"), Ok(Cow::Borrowed(b"plain \xff"))));
        assert!(matches!(decode(b""), Ok(Cow::Borrowed(b""))));
    }

    #[test]
    fn other_sequences_are_refused_by_column() {
        let sentence = |field: &[u8]| {
            let broken = decode(field).unwrap_err();
            (broken.column, broken.to_string())
        };
        let (column, text) = sentence(b"a\\tb\\r");
        assert_eq!((column, text.as_str()), (5, "\\r is no escape; there are \\t, \\n and \\\\"));
        let (column, text) = sentence(b"end\\");
        assert_eq!(
            (column, text.as_str()),
            (4, "a backslash ends the field; there are \\t, \\n and \\\\")
        );
        assert_eq!(sentence(b"\\x41").0, 1);
        assert_eq!(sentence(b"\\\xff").1, "\\\\xff is no escape; there are \\t, \\n and \\\\");
    }
}
