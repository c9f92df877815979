//! The rows that `cliffs` and `random_load` write.

/// 16 bytes that look random and differ for every number.
pub fn random_key(number: u64) -> [u8; 16] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(mixed ^ (mixed >> 32)).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// 100 bytes of which half are the same in every row.
pub fn value(number: u64) -> [u8; 100] {
    let mut value = [b'.'; 100];
    for (index, chunk) in value[..50].chunks_mut(8).enumerate() {
        let mixed = (number + index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        chunk.copy_from_slice(&mixed[..chunk.len()]);
    }
    value
}
