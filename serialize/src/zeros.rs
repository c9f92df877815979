//! Unused bytes are zeros, everywhere, so that a stray write into them is found.

/// Whether `bytes` holds nothing but zeros. Tested 64 bytes at a time, because the unused end of a
/// log file is long.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(64).all(|chunk| chunk.iter().fold(0, |seen, byte| seen | byte) == 0)
}
