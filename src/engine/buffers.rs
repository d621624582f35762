//! The buffers that writes are formed in, shared by a fleet's connections.
//!
//! A write leaves for the kernel whole, nearly always, as soon as it is formed: one buffer does for
//! all connections then, and stays in the cache, where one of each node's own would push out what
//! the callers need. A connection whose server does not keep up keeps the buffer until it is empty.

use std::sync::{Mutex, PoisonError};

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// Of a new buffer; it grows to what a write takes.
const BYTES: usize = 32 * 1024;
/// A buffer that a caller's long names have made longer than this is not kept.
const BYTES_MAX: usize = 1024 * 1024;
/// Kept: of more nodes than are ever polled at a time.
const KEPT_MAX: usize = 16;

impl Buffers {
    /// An empty buffer: the one that was given back last.
    pub(crate) fn take(&self) -> Vec<u8> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        last.unwrap_or_else(|| Vec::with_capacity(BYTES))
    }

    /// Its bytes have left.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        if (1..=BYTES_MAX).contains(&buffer.capacity()) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_that_came_back_last_is_the_next_and_it_is_empty() {
        let buffers = Buffers::default();
        let (mut one, two) = (buffers.take(), buffers.take());
        one.extend_from_slice(b"bytes that have left");
        let places = [two.as_ptr(), one.as_ptr()];
        buffers.give(two);
        buffers.give(one);
        let next = buffers.take();
        assert_eq!((next.as_ptr(), next.len()), (places[1], 0));
        let last = buffers.take();
        assert_eq!(last.as_ptr(), places[0]);
    }

    #[test]
    fn neither_many_nor_huge_ones_are_kept() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(BYTES_MAX + 1));
        buffers.give(Vec::new());
        assert_eq!(buffers.0.lock().unwrap().len(), 0);
        for _ in 0..2 * KEPT_MAX {
            buffers.give(Vec::with_capacity(1));
        }
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT_MAX);
    }
}
