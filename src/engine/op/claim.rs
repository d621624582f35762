//! The modes' side of an attempt: what it takes, in the form in which the scripts are told.
//!
//! A claim is several resources, each in a mode, under one token: the nodes grant and forget all of
//! it or nothing, so one vote and one bound stand for the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::algorithm::mode::Access;
use crate::engine::op::Op;
use crate::resource::Resource;
use crate::resp::command::Bulks;

/// What a caller wants to take at once.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// Everything that is taken, in canonical order.
    pub(crate) taken: Vec<(Resource, Access)>,
    /// What was asked for by name.
    pub(crate) asked: Arc<[Resource]>,
    /// Where one of them is a permit: how many there are.
    pub(crate) permits: Option<u16>,
}

impl Claims {
    /// From here on it is this permit that is asked for.
    pub(crate) fn choose(&mut self, permit: u16) {
        for (_, access) in &mut self.taken {
            if let Access::Permit(number) = access {
                *number = permit;
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Claim {
    /// The keys, as the scripts get them.
    pub(crate) keys: Bulks,
    /// A mode per key, and the number of permits where one of them is one.
    pub(crate) modes: Bulks,
    pub(crate) asked: Arc<[Resource]>,
    /// A permit that a node said is free, plus one.
    free: AtomicU32,
}

impl Claim {
    pub(super) fn new(claims: &Claims, prefix: &[u8]) -> Self {
        let (mut keys, mut modes) = (Bulks::default(), Bulks::default());
        let mut name = Vec::new();
        for (resource, access) in &claims.taken {
            keys.push(&[prefix, resource.as_bytes()].concat());
            name.clear();
            access.write(&mut name);
            modes.push(&name);
        }
        if let Some(permits) = claims.permits {
            modes.push(itoa::Buffer::new().format(permits).as_bytes());
        }
        Self { keys, modes, asked: Arc::clone(&claims.asked), free: AtomicU32::new(0) }
    }

    /// A permit that may be free.
    pub(crate) fn free(&self) -> Option<u16> {
        let noted = self.free.load(Ordering::Acquire).checked_sub(1)?;
        u16::try_from(noted).ok()
    }

    /// Bytes of a call, the script's digest aside.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.modes.len()
    }
}

impl Op {
    /// A node that denied this permit said that another one is free there; before its vote.
    pub(crate) fn note_free(&self, permit: u16) {
        if let Some(claim) = &self.claim {
            claim.free.store(u32::from(permit) + 1, Ordering::Release);
        }
    }

    /// Bytes of an acquisition on the wire, about.
    pub(crate) fn acquire_len(&self) -> usize {
        self.frame.len().saturating_add(self.claim.as_ref().map_or(0, |claim| claim.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::mode::Mode;

    #[test]
    fn a_claim_is_told_as_keys_and_modes() {
        let resource = |name: &str| Resource::from(name);
        let mut claims = Claims {
            taken: vec![
                (resource("a"), Access::Mode(Mode::IntentExclusive)),
                (resource("a/b"), Access::Permit(0)),
            ],
            asked: Arc::from([resource("a/b")]),
            permits: Some(20),
        };
        claims.choose(13);
        let claim = Claim::new(&claims, b"p:");
        let mut out = Vec::new();
        crate::resp::command::evalsha_bulks(
            &mut out,
            "s",
            (&[b"e"], &claim.keys),
            (&[], &claim.modes),
        );
        let text = String::from_utf8_lossy(&out).replace("\r\n", " ");
        let expected = "*9 $7 EVALSHA $1 s $1 3 $1 e $3 p:a $5 p:a/b $2 IX $3 P13 $2 20 ";
        assert_eq!(text, expected);
        assert!(claim.keys.iter().eq([b"p:a".as_slice(), b"p:a/b"]));
    }
}
