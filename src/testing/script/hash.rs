//! What scripts do with hashes, and with keys whose type they do not know.

use super::host::{Invocation, Raised};
use crate::testing::command::WRONG_TYPE;
use crate::testing::store::Value;

impl Invocation<'_> {
    /// `redis.call('TYPE', key)`.
    pub(super) fn kind(&mut self, key: &[u8]) -> &'static str {
        let entry = self.node.store.get(self.db, key, self.now_ms);
        let kind = entry.map_or("none", |entry| entry.value.kind());
        self.has_read(key);
        kind
    }

    /// `redis.call('EXISTS', key)`.
    pub(super) fn exists(&mut self, key: &[u8]) -> bool {
        self.kind(key) != "none"
    }

    /// `redis.call('HGETALL', key)` of a hash.
    pub(super) fn fields(&mut self, key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entry = self.node.store.get(self.db, key, self.now_ms);
        let fields = match entry.map(|entry| &entry.value) {
            Some(Value::Hash(fields)) => {
                fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
            }
            _ => Vec::new(),
        };
        self.has_read(key);
        fields
    }

    /// `redis.pcall('HRANDFIELD', key)`: of a hash the first field, which is as good as any.
    pub(super) fn any_field(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.fields(key).into_iter().next().map(|(field, _)| field)
    }

    /// `redis.call('HSET', key, field, value)`.
    pub(super) fn hset(
        &mut self,
        line: u32,
        key: &[u8],
        field: &[u8],
        value: &[u8],
    ) -> Result<(), Raised> {
        self.may_write(line, true)?;
        if self.node.store.get(self.db, key, self.now_ms).is_some_and(|held| !held.value.is_hash())
        {
            return Err(Raised::at(line, WRONG_TYPE));
        }
        self.node.store.set_field(self.db, key, (field, value), self.now_ms);
        self.has_written();
        Ok(())
    }

    /// `redis.call('HDEL', key, field)` of a hash; whether it had the field.
    pub(super) fn hdel(&mut self, line: u32, key: &[u8], field: &[u8]) -> Result<bool, Raised> {
        self.may_write(line, false)?;
        let removed = self.node.store.remove_field(self.db, key, field, self.now_ms);
        self.has_written();
        Ok(removed)
    }

    /// `redis.call('PEXPIREAT', key, time)` of a key that is there.
    pub(super) fn pexpire_at(&mut self, line: u32, key: &[u8], at_ms: i64) -> Result<(), Raised> {
        self.may_write(line, false)?;
        self.node.store.expire_at(self.db, key, at_ms, self.now_ms);
        self.has_written();
        Ok(())
    }
}
