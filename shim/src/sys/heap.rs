//! The allocator's habits.

/// Gives back what is free, also in the middle of the heap.
pub(crate) fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives free memory at the top of the heap back at once. A shim lives for months and works for milliseconds: what it
/// holds while idle is what a node with a hundred of them pays.
pub(crate) fn stay_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and may be called at any time; failure leaves the default.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 * 1024);
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
}
