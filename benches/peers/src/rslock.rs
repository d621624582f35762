//! rslock as its README uses it: addresses in, default connection settings, guard out.

use std::time::Duration;

use ::rslock::{LockGuard, LockManager};

use crate::Result;
use crate::cell::{CellSpec, TTL};
use crate::tasks::Locker;

/// Contended cells only: the default of 200 ms measures the sleep, not the lock.
const RETRY_DELAY: Duration = Duration::from_millis(5);

#[derive(Clone, Debug)]
pub(crate) struct Rslock(LockManager);

pub(crate) fn connect(spec: &CellSpec) -> Rslock {
    let mut manager = LockManager::new(spec.urls());
    if spec.one_key {
        manager.set_retry(u32::MAX, RETRY_DELAY);
    }
    Rslock(manager)
}

impl Locker for Rslock {
    type Key = Vec<u8>;
    type Held = LockGuard;

    fn key(name: String) -> Vec<u8> {
        name.into_bytes()
    }

    async fn acquire(&self, key: &Vec<u8>) -> Result<LockGuard> {
        Ok(self.0.acquire(key.as_slice(), TTL).await?)
    }

    async fn release(&self, _key: &Vec<u8>, held: LockGuard) -> Result<()> {
        // Best effort by its own account: it waits for every node and reports nothing.
        held.release().await;
        Ok(())
    }
}
