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
        let bits = (u128::from(process) << 64) | u128::from(attempt);
        for (at, digit) in digits.iter_mut().enumerate() {
            let nibble = (bits >> (124 - 4 * at)) & 0xf;
            *digit = HEX.get(nibble as usize).copied().unwrap_or(b'0');
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
        for bad in ["", "0", "0123456789ABCDEF00000000000000ff", "g123456789abcdef00000000000000ff"]
        {
            assert_eq!(Token::from_hex(bad), None, "{bad}");
        }
    }
}
