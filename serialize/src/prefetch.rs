//! A hint to the processor.
#![expect(
    unsafe_code,
    reason = "measured: see the users, whose next piece lies anywhere in memory"
)]

/// Asks for the two cache lines from `address` on, which is going to be read soon. Any address will
/// do: nothing is read that could not be.
#[inline]
pub fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint, which may be given for any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(address.cast(), _MM_HINT_T0);
        _mm_prefetch(address.wrapping_byte_add(64).cast(), _MM_HINT_T0);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
