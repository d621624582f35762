//! The library itself, with its defaults.

use ::redlatch::testing::Protection;
use ::redlatch::{Guard, InitError, Redlock, Resource};

use crate::Result;
use crate::cell::{CellSpec, TTL};
use crate::tasks::Locker;

pub(crate) async fn connect(spec: &CellSpec, sealed: bool) -> Result<Redlatch> {
    let mut builder = Redlock::builder().nodes(spec.urls()).ttl(TTL);
    if !sealed {
        builder = builder.without(Protection::Seal);
    }
    // The servers are this run's own; whoever comes first opens them.
    match builder.clone().init_fleet().await {
        Ok(()) | Err(InitError::AlreadyInitialised { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Redlatch(builder.connect().await?))
}

#[derive(Clone)]
pub(crate) struct Redlatch(Redlock);

impl Locker for Redlatch {
    type Key = Resource;
    type Held = Guard;

    fn key(name: String) -> Resource {
        Resource::from(name)
    }

    async fn acquire(&self, key: &Resource) -> Result<Guard> {
        Ok(self.0.acquire(key.clone()).await?)
    }

    async fn release(&self, _key: &Resource, held: Guard) -> Result<()> {
        held.release().await?;
        Ok(())
    }

    async fn close(self) {
        self.0.close().await;
    }
}
