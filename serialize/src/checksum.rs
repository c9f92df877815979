//! The checksum that every block and frame carries: XXH3, 64 bits, seeded with an identity.

/// The checksum of `bytes` that belong to whatever `seed` stands for.
///
/// XXH3 by Yann Collet, chosen for speed on short and long input; it guards against accidents, not
/// against someone who computes it anew.
pub fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}
