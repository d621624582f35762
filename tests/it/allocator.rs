//! A global allocator that counts, on threads that ask for it. The one file with unsafe code: the
//! trait cannot be implemented without.
//!
//! Invariants:
//! 1. Every call goes to the system's allocator with its arguments unchanged.
//! 2. Counting allocates nothing: the cells are constant-initialised and have no destructor.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated less bytes given back.
    static KEPT: Cell<i64> = const { Cell::new(0) };
    static TRACE: Cell<bool> = const { Cell::new(false) };
}

/// Allocations (and growing reallocations) of this thread while `work` runs.
///
/// With `REDLATCH_TRACE_ALLOCATIONS` set, the first one prints where it comes from.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    TRACE.set(std::env::var_os("REDLATCH_TRACE_ALLOCATIONS").is_some());
    COUNT.set(0);
    ARMED.set(true);
    work();
    ARMED.set(false);
    COUNT.get()
}

/// Bytes that this thread allocated and did not give back while `work` ran.
pub(crate) fn bytes_kept(work: impl FnOnce()) -> i64 {
    KEPT.set(0);
    ARMED.set(true);
    work();
    ARMED.set(false);
    KEPT.get()
}

fn keep(bytes: usize, sign: i64) {
    if ARMED.try_with(Cell::get).unwrap_or(false) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let _ = KEPT.try_with(|kept| kept.set(kept.get().wrapping_add(sign * bytes)));
    }
}

fn count() {
    // A thread that ends may free and allocate after its cells are gone: not counted.
    if !ARMED.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    if TRACE.try_with(|trace| trace.replace(false)).unwrap_or(false) {
        ARMED.set(false);
        eprintln!("first allocation:\n{}", std::backtrace::Backtrace::force_capture());
        ARMED.set(true);
    }
}

// SAFETY: the system's allocator keeps the contract, and every call reaches it unchanged (1);
// what is done besides neither allocates while armed nor unwinds (2).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        keep(layout.size(), 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        keep(layout.size(), 1);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        keep(size, 1);
        keep(layout.size(), -1);
        // SAFETY: the caller's promises about `block`, `layout` and `size` are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        keep(layout.size(), -1);
        // SAFETY: the caller's promises about `block` and `layout` are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[test]
fn the_counter_counts() {
    let mut kept = Vec::new();
    let counted = allocations(|| {
        kept.push(Box::new(1));
        kept.reserve_exact(100);
    });
    assert_eq!((counted, kept.len()), (3, 1));
    assert_eq!(allocations(|| drop(kept)), 0);
    drop(Box::new(2));
    assert_eq!(allocations(|| {}), 0);
    let mut kept = None;
    assert_eq!(bytes_kept(|| kept = Some(Box::new(7_u64))), 8);
    assert_eq!(bytes_kept(|| drop(kept)), -8);
}
