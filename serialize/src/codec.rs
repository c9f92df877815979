//! Numbers and byte strings, to bytes and back.
//!
//! All numbers are little-endian. Reading is total: any bytes give a value or a [`Corruption`], and
//! no length is believed before that many bytes are seen to be there.

use std::ops::DerefMut;

use crate::error::Corruption;

/// No counter of a database gets there; below it, one more can always be counted.
pub const COUNTER_END: u64 = 1 << 60;
/// What is wrong with a counter that does.
pub(crate) const COUNTER_RULE: &str = "a counter is beyond what any database reaches";

/// Bytes to which numbers and byte strings are appended.
pub trait Encode: DerefMut<Target = [u8]> {
    /// Sees to room for `bytes` more.
    fn reserve(&mut self, bytes: usize);

    /// These bytes and nothing else.
    fn put(&mut self, bytes: &[u8]);

    /// The vector that this is, if it is one: nothing has to be asked before each of many bytes.
    fn as_vector(&mut self) -> Option<&mut Vec<u8>>;

    /// One byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Two bytes.
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    /// Four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    /// Eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    /// One to ten bytes, seven bits each, lowest first.
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    /// A length as a varint, then the bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
}

impl Encode for Vec<u8> {
    fn reserve(&mut self, bytes: usize) {
        Vec::reserve(self, bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn as_vector(&mut self) -> Option<&mut Vec<u8>> {
        Some(self)
    }

    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }
}

/// How many bytes [`Encode::put_varint`] takes for `value`.
pub fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads what [`Encode`] wrote.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    what: &'static str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Decoder<'a> {
    /// Reads `bytes`, which should be a `what`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { what, bytes, position: 0 }
    }

    /// The next byte to be read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// A corruption at the current position.
    pub fn broken(&self, rule: &'static str) -> Corruption {
        Corruption::new(self.what, self.position as u64, rule)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Corruption> {
        let end = self.position.checked_add(count).filter(|end| *end <= self.bytes.len());
        let taken = end.and_then(|end| self.bytes.get(self.position..end));
        let taken = taken.ok_or_else(|| self.broken("it ends too early"))?;
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corruption> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Corruption> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Corruption> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Corruption> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Corruption> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint in its shortest form.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Corruption> {
        // Most numbers are small: counts, lengths of keys.
        if let Some(byte) = self.bytes.get(self.position).filter(|byte| **byte < 0x80) {
            self.position += 1;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Corruption> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.broken("a number exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(self.broken("a number is not in its shortest form"))
                } else {
                    Ok(value)
                };
            }
            shift += 7;
            if shift > 63 {
                return Err(self.broken("a number exceeds 64 bits"));
            }
        }
    }

    /// A varint that counts something in a database: no counter reaches [`COUNTER_END`], so that
    /// one more can always be counted.
    pub fn counter(&mut self) -> Result<u64, Corruption> {
        let start = *self;
        let counter = Some(self.varint()?).filter(|counter| *counter < COUNTER_END);
        counter.ok_or_else(|| start.broken(COUNTER_RULE))
    }

    /// A count or length that is at most `most`; `most` should follow from the bytes that are left.
    pub fn count(&mut self, most: usize) -> Result<usize, Corruption> {
        let start = *self;
        let count = usize::try_from(self.varint()?).ok().filter(|count| *count <= most);
        count.ok_or_else(|| start.broken("a count exceeds what can follow"))
    }

    /// A length, then that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corruption> {
        let count = self.count(self.remaining())?;
        self.take(count)
    }

    /// Refuses bytes behind the last field.
    pub fn finish(self) -> Result<(), Corruption> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.broken("bytes follow its end")) }
    }
}
