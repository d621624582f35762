//! Who holds a lock.

use std::fmt;

/// The value stored under a lock's key: 128 bits as 32 hexadecimal digits.
///
/// 64 random bits of the process and 64 bits that count its attempts: fresh for every attempt,
/// never used again. Whoever knows a token can release the lock, so `Debug` shows 8 digits only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; Self::LEN]);

impl Token {
    /// Length in bytes, as stored on the nodes.
    pub const LEN: usize = 32;

    /// What no node ever holds: process ids are random, and none is zero.
    pub(crate) const NOBODY: Self = Self([b'0'; Self::LEN]);

    pub(crate) fn new(process: u64, attempt: u64) -> Self {
        let mut digits = [b'0'; Self::LEN];
        let words = [process >> 32, process, attempt >> 32, attempt];
        for (eight, word) in digits.chunks_exact_mut(8).zip(words) {
            eight.copy_from_slice(&hex(word & 0xffff_ffff));
        }
        Self(digits)
    }

    /// The value as it is stored on the nodes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Takes a token from its 32 hexadecimal digits, as [`Token::as_bytes`] gives them; `None`
    /// when `digits` is anything else.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let digits: [u8; Self::LEN] = digits.as_bytes().try_into().ok()?;
        digits.iter().all(|digit| HEX.contains(digit)).then_some(Self(digits))
    }

    /// The 32 hexadecimal digits: what [`Token::from_hex`] takes. This is the whole secret.
    pub fn to_hex(&self) -> String {
        self.0.escape_ascii().to_string()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The eight digits of a word of 32 bits, all at once: each nibble into a byte of its own, and in
/// each what makes it a digit.
const fn hex(word: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let pairs = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes | bytes << 4) & (0x0f * ONES);
    let are_letters = (nibbles + 6 * ONES) >> 4 & ONES;
    let from_nine_to_a = (b'a' - b'0' - 10) as u64;
    (nibbles + b'0' as u64 * ONES + from_nine_to_a * are_letters).to_be_bytes()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}..)", self.0.get(..8).unwrap_or_default().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_32_digits_and_survives_a_round_trip() {
        let token = Token::new(0x0123_4567_89ab_cdef, 0xff);
        assert_eq!(token.to_hex(), "0123456789abcdef00000000000000ff");
        assert_eq!(Token::from_hex(&token.to_hex()), Some(token));
        assert_eq!(format!("{token:?}"), "Token(01234567..)");
        let mut word = 1_u64;
        for _ in 0..1_000 {
            let (process, attempt) = (word, word.rotate_left(29));
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let digits = Token::new(process, attempt).to_hex();
            assert_eq!(digits, format!("{process:016x}{attempt:016x}"));
        }
        for bad in ["", "0", "0123456789ABCDEF00000000000000ff", "g123456789abcdef00000000000000ff"]
        {
            assert_eq!(Token::from_hex(bad), None, "{bad}");
        }
    }
}
