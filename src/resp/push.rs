//! RESP3 push frames: what a server tells without being asked.
//!
//! A push never answers a command: it must not take an entry off the in-flight queue.

use super::reply::Value;

/// One push, as far as the engine tells them apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Push {
    /// Every tracked key may have changed (FLUSHALL, or a payload we do not understand).
    InvalidateAll,
    InvalidateKeys(Vec<Vec<u8>>),
    Message {
        channel: Vec<u8>,
        payload: Vec<u8>,
    },
    /// Confirmations of (UN)SUBSCRIBE, pattern messages, kinds of later servers: all elements.
    Other(Vec<Value>),
}

impl Push {
    /// Reads the elements of a push frame. `None` if it does not even name its kind.
    pub(super) fn from_value(value: Value) -> Option<Self> {
        let Value::Array(items) = value else { return None };
        let push = match items.first()?.as_bytes()? {
            b"invalidate" => Self::invalidation(items),
            b"message" => Self::message(items),
            _ => Self::Other(items),
        };
        Some(push)
    }

    /// Whether it says that `key` may have changed.
    pub(crate) fn is_about(&self, key: &[u8]) -> bool {
        match self {
            Self::InvalidateAll => true,
            Self::InvalidateKeys(keys) => keys.iter().any(|named| named == key),
            Self::Message { .. } | Self::Other(_) => false,
        }
    }

    /// When in doubt, all keys: a wake-up too many costs a round trip, one too few a wait.
    fn invalidation(items: Vec<Value>) -> Self {
        let Some(Value::Array(keys)) = items.into_iter().nth(1) else { return Self::InvalidateAll };
        let keys: Option<Vec<_>> = keys
            .into_iter()
            .map(|key| match key {
                Value::Bytes(bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        keys.map_or(Self::InvalidateAll, Self::InvalidateKeys)
    }

    fn message(items: Vec<Value>) -> Self {
        match items.as_slice() {
            [_, Value::Bytes(channel), Value::Bytes(payload)] => {
                Self::Message { channel: channel.clone(), payload: payload.clone() }
            }
            _ => Self::Other(items),
        }
    }
}
