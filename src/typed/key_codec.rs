//! The trait of types that can be keys.
//!
//! ```text
//! (7u16, "oak".to_owned(), true)   ->   00 07 | 6f 61 6b 00 01 | 01
//!                                       part    part             last
//! ```
//!
//! Invariants, tested for every codec of this module:
//! 1. two keys are ordered as their bytes are;
//! 2. no encoding of a part begins with that of another one, so that parts can follow one another;
//! 3. bytes that can be decoded are exactly what encoding gives back.

use super::codec_error::CodecError;
use super::key_reader::KeyReader;

/// A type whose values can be keys: they become bytes that are ordered as they are.
///
/// There are two forms. A *part* says by itself where it ends, so that something may follow; the
/// *last* part of a key need not, and strings make use of that: as a whole key, a string is
/// nothing but its bytes.
///
/// | type | bytes |
/// |---|---|
/// | `u8` to `u128` | big-endian |
/// | `i8` to `i128` | big-endian, the sign bit flipped |
/// | `f32`, `f64` | big-endian, the sign bit flipped, or all bits if it was set |
/// | `bool` | 0 or 1 |
/// | `char` | its number as a `u32` |
/// | `()` | none |
/// | `[u8; N]` | as they are |
/// | `String`, `Vec<u8>`, `Box<[u8]>` last | as they are |
/// | the same as a part | each zero byte as `00 ff`, and `00 01` at the end |
/// | `Option<K>` | 0 for `None`, or 1 and the value |
/// | tuples of two to six | part after part |
///
/// Floats are ordered as by `total_cmp`: -0.0 comes right before 0.0 (and is another key), and NaN
/// at the ends: those with a sign first, those without last.
///
/// `usize` and `isize` are left out because their size depends on the machine.
///
/// A type of your own is best made of these:
///
/// ```
/// use sapwood::typed::{CodecError, KeyCodec, KeyReader};
///
/// #[derive(Debug, PartialEq)]
/// struct Year(i16);
///
/// impl KeyCodec for Year {
///     fn encode_part(&self, out: &mut Vec<u8>) {
///         self.0.encode_part(out);
///     }
///
///     fn decode_part(key: &mut KeyReader<'_>) -> Result<Year, CodecError> {
///         i16::decode_part(key).map(Year)
///     }
/// }
///
/// assert!(Year(-44).to_key() < Year(1492).to_key());
/// assert_eq!(Year::from_key(&Year(-44).to_key()), Ok(Year(-44)));
/// ```
pub trait KeyCodec: Sized {
    /// Appends the key in the form that says by itself where it ends.
    fn encode_part(&self, out: &mut Vec<u8>);

    /// Takes off the front what [`KeyCodec::encode_part`] has written.
    ///
    /// # Errors
    /// When it can have written no such bytes. Never panics, whatever the bytes are.
    fn decode_part(key: &mut KeyReader<'_>) -> Result<Self, CodecError>;

    /// Appends the key in the form that may end where the bytes end.
    fn encode_last(&self, out: &mut Vec<u8>) {
        self.encode_part(out);
    }

    /// Takes off the front what [`KeyCodec::encode_last`] has written, behind which nothing is.
    ///
    /// # Errors
    /// As for [`KeyCodec::decode_part`].
    fn decode_last(key: &mut KeyReader<'_>) -> Result<Self, CodecError> {
        Self::decode_part(key)
    }

    /// The bytes of a whole key.
    fn to_key(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_last(&mut out);
        out
    }

    /// The key of which these are the bytes.
    ///
    /// # Errors
    /// When they are the bytes of no key, or more than that.
    fn from_key(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = KeyReader::new(bytes);
        let key = Self::decode_last(&mut reader)?;
        reader.finish()?;
        Ok(key)
    }
}

/// What a `K` can be looked up by: a `K`, and for strings what is borrowed of them.
pub trait AsKey<K> {
    /// Appends the bytes that the same key has as a `K`.
    fn encode_as_key(&self, out: &mut Vec<u8>);
}

impl<K: KeyCodec> AsKey<K> for K {
    fn encode_as_key(&self, out: &mut Vec<u8>) {
        self.encode_last(out);
    }
}

/// What some keys of type `K` begin with: of a tuple, its first parts as a tuple (`(a,)`, `(a, b)`
/// and so on); of a string, its first bytes.
pub trait KeyPrefix<K> {
    /// Appends the bytes with which the keys begin, and no others do.
    fn encode_prefix(&self, out: &mut Vec<u8>);
}
