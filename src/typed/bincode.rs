//! Values of any type that serde knows.
//!
//! ```text
//! [ version u8 | bincode 1.3: fixed little-endian integers, lengths as u64, nothing behind ]
//! ```

use std::marker::PhantomData;

use bincode::Options as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec_error::CodecError;
use super::value_codec::ValueCodec;

/// As many as any value has, the version not counted.
const BYTES_MAX: u64 = 64 << 20;

/// A [`ValueCodec`] for any type that serde can write and read, by bincode 1.3, behind a version.
///
/// bincode names no fields: bytes mean what the type says. So count `VERSION` up when the type
/// changes; a value of another version is then an error that names both, instead of nonsense.
/// To go on with the old rows, open the tree once with the old type and version, and insert them
/// with the new one.
///
/// ```
/// use sapwood::typed::Bincode;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct Ring {
///     width_um: u32,
///     note: Option<String>,
/// }
///
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let rings = db.tree("rings")?.typed::<u16, Bincode<Ring>>();
/// rings.insert(&2025, &Ring { width_um: 1200, note: None })?;
/// assert_eq!(rings.get(&2025)?, Some(Ring { width_um: 1200, note: None }));
///
/// let later = rings.untyped().typed::<u16, Bincode<Ring, 2>>();
/// let error = later.get(&2025).unwrap_err();
/// assert!(error.is_decode());
/// assert!(error.to_string().contains("it has version 1, and 2 is expected"));
/// # Ok(())
/// # }
/// ```
///
/// Values of more than 64 MiB are refused, both ways. A type must not be recursive without a limit
/// of its own (lists of boxed lists): serde follows it on the stack. Nor should it have collections
/// of what takes no bytes (`Vec<()>`): nothing limits how many a damaged value claims to have.
pub struct Bincode<T, const VERSION: u8 = 1>(PhantomData<fn() -> T>);

impl<T: Serialize + DeserializeOwned, const VERSION: u8> ValueCodec for Bincode<T, VERSION> {
    type Value = T;

    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.push(VERSION);
        format().serialize_into(out, value).map_err(CodecError::new)
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        match bytes.split_first() {
            Some((version, content)) if *version == VERSION => {
                format().deserialize(content).map_err(CodecError::new)
            }
            Some((version, _)) => Err(CodecError::new(format_args!(
                "it has version {version}, and {VERSION} is expected"
            ))),
            None => Err(CodecError::new(format_args!(
                "it is empty, and a version ({VERSION}) is expected"
            ))),
        }
    }
}

fn format() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(BYTES_MAX)
        .reject_trailing_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Ring {
        width: u16,
        note: Option<String>,
        cells: Vec<Vec<u32>>,
        marks: BTreeMap<char, bool>,
    }

    type Rings = Bincode<Ring, 3>;

    fn ring() -> Ring {
        let marks = BTreeMap::from([('x', true)]);
        Ring { width: 2, note: Some("wide".to_owned()), cells: vec![vec![1], vec![]], marks }
    }

    fn bytes_of(ring: &Ring) -> Vec<u8> {
        let mut out = Vec::new();
        Rings::encode(ring, &mut out).unwrap();
        out
    }

    #[test]
    fn bytes_are_as_documented() {
        let mut out = Vec::new();
        Bincode::<(u16, String)>::encode(&(2, "oak".to_owned()), &mut out).unwrap();
        assert_eq!(out, b"\x01\x02\x00\x03\0\0\0\0\0\0\0oak");
    }

    #[test]
    fn values_come_back() {
        assert_eq!(Rings::decode(&bytes_of(&ring())), Ok(ring()));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = bytes_of(&ring());
        bytes[0] = 4;
        let error = Rings::decode(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "it has version 4, and 3 is expected");
        let error = Rings::decode(b"").unwrap_err();
        assert_eq!(error.to_string(), "it is empty, and a version (3) is expected");
    }

    #[test]
    fn cut_and_lengthened_values_are_refused() {
        let bytes = bytes_of(&ring());
        for cut in 0..bytes.len() {
            assert!(Rings::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Rings::decode(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        let bytes = [&[1][..], &u64::MAX.to_le_bytes()].concat();
        assert!(Bincode::<Vec<u64>>::decode(&bytes).is_err());
        assert!(Bincode::<String>::decode(&bytes).is_err());
    }

    #[test]
    fn a_value_above_the_limit_is_refused() {
        let long = "x".repeat(usize::try_from(BYTES_MAX).unwrap() - 7);
        let mut out = Vec::new();
        let error = Bincode::<String>::encode(&long, &mut out).unwrap_err();
        assert_eq!(error.to_string(), "the size limit has been reached");
        assert!(out.len() < 10, "nothing is written before it is refused");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_value_or_an_error(
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = bytes_of(&ring());
            for (at, byte) in flips {
                *at.get_mut(&mut bytes[1..]) = byte;
            }
            if let Ok(ring) = Rings::decode(&bytes) {
                prop_assert_eq!(Rings::decode(&bytes_of(&ring)), Ok(ring));
            }
        }
    }
}
