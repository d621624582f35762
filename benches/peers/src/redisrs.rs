//! Redlock by hand on redis-rs: one multiplexed connection per node, all nodes asked and awaited
//! (`join_all`), EVALSHA with SCRIPT LOAD as the fallback, TCP_NODELAY on.

use std::sync::Arc;
use std::time::Instant;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::TcpSettings;
use ::redis::{Client, IntoConnectionInfo, RedisResult, Script, Value, cmd};
use futures::future::join_all;

use crate::Result;
use crate::cell::{CellSpec, TTL};
use crate::redlock::{RELEASE, Tokens, back_off, is_valid};
use crate::tasks::Locker;

#[derive(Clone)]
pub(crate) struct Redisrs {
    nodes: Arc<[MultiplexedConnection]>,
    quorum: usize,
    release: Arc<Script>,
    tokens: Arc<Tokens>,
}

pub(crate) async fn connect(spec: &CellSpec) -> Result<Redisrs> {
    let mut nodes = Vec::new();
    for url in spec.urls() {
        let settings = TcpSettings::default().set_nodelay(true);
        let info = url.into_connection_info()?.set_tcp_settings(settings);
        nodes.push(Client::open(info)?.get_multiplexed_async_connection().await?);
    }
    Ok(Redisrs {
        nodes: nodes.into(),
        quorum: spec.quorum(),
        release: Arc::new(Script::new(RELEASE)),
        tokens: Arc::new(Tokens::new()),
    })
}

impl Redisrs {
    async fn set(
        &self,
        node: &MultiplexedConnection,
        key: &str,
        token: &[u8],
    ) -> RedisResult<bool> {
        let mut set = cmd("SET");
        set.arg(key).arg(token).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let reply: Value = set.query_async(&mut node.clone()).await?;
        Ok(reply == Value::Okay)
    }

    async fn delete(&self, node: &MultiplexedConnection, key: &str, token: &[u8]) -> bool {
        let mut node = node.clone();
        let deleted: RedisResult<i64> =
            self.release.key(key).arg(token).invoke_async(&mut node).await;
        deleted == Ok(1)
    }

    /// How many nodes deleted the key.
    async fn delete_all(&self, key: &str, token: &[u8]) -> usize {
        let nodes = self.nodes.iter().map(|node| self.delete(node, key, token));
        join_all(nodes).await.into_iter().filter(|deleted| *deleted).count()
    }
}

impl Locker for Redisrs {
    type Key = String;
    type Held = [u8; 24];

    fn key(name: String) -> String {
        name
    }

    async fn acquire(&self, key: &String) -> Result<[u8; 24]> {
        loop {
            let token = self.tokens.next();
            let begin = Instant::now();
            let votes = join_all(self.nodes.iter().map(|node| self.set(node, key, &token))).await;
            let granted = votes.iter().filter(|vote| **vote == Ok(true)).count();
            if granted >= self.quorum && is_valid(begin) {
                return Ok(token);
            }
            self.delete_all(key, &token).await;
            if let Some(error) = votes.into_iter().find_map(RedisResult::err) {
                return Err(error.into());
            }
            back_off(&token).await;
        }
    }

    async fn release(&self, key: &String, token: [u8; 24]) -> Result<()> {
        match self.delete_all(key, &token).await {
            deleted if deleted >= self.quorum => Ok(()),
            deleted => Err(format!("released on {deleted} nodes only").into()),
        }
    }
}
