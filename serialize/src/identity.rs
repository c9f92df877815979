//! Reads the identity of a database, which every header names.

use crate::codec::Decoder;
use crate::error::Corruption;
use crate::ids::DatabaseId;

/// The next 16 bytes, as the identity that they are.
pub(crate) fn read_database(decoder: &mut Decoder<'_>) -> Result<DatabaseId, Corruption> {
    let (low, high) = (u128::from(decoder.u64()?), u128::from(decoder.u64()?));
    Ok(DatabaseId::from_bytes((low | high << 64).to_le_bytes()))
}
