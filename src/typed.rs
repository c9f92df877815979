//! Trees whose keys and values have types.
//!
//! ```text
//! TypedTree<K, V>   K: KeyCodec     bytes that are ordered as the keys are
//!       |           V: ValueCodec   any bytes: plain, serde's, or your own
//!     Tree                          byte strings to byte strings
//! ```
//!
//! A typed tree is a way to look at a [`Tree`](crate::Tree): nothing of the types is stored, and
//! both can be used side by side. Keys keep their order, so ranges, prefixes, the first and the
//! last row mean what they say:
//!
//! ```
//! use sapwood::Config;
//!
//! # fn main() -> sapwood::Result<()> {
//! let db = Config::in_memory().open()?;
//! let heights = db.tree("heights")?.typed::<(String, i32), u64>();
//! heights.insert(&("oak".to_owned(), -44), &12)?;
//! heights.insert(&("oak".to_owned(), 2025), &31)?;
//! heights.insert(&("yew".to_owned(), 2025), &9)?;
//!
//! assert_eq!(heights.get(&("oak".to_owned(), -44))?, Some(12));
//! let oaks = heights.prefix(&("oak".to_owned(),)).map(|row| Ok(row?.0.1));
//! assert_eq!(oaks.collect::<sapwood::Result<Vec<_>>>()?, [-44, 2025]);
//! # Ok(())
//! # }
//! ```
//!
//! Everything costs what it costs in the untyped tree. What cannot be decoded is an error
//! ([`Error::is_decode`](crate::Error::is_decode)) that names the tree, the key and the reason.

mod bincode;
mod codec_error;
mod key_bytes;
mod key_codec;
mod key_numbers;
mod key_reader;
#[cfg(test)]
mod key_tests;
mod key_tuples;
mod rows;
mod typed_tree;
mod typed_update;
mod value_codec;

pub use bincode::Bincode;
pub use codec_error::CodecError;
pub use key_codec::{AsKey, KeyCodec, KeyPrefix};
pub use key_reader::KeyReader;
pub use rows::Rows;
pub use typed_tree::TypedTree;
pub use value_codec::ValueCodec;
