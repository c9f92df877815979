//! The trait of what makes values of bytes, and the plain codecs.

use super::codec_error::CodecError;

/// A way to make bytes of values and values of bytes; it is the second type of a
/// [`TypedTree`](crate::TypedTree), and never exists as a value itself.
///
/// | codec | its value | bytes |
/// |---|---|---|
/// | `Vec<u8>`, `Box<[u8]>`, `String` | the same | as they are |
/// | `()` | the same | none |
/// | `u8` to `u128`, `i8` to `i128` | the same | little-endian, as for [merges](crate::merge) |
/// | [`Bincode<T>`](super::Bincode) | `T` | a version, then what serde and bincode make of it |
///
/// A codec of your own is a type with two functions:
///
/// ```
/// use sapwood::typed::{CodecError, ValueCodec};
///
/// /// Millimetres, as decimal digits.
/// struct Decimal;
///
/// impl ValueCodec for Decimal {
///     type Value = u32;
///
///     fn encode(value: &u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         out.extend(value.to_string().bytes());
///         Ok(())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<u32, CodecError> {
///         std::str::from_utf8(bytes).map_err(CodecError::new)?.parse().map_err(CodecError::new)
///     }
/// }
///
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let widths = db.tree("widths")?.typed::<u16, Decimal>();
/// widths.insert(&2025, &12)?;
/// assert_eq!(widths.get(&2025)?, Some(12));
/// # Ok(())
/// # }
/// ```
pub trait ValueCodec {
    /// What it makes of bytes.
    type Value;

    /// Appends the bytes of `value`.
    ///
    /// # Errors
    /// When the codec has no bytes for it.
    fn encode(value: &Self::Value, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// The value of which these are the bytes.
    ///
    /// # Errors
    /// When they are those of no value. It should not panic, whatever the bytes are.
    fn decode(bytes: &[u8]) -> Result<Self::Value, CodecError>;
}

impl ValueCodec for Vec<u8> {
    type Value = Vec<u8>;

    fn encode(value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl ValueCodec for Box<[u8]> {
    type Value = Box<[u8]>;

    fn encode(value: &Box<[u8]>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Box<[u8]>, CodecError> {
        Ok(bytes.into())
    }
}

impl ValueCodec for String {
    type Value = String;

    fn encode(value: &String, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<String, CodecError> {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(CodecError::new)
    }
}

impl ValueCodec for () {
    type Value = ();

    fn encode((): &(), _: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<(), CodecError> {
        fixed::<0>(bytes).map(|_| ())
    }
}

macro_rules! number_value {
    ($($number:ty),+) => {$(
        impl ValueCodec for $number {
            type Value = $number;

            fn encode(value: &$number, out: &mut Vec<u8>) -> Result<(), CodecError> {
                out.extend(value.to_le_bytes());
                Ok(())
            }

            fn decode(bytes: &[u8]) -> Result<$number, CodecError> {
                fixed(bytes).map(<$number>::from_le_bytes)
            }
        }
    )+};
}

number_value!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], CodecError> {
    let wrong = |_| CodecError::new(format_args!("it has {} bytes instead of {N}", bytes.len()));
    bytes.try_into().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bytes_of<C: ValueCodec>(value: &C::Value) -> Vec<u8> {
        let mut out = b"before".to_vec();
        C::encode(value, &mut out).unwrap();
        assert!(out.starts_with(b"before"), "a codec appends");
        out.split_off(6)
    }

    fn round_trips<C: ValueCodec<Value = C> + Debug + PartialEq>(value: C) {
        assert_eq!(C::decode(&bytes_of::<C>(&value)), Ok(value));
    }

    fn has_one_encoding<C: ValueCodec<Value = C>>(bytes: &[u8]) {
        if let Ok(value) = C::decode(bytes) {
            assert_eq!(bytes_of::<C>(&value), bytes);
        }
    }

    #[test]
    fn bytes_are_as_documented() {
        assert_eq!(bytes_of::<u32>(&1), [1, 0, 0, 0]);
        assert_eq!(bytes_of::<i16>(&-2), [0xfe, 0xff]);
        assert_eq!(bytes_of::<String>(&"oak\0".to_owned()), b"oak\0");
        assert_eq!(bytes_of::<Vec<u8>>(&vec![0, 1]), [0, 1]);
        assert_eq!(bytes_of::<()>(&()), b"");
    }

    #[test]
    fn what_cannot_be_decoded_is_told() {
        let told = |error: CodecError| error.to_string();
        assert_eq!(told(u64::decode(b"oak").unwrap_err()), "it has 3 bytes instead of 8");
        assert_eq!(told(<()>::decode(b"oak").unwrap_err()), "it has 3 bytes instead of 0");
        let error = told(String::decode(b"\xff").unwrap_err());
        assert_eq!(error, "invalid utf-8 sequence of 1 bytes from index 0");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn values_come_back(text in any::<String>(), bytes in any::<Vec<u8>>(), number in any::<u128>()) {
            round_trips(text);
            round_trips(bytes.clone().into_boxed_slice());
            round_trips(bytes);
            round_trips(number);
            round_trips(number.cast_signed());
            round_trips((number >> 64) as u64);
            round_trips((number >> 65) as i64);
            round_trips((number >> 32) as u32);
            round_trips(number as i32);
            round_trips(number as u16);
            round_trips(number as i16);
            round_trips(number as u8);
            round_trips(number as i8);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in vec(any::<u8>(), 0..20)) {
            has_one_encoding::<String>(&bytes);
            has_one_encoding::<Vec<u8>>(&bytes);
            has_one_encoding::<()>(&bytes);
            has_one_encoding::<u8>(&bytes);
            has_one_encoding::<i64>(&bytes);
            has_one_encoding::<u128>(&bytes);
        }
    }
}
