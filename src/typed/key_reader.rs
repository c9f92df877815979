//! The bytes of a key while it is decoded, from front to back.
//!
//! ```text
//! inside a key, bytes end by themselves:   61 00 62  ->  61 [00 ff] 62 [00 01]
//!                                                            zero      end
//! ```
//!
//! 1. Whatever the bytes are, reading ends with a value or an error.
//! 2. Nothing is allocated beyond the bytes that are there.
//! 3. Each value has one encoding: what would not be written is refused.

use super::codec_error::CodecError;

const ESCAPE: u8 = 0x00;
/// Behind an escape: a zero byte of the content. Larger than [`END`], so that the shorter of two
/// byte strings, of which one begins with the other, comes first.
const ZERO: u8 = 0xff;
/// Behind an escape: the content is over.
const END: u8 = 0x01;

/// Appends `bytes` in the form that [`KeyReader::escaped`] reads.
pub(super) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == ESCAPE {
            out.push(ZERO);
        }
    }
    out.extend([ESCAPE, END]);
}

/// What is left of a key that is being decoded. A [`KeyCodec`](super::KeyCodec) takes its part off
/// the front.
#[derive(Clone, Debug)]
pub struct KeyReader<'k> {
    rest: &'k [u8],
}

impl<'k> KeyReader<'k> {
    /// A reader at the front of `key`.
    pub fn new(key: &'k [u8]) -> KeyReader<'k> {
        KeyReader { rest: key }
    }

    /// Takes the next `N` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            let left = self.rest.len();
            return Err(CodecError::new(format_args!(
                "{N} bytes are needed where {left} are left"
            )));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> &'k [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Takes a byte string that ends by itself: a zero byte in it is `00 ff`, its end is `00 01`.
    ///
    /// # Errors
    /// When it does not end, or has a zero byte with anything else behind it.
    pub fn escaped(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut content = Vec::new();
        loop {
            let Some(at) = self.rest.iter().position(|byte| *byte == ESCAPE) else {
                return Err(CodecError::new("a byte string inside it does not end"));
            };
            let (plain, escape) = self.rest.split_at(at);
            content.extend_from_slice(plain);
            self.rest = escape;
            match self.take::<2>()? {
                [_, ZERO] => content.push(0),
                [_, END] => return Ok(content),
                [_, other] => {
                    let reason = format_args!("a zero byte inside it is followed by {other:#04x}");
                    return Err(CodecError::new(reason));
                }
            }
        }
    }

    /// The end of the key.
    ///
    /// # Errors
    /// When something is left.
    pub fn finish(self) -> Result<(), CodecError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(CodecError::new(format_args!("{left} bytes are left over at its end"))),
        }
    }
}
