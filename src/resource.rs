//! What is locked.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The name of a lock: any bytes, 1 to [`Resource::LEN_MAX`] of them.
///
/// The name is the Redis key (behind the builder's `key_prefix`), so other Redlock libraries that
/// use the same key exclude, and are excluded by, this one. Cheap to clone: build it once for a
/// lock that is taken often, and an acquisition allocates nothing.
///
/// ```
/// use redlatch::Resource;
/// let orders = Resource::from("orders:42");
/// assert_eq!(orders.to_string(), "orders:42");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource(Arc<[u8]>);

impl Resource {
    /// The longest name, in bytes, prefix included. It bounds the frames of a batch; a name that
    /// needs more is a document, not a name: lock its hash.
    pub const LEN_MAX: usize = 4096;

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Resource {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().into())
    }
}

impl From<String> for Resource {
    fn from(name: String) -> Self {
        Self(name.into_bytes().into())
    }
}

impl From<&String> for Resource {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<&[u8]> for Resource {
    fn from(name: &[u8]) -> Self {
        Self(name.into())
    }
}

impl From<Vec<u8>> for Resource {
    fn from(name: Vec<u8>) -> Self {
        Self(name.into())
    }
}

impl From<&Self> for Resource {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl Borrow<[u8]> for Resource {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that are not text are escaped; a long name is cut at 120 characters.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 120;
        let shown = self.0.get(..SHOWN_MAX).unwrap_or(&self.0);
        write!(f, "{}", shown.escape_ascii())?;
        if self.0.len() > SHOWN_MAX {
            write!(f, "... ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resource({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_prints_as_text_and_never_floods_a_log() {
        assert_eq!(Resource::from("a:b").to_string(), "a:b");
        assert_eq!(Resource::from(&b"\x00\xff"[..]).to_string(), "\\x00\\xff");
        let long = Resource::from("x".repeat(1 << 20)).to_string();
        assert!(long.len() < 200 && long.ends_with("(1048576 bytes)"), "{long}");
        assert_eq!(format!("{:?}", Resource::from(String::from("r"))), "Resource(r)");
    }
}
