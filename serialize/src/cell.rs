//! Reading cells of a page that was checked: nothing here can fail, and nothing is checked twice.
//!
//! The layout is that of [`page`](crate::page), which checks it when a page is decoded.

use crate::message::{Op, Version};

/// Why reading a cell of a page that was decoded or built cannot fail.
const CHECKED: &str = "the cell was checked when its page was decoded, or built by us";

/// The key at the start of a cell, and what follows it.
#[inline]
pub(crate) fn split_key(cell: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = cell.split_first_chunk().expect(CHECKED);
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).expect(CHECKED)
}

/// The versions of one key, newest first.
#[derive(Clone, Debug)]
pub struct Versions<'a> {
    cell: &'a [u8],
    left: usize,
}

impl<'a> Versions<'a> {
    /// The versions that follow the key of a cell.
    #[inline]
    pub(crate) fn behind_key(mut cell: &'a [u8]) -> Versions<'a> {
        let left = read_length(&mut cell);
        Versions { cell, left }
    }
}

impl<'a> Iterator for Versions<'a> {
    type Item = Version<'a>;

    #[inline]
    fn next(&mut self) -> Option<Version<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (kind, rest) = self.cell.split_first().expect(CHECKED);
        self.cell = rest;
        let msn = read_varint(&mut self.cell);
        let length = read_length(&mut self.cell);
        let (payload, rest) = self.cell.split_at_checked(length).expect(CHECKED);
        self.cell = rest;
        Some(Version { msn, op: Op::from_parts(*kind, payload).expect(CHECKED) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Versions<'_> {}

#[inline]
fn read_length(cell: &mut &[u8]) -> usize {
    usize::try_from(read_varint(cell)).expect(CHECKED)
}

#[inline]
fn read_varint(cell: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = cell.split_first().expect(CHECKED);
        *cell = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Encode;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(number: u64, behind: Vec<u8>) {
            let mut bytes = Vec::new();
            bytes.put_varint(number);
            bytes.extend_from_slice(&behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(read_varint(&mut rest), number);
            prop_assert_eq!(rest, behind);
        }
    }
}
