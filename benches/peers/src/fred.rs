//! Redlock by hand on fred: one client (one connection) per node, all nodes asked and awaited
//! (`join_all`), EVALSHA with SCRIPT LOAD as the fallback, TCP_NODELAY on.

use std::sync::Arc;
use std::time::Instant;

use ::fred::bytes_utils::Str;
use ::fred::clients::Client;
use ::fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use ::fred::prelude::{Builder, FredResult};
use ::fred::types::config::{Config, TcpConfig};
use ::fred::types::{Expiration, Key, SetOptions};
use futures::future::join_all;

use crate::Result;
use crate::cell::{CellSpec, TTL};
use crate::redlock::{RELEASE, Tokens, back_off, is_valid};
use crate::tasks::Locker;

#[derive(Clone)]
pub(crate) struct Fred {
    nodes: Arc<[Client]>,
    quorum: usize,
    /// SHA-1 of the release script, as the first node named it.
    release: Str,
    tokens: Arc<Tokens>,
}

pub(crate) async fn connect(spec: &CellSpec) -> Result<Fred> {
    let mut nodes = Vec::new();
    let mut release = Str::default();
    for url in spec.urls() {
        let mut builder = Builder::from_config(Config::from_url(&url)?);
        builder.with_connection_config(|config| {
            config.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        });
        let client = builder.build()?;
        client.init().await?;
        release = client.script_load::<String, _>(RELEASE).await?.into();
        nodes.push(client);
    }
    Ok(Fred {
        nodes: nodes.into(),
        quorum: spec.quorum(),
        release,
        tokens: Arc::new(Tokens::new()),
    })
}

impl Fred {
    async fn set(&self, node: &Client, key: &Key, token: &[u8]) -> FredResult<bool> {
        let ttl = Some(Expiration::PX(TTL.as_millis() as i64));
        let options = Some(SetOptions::NX);
        let reply: Option<String> = node.set(key.clone(), token, ttl, options, false).await?;
        Ok(reply.is_some())
    }

    async fn delete(&self, node: &Client, key: &Key, token: &[u8]) -> bool {
        let call = || node.evalsha::<i64, _, _, _>(self.release.clone(), key.clone(), token);
        let mut deleted = call().await;
        if deleted.as_ref().is_err_and(|error| error.details().starts_with("NOSCRIPT")) {
            let loaded: FredResult<String> = node.script_load(RELEASE).await;
            if loaded.is_ok() {
                deleted = call().await;
            }
        }
        deleted.is_ok_and(|count| count == 1)
    }

    /// How many nodes deleted the key.
    async fn delete_all(&self, key: &Key, token: &[u8]) -> usize {
        let nodes = self.nodes.iter().map(|node| self.delete(node, key, token));
        join_all(nodes).await.into_iter().filter(|deleted| *deleted).count()
    }
}

impl Locker for Fred {
    type Key = Key;
    type Held = [u8; 24];

    fn key(name: String) -> Key {
        Key::from(name)
    }

    async fn acquire(&self, key: &Key) -> Result<[u8; 24]> {
        loop {
            let token = self.tokens.next();
            let begin = Instant::now();
            let votes = join_all(self.nodes.iter().map(|node| self.set(node, key, &token))).await;
            let granted = votes.iter().filter(|vote| matches!(vote, Ok(true))).count();
            if granted >= self.quorum && is_valid(begin) {
                return Ok(token);
            }
            self.delete_all(key, &token).await;
            if let Some(error) = votes.into_iter().find_map(FredResult::err) {
                return Err(error.into());
            }
            back_off(&token).await;
        }
    }

    async fn release(&self, key: &Key, token: [u8; 24]) -> Result<()> {
        match self.delete_all(key, &token).await {
            deleted if deleted >= self.quorum => Ok(()),
            deleted => Err(format!("released on {deleted} nodes only").into()),
        }
    }
}
