//! Keys of a fixed size: numbers, characters, truth values, byte arrays, nothing.
//!
//! ```text
//! i8     -128  -1   0   127        f: -NaN  -inf  -1  -0  +0  1  inf  NaN
//! bytes    00  7f  80    ff           sign set: all bits flipped | sign clear: the sign flipped
//! ```

use super::codec_error::CodecError;
use super::key_codec::KeyCodec;
use super::key_reader::KeyReader;

macro_rules! unsigned_key {
    ($($number:ty),+) => {$(
        impl KeyCodec for $number {
            fn encode_part(&self, out: &mut Vec<u8>) {
                out.extend(self.to_be_bytes());
            }

            fn decode_part(key: &mut KeyReader<'_>) -> Result<$number, CodecError> {
                key.take().map(<$number>::from_be_bytes)
            }
        }
    )+};
}

unsigned_key!(u8, u16, u32, u64, u128);

macro_rules! signed_key {
    ($($number:ty),+) => {$(
        impl KeyCodec for $number {
            fn encode_part(&self, out: &mut Vec<u8>) {
                out.extend((self ^ <$number>::MIN).to_be_bytes());
            }

            fn decode_part(key: &mut KeyReader<'_>) -> Result<$number, CodecError> {
                key.take().map(|bytes| <$number>::from_be_bytes(bytes) ^ <$number>::MIN)
            }
        }
    )+};
}

signed_key!(i8, i16, i32, i64, i128);

macro_rules! float_key {
    ($($number:ty, $bits:ty, $sign:expr);+) => {$(
        impl KeyCodec for $number {
            fn encode_part(&self, out: &mut Vec<u8>) {
                let bits = self.to_bits();
                let flipped = if bits & $sign == 0 { bits ^ $sign } else { !bits };
                flipped.encode_part(out);
            }

            fn decode_part(key: &mut KeyReader<'_>) -> Result<$number, CodecError> {
                let flipped = <$bits>::decode_part(key)?;
                let bits = if flipped & $sign == 0 { !flipped } else { flipped ^ $sign };
                Ok(<$number>::from_bits(bits))
            }
        }
    )+};
}

float_key!(f32, u32, 1 << 31; f64, u64, 1 << 63);

impl KeyCodec for bool {
    fn encode_part(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<bool, CodecError> {
        match key.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(CodecError::new(format_args!("{other:#04x} is neither 0 nor 1"))),
        }
    }
}

impl KeyCodec for char {
    fn encode_part(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode_part(out);
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<char, CodecError> {
        let number = u32::decode_part(key)?;
        char::from_u32(number)
            .ok_or_else(|| CodecError::new(format_args!("{number:#x} is no character")))
    }
}

impl KeyCodec for () {
    fn encode_part(&self, _: &mut Vec<u8>) {}

    fn decode_part(_: &mut KeyReader<'_>) -> Result<(), CodecError> {
        Ok(())
    }
}

impl<const N: usize> KeyCodec for [u8; N] {
    fn encode_part(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode_part(key: &mut KeyReader<'_>) -> Result<[u8; N], CodecError> {
        key.take()
    }
}
