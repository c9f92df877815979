//! Merge operators: the built-in ones, and the trait for your own.
//!
//! An operator is declared when its tree is opened, and its name and version are stored with the
//! tree. A merge is then one message and reads nothing, however large the tree is.
//!
//! ```
//! use sapwood::{Config, merge};
//!
//! # fn main() -> sapwood::Result<()> {
//! let db = Config::in_memory().open()?;
//! let visits = db.tree_with("visits", |tree| tree.merge_operator(merge::AddI64))?;
//! visits.merge("home", 1i64.to_le_bytes())?;
//! visits.merge("home", 2i64.to_le_bytes())?;
//! assert_eq!(visits.get("home")?.as_deref(), Some(&3i64.to_le_bytes()[..]));
//! # Ok(())
//! # }
//! ```
//!
//! | operator | value and operand | an absent key counts as |
//! |---|---|---|
//! | [`AddI64`] | 8 bytes, little-endian, signed; wraps around | 0 |
//! | [`AddU64`] | 8 bytes, little-endian; wraps around | 0 |
//! | [`MaxU64`] | 8 bytes, little-endian | the operand |
//! | [`MinU64`] | 8 bytes, little-endian | the operand |
//! | [`Append`] | any bytes, joined | no bytes |
//! | [`BitOr`] | any bytes, the shorter one padded with zeros at its end | no bytes |

pub use sapwood_serialize::{MergeError, MergeOperator};

use sapwood_serialize::Operator;
use sapwood_serialize::catalog_image::OperatorName;

/// Adds signed 64-bit numbers; see the [module](self) for the encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddI64;

/// Adds unsigned 64-bit numbers; see the [module](self) for the encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddU64;

/// Keeps the largest unsigned 64-bit number; see the [module](self) for the encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct MaxU64;

/// Keeps the smallest unsigned 64-bit number; see the [module](self) for the encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct MinU64;

/// Joins byte strings end to end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Append;

/// Sets bits; see the [module](self) for what lengths mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitOr;

/// The built-in operator of this name and version: it needs no declaration when a tree that has it
/// is opened again.
pub(crate) fn built_in(name: &OperatorName) -> Option<Operator> {
    let all = [
        Operator::new(AddI64),
        Operator::new(AddU64),
        Operator::new(MaxU64),
        Operator::new(MinU64),
        Operator::new(Append),
        Operator::new(BitOr),
    ];
    all.into_iter().find(|operator| OperatorName::of(operator) == *name)
}

fn eight(what: &str, bytes: &[u8]) -> Result<[u8; 8], MergeError> {
    let wrong = |_| MergeError::new(format!("{what} has {} bytes instead of 8", bytes.len()));
    bytes.try_into().map_err(wrong)
}

/// Applies an operation on two numbers of 8 bytes.
fn numbers(
    base: Option<&[u8]>,
    operand: &[u8],
    operation: fn(u64, u64) -> u64,
) -> Result<Vec<u8>, MergeError> {
    let operand = eight("the operand", operand)?;
    let Some(base) = base else { return Ok(operand.to_vec()) };
    let base = u64::from_le_bytes(eight("the value", base)?);
    Ok(operation(base, u64::from_le_bytes(operand)).to_le_bytes().to_vec())
}

/// An operator on numbers of 8 bytes. Two's complement adds signed ones like unsigned ones.
macro_rules! number_operator {
    ($operator:ty, $name:literal, $operation:expr) => {
        impl MergeOperator for $operator {
            fn name(&self) -> &str {
                $name
            }

            fn apply(
                &self,
                _: &[u8],
                base: Option<&[u8]>,
                operand: &[u8],
            ) -> Result<Vec<u8>, MergeError> {
                numbers(base, operand, $operation)
            }

            fn combine(&self, _: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
                numbers(Some(older), newer, $operation).ok()
            }
        }
    };
}

number_operator!(AddI64, "sapwood.add_i64", u64::wrapping_add);
number_operator!(AddU64, "sapwood.add_u64", u64::wrapping_add);
number_operator!(MaxU64, "sapwood.max_u64", u64::max);
number_operator!(MinU64, "sapwood.min_u64", u64::min);

impl MergeOperator for Append {
    fn name(&self) -> &str {
        "sapwood.append"
    }

    fn apply(&self, _: &[u8], base: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>, MergeError> {
        Ok([base.unwrap_or_default(), operand].concat())
    }

    fn combine(&self, _: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some([older, newer].concat())
    }
}

impl MergeOperator for BitOr {
    fn name(&self) -> &str {
        "sapwood.bit_or"
    }

    fn apply(&self, _: &[u8], base: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>, MergeError> {
        Ok(either_bit(base.unwrap_or_default(), operand))
    }

    fn combine(&self, _: &[u8], older: &[u8], newer: &[u8]) -> Option<Vec<u8>> {
        Some(either_bit(older, newer))
    }
}

fn either_bit(one: &[u8], other: &[u8]) -> Vec<u8> {
    let (long, short) = if one.len() >= other.len() { (one, other) } else { (other, one) };
    let mut bits = long.to_vec();
    bits.iter_mut().zip(short).for_each(|(bit, more)| *bit |= more);
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operators() -> [Operator; 6] {
        [
            Operator::new(AddI64),
            Operator::new(AddU64),
            Operator::new(MaxU64),
            Operator::new(MinU64),
            Operator::new(Append),
            Operator::new(BitOr),
        ]
    }

    #[test]
    fn each_is_found_again_by_its_stored_name() {
        for operator in operators() {
            let stored = OperatorName::of(&operator);
            assert_eq!(built_in(&stored).map(|found| OperatorName::of(&found)), Some(stored));
        }
        assert!(built_in(&OperatorName { name: "sapwood.add_i64".into(), version: 2 }).is_none());
    }

    #[test]
    fn a_number_of_another_length_is_an_error() {
        let error = AddI64.apply(b"", Some(b"123"), &[0; 8]).unwrap_err();
        assert_eq!(error.to_string(), "the value has 3 bytes instead of 8");
        let error = MaxU64.apply(b"", None, &[0; 9]).unwrap_err();
        assert_eq!(error.to_string(), "the operand has 9 bytes instead of 8");
    }

    #[test]
    fn signed_numbers_are_added_and_bits_are_set() {
        let (less, more) = ((-5i64).to_le_bytes(), 3i64.to_le_bytes());
        assert_eq!(AddI64.apply(b"", Some(&less), &more), Ok((-2i64).to_le_bytes().to_vec()));
        assert_eq!(BitOr.apply(b"", Some(&[1, 2]), &[4]), Ok(vec![5, 2]));
        assert_eq!(Append.apply(b"", None, b"ring"), Ok(b"ring".to_vec()));
    }

    proptest! {
        /// Combining first and applying then gives what applying one by one gives.
        #[test]
        fn operands_may_be_combined_in_any_grouping(
            base in prop::option::of(any::<[u8; 8]>()),
            operands in prop::collection::vec(any::<[u8; 8]>(), 1..5),
        ) {
            for operator in operators() {
                let base = base.as_ref().map(|base| &base[..]);
                let one_by_one =
                    operator.apply_all(b"", base, operands.iter().map(|operand| &operand[..]));
                let with_msns = operands.iter().map(|operand| (0, &operand[..]));
                let all = operator.combine_all(b"", with_msns);
                prop_assert_eq!(all.len(), 1);
                let at_once = operator.apply_all(b"", base, [&*all[0].1].into_iter());
                prop_assert_eq!(at_once, one_by_one);
            }
        }
    }
}
