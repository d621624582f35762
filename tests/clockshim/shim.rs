//! A library for LD_PRELOAD that gives one server process a wall clock of its own: what the
//! kernel's says, plus an offset, plus a rate, both read from a control file at every call.
//!
//! `tests/support/clock_shim.rs` compiles this file by itself and writes the control file. Unsafe
//! code is all there is to it: symbols that C calls, and one mapping of shared memory.
//!
//! Invariants:
//! 1. No hook allocates, locks, or calls what could come back into a hook: jemalloc asks for the
//!    time while it starts. The time comes from a plain system call.
//! 2. CLOCK_MONOTONIC, CLOCK_BOOTTIME and all other clocks are the kernel's.
//! 3. A record is used whole: the writer fills the half that is not in use, then publishes it.
//! 4. A process that cannot see its control file does not start: it never runs on a clock that
//!    the test did not set.
//!
//! Control file: eight words of 64 bits, native order. Word 0 counts the settings; the current
//! one stands at word 1 when the count is even, at word 4 when it is odd, as
//! (anchor ns since 1970, offset ns, rate ppm).

use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering, fence};

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
pub struct Timeval {
    seconds: i64,
    microseconds: i64,
}

#[repr(C)]
pub struct Timezone {
    minutes_west: c_int,
    dst: c_int,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getenv(name: *const c_char) -> *const c_char;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn mmap(
        at: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn close(file: c_int) -> c_int;
    fn write(file: c_int, bytes: *const c_void, length: usize) -> isize;
    fn _exit(status: c_int) -> !;
}

/// The mapped control file; null until the constructor ran, when only libraries ask for the time.
static CONTROL: AtomicPtr<[AtomicI64; WORDS]> = AtomicPtr::new(null_mut());

#[used]
// SAFETY: the section holds pointers to functions of this type; the loader calls each one once.
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = map_control;

extern "C" fn map_control() {
    // SAFETY: the name ends with a nul; nothing changes the environment before `main`.
    let path = unsafe { getenv(VARIABLE.as_ptr().cast()) };
    if path.is_null() {
        fail(b"clock shim: REDLATCH_CLOCK names no control file\n");
    }
    // SAFETY: `path` is a string of the environment; without O_CREAT there is no third argument.
    let file = unsafe { open(path, O_RDONLY_CLOEXEC) };
    if file < 0 {
        fail(b"clock shim: cannot open the control file\n");
    }
    // SAFETY: a fresh shared mapping, for reading, at an address of the kernel's choice.
    let mapped = unsafe { mmap(null_mut(), 8 * WORDS, PROT_READ, MAP_SHARED, file, 0) };
    // SAFETY: the descriptor is this function's own.
    unsafe { close(file) };
    if mapped.addr() == usize::MAX {
        fail(b"clock shim: cannot map the control file\n");
    }
    CONTROL.store(mapped.cast(), Ordering::Release);
}

/// Invariant 4.
fn fail(message: &[u8]) -> ! {
    // SAFETY: the bytes are valid for their length; `_exit` runs nothing of this process.
    unsafe {
        write(2, message.as_ptr().cast(), message.len());
        _exit(97)
    }
}

/// What the process is told when the kernel says `real`.
fn shimmed(real: i64) -> i64 {
    // SAFETY: null, or a mapping of `WORDS` aligned words that is never unmapped.
    let Some(control) = (unsafe { CONTROL.load(Ordering::Acquire).as_ref() }) else {
        return real;
    };
    // Invariant 3: two settings during one reading of three words do not happen sixteen times.
    let mut told = real;
    for _ in 0..16 {
        let count = control[0].load(Ordering::Acquire);
        let at = if count & 1 == 0 { 1 } else { 4 };
        let [anchor, offset, ppm] =
            [at, at + 1, at + 2].map(|word: usize| control[word].load(Ordering::Relaxed));
        let since = real.wrapping_sub(anchor);
        let whole = (since / MILLION).wrapping_mul(ppm);
        let part = (since % MILLION).wrapping_mul(ppm) / MILLION;
        told = real.wrapping_add(offset).wrapping_add(whole).wrapping_add(part);
        fence(Ordering::Acquire);
        if control[0].load(Ordering::Relaxed) == count {
            break;
        }
    }
    told
}

/// Invariant 1: the kernel's wall clock, in nanoseconds.
fn real(clock: c_int) -> i64 {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: `now` is a timespec to write to; for these two clocks the call does not fail.
    unsafe { syscall(SYS_CLOCK_GETTIME, c_long::from(clock), &raw mut now) };
    now.seconds * BILLION + now.nanoseconds
}

/// # Safety
/// As `clock_gettime(2)`.
// SAFETY: replaces the function of this name in the process that preloads this library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, to: *mut Timespec) -> c_int {
    if to.is_null() || !matches!(clock, CLOCK_REALTIME | CLOCK_REALTIME_COARSE) {
        // SAFETY: arguments of the caller, for the call that it meant (2). -1 or 0 fits.
        return unsafe { syscall(SYS_CLOCK_GETTIME, c_long::from(clock), to) } as c_int;
    }
    let now = shimmed(real(clock));
    let (seconds, nanoseconds) = (now.div_euclid(BILLION), now.rem_euclid(BILLION));
    // SAFETY: the caller passes a timespec to write to.
    unsafe { to.write(Timespec { seconds, nanoseconds }) };
    0
}

/// # Safety
/// As `gettimeofday(2)`.
// SAFETY: as for `clock_gettime`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(to: *mut Timeval, zone: *mut Timezone) -> c_int {
    let now = shimmed(real(CLOCK_REALTIME));
    let (seconds, microseconds) = (now.div_euclid(BILLION), now.rem_euclid(BILLION) / 1_000);
    if !to.is_null() {
        // SAFETY: the caller passes a timeval to write to.
        unsafe { to.write(Timeval { seconds, microseconds }) };
    }
    if !zone.is_null() {
        // SAFETY: the caller passes a timezone to write to.
        unsafe { zone.write(Timezone { minutes_west: 0, dst: 0 }) };
    }
    0
}

/// # Safety
/// As `time(2)`.
// SAFETY: as for `clock_gettime`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(to: *mut i64) -> i64 {
    let seconds = shimmed(real(CLOCK_REALTIME)).div_euclid(BILLION);
    if !to.is_null() {
        // SAFETY: the caller passes a time_t to write to.
        unsafe { to.write(seconds) };
    }
    seconds
}

const VARIABLE: &[u8] = b"REDLATCH_CLOCK\0";
const WORDS: usize = 8;
const MILLION: i64 = 1_000_000;
const BILLION: i64 = 1_000_000_000;

// Numbers of the Linux ABI, the same on both architectures but for the system call's.
const CLOCK_REALTIME: c_int = 0;
const CLOCK_REALTIME_COARSE: c_int = 5;
const O_RDONLY_CLOEXEC: c_int = 0o2_000_000;
const PROT_READ: c_int = 1;
const MAP_SHARED: c_int = 1;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
const SYS_CLOCK_GETTIME: c_long = 113;
