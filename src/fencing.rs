//! The number that orders the holders of one lock.

use std::fmt;
use std::num::NonZeroU64;

/// A fencing token: of two holders of one lock, the later one has the larger number.
///
/// A lock in a network cannot stop a holder that does not know that it lost it: a process that
/// stalls past its validity still sends the write that it had begun. The resource can stop it, if
/// every write carries the token and the resource refuses one that is smaller than the largest it
/// has seen (Kleppmann, "How to do distributed locking", 2016). It must accept an equal one, so
/// that one holder can write many times. A resource in a process does that with a
/// [`FenceGate`](crate::FenceGate); a database with `... WHERE fence <= $token`, in the same
/// statement as the write.
///
/// Tokens lie between 1 and 2^53, so that Lua and JSON, whose numbers are doubles, keep them exact.
/// `Display` writes the number.
///
/// # Examples
/// ```
/// use redlatch::FencingToken;
///
/// // As a service finds it in a request.
/// let token = FencingToken::try_from("1700000000000042".parse::<u64>()?)?;
/// assert_eq!(token.get(), 1_700_000_000_000_042);
/// assert!(token < FencingToken::MAX);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(NonZeroU64);

impl FencingToken {
    /// The smallest token: 1.
    pub const MIN: Self = Self(NonZeroU64::MIN);
    /// The largest token: 2^53, the end of the integers that a double keeps exact.
    pub const MAX: Self = Self(NonZeroU64::MIN.saturating_add((1 << 53) - 1));

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// # Errors
/// [`FencingTokenError`] when the number is 0 or above 2^53.
impl TryFrom<u64> for FencingToken {
    type Error = FencingTokenError;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        let token = Self(NonZeroU64::new(value).ok_or(FencingTokenError::Zero)?);
        if token > Self::MAX {
            return Err(FencingTokenError::TooLarge { value });
        }
        Ok(token)
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.get()
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a number is not a fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FencingTokenError {
    /// It is 0, which stands for "no token yet" in counters.
    #[error("0 is not a fencing token: they begin at 1")]
    Zero,
    /// It is above 2^53: somebody's double may have rounded it.
    #[error("{value} is not a fencing token: they end at 2^53")]
    TooLarge {
        /// The number.
        value: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_integers_that_a_double_keeps() {
        assert_eq!(FencingToken::try_from(0), Err(FencingTokenError::Zero));
        assert_eq!(FencingToken::try_from(1), Ok(FencingToken::MIN));
        assert_eq!(FencingToken::try_from(1 << 53), Ok(FencingToken::MAX));
        for value in [(1 << 53) + 1, u64::MAX] {
            assert_eq!(FencingToken::try_from(value), Err(FencingTokenError::TooLarge { value }));
        }
        assert_eq!(FencingToken::MAX.get(), 9_007_199_254_740_992);
    }

    #[test]
    fn a_token_reads_and_sorts_as_its_number() {
        let [nine, ten] = [9, 10].map(|value| FencingToken::try_from(value).unwrap());
        assert!(nine < ten);
        assert_eq!((format!("{ten:>4}"), u64::from(ten)), ("  10".to_owned(), 10));
        let error = FencingToken::try_from(u64::MAX).unwrap_err().to_string();
        assert_eq!(error, "18446744073709551615 is not a fencing token: they end at 2^53");
    }
}
