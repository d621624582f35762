//! Commands to bytes, appended to an outbox.
//!
//! Every command is an array of bulk strings, the same in RESP2 and RESP3. Nothing is allocated
//! but the buffer's growth. Keys and tokens may be any bytes: lengths go first, so no content can
//! be taken for protocol.

use std::ops::Range;

use super::Protocol;

/// `SET key token NX PX ttl_ms`: takes a free lock. The key comes in two parts; the result says
/// where in `out` it is.
pub(crate) fn set_nx_px(
    out: &mut Vec<u8>,
    key: [&[u8]; 2],
    token: &[u8],
    ttl_ms: u64,
) -> Range<usize> {
    out.extend_from_slice(SET);
    let [prefix, name] = key;
    let len = prefix.len().saturating_add(name.len());
    head(out, b'$', len);
    let at = out.len();
    out.extend_from_slice(prefix);
    out.extend_from_slice(name);
    out.extend_from_slice(b"\r\n");
    bulk(out, token);
    out.extend_from_slice(b"$2\r\nNX\r\n$2\r\nPX\r\n");
    number(out, ttl_ms);
    at..at.saturating_add(len)
}

/// What stands in front of the key in a frame of [`set_nx_px`].
const SET: &[u8] = b"*6\r\n$3\r\nSET\r\n";

/// The key and the token as they stand in a frame of [`set_nx_px`], for [`evalsha_tokens`]; where
/// the key is, that function has said.
pub(crate) fn bulks_of_set<'a>(
    frame: &'a [u8],
    key: &Range<usize>,
    token: &[u8],
) -> (&'a [u8], &'a [u8]) {
    let at = key.end.saturating_add(LINE_END);
    let (front, behind) = frame.split_at_checked(at).unwrap_or_default();
    let digits = if token.len() < 10 { 1 } else { token.len().ilog10() as usize + 1 };
    let token_len = 1 + digits + LINE_END + token.len() + LINE_END;
    (front.get(SET.len()..).unwrap_or_default(), behind.get(..token_len).unwrap_or_default())
}

const LINE_END: usize = 2;

/// EVALSHA of a script that takes one token per key: `(key, token)`, bulk strings both of them.
pub(crate) fn evalsha_tokens<'a, I>(out: &mut Vec<u8>, sha: &str, locks: I)
where
    I: ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    evalsha_head(out, sha, locks.len(), locks.len());
    locks.clone().for_each(|(key, _)| out.extend_from_slice(key));
    locks.for_each(|(_, token)| out.extend_from_slice(token));
}

/// EVALSHA of the extend script: the epoch, then `(key, token, ttl_ms)` per lease.
pub(crate) fn evalsha_leases<'a, I>(out: &mut Vec<u8>, sha: &str, epoch: Epoch<'_>, leases: I)
where
    I: ExactSizeIterator<Item = (&'a [u8], &'a [u8], u64)> + Clone,
{
    let count = leases.len();
    evalsha_head(out, sha, count.saturating_add(1), count.saturating_mul(2).saturating_add(1));
    bulk(out, epoch.key);
    leases.clone().for_each(|(key, ..)| bulk(out, key));
    bulk(out, epoch.id);
    leases.for_each(|(_, token, ttl_ms)| {
        bulk(out, token);
        number(out, ttl_ms);
    });
}

/// Where a node's epoch is kept, and which one is expected there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) id: &'a [u8],
}

/// EVALSHA of any script.
pub(crate) fn evalsha(out: &mut Vec<u8>, sha: &str, keys: &[&[u8]], args: &[&[u8]]) {
    evalsha_head(out, sha, keys.len(), args.len());
    keys.iter().chain(args).for_each(|part| bulk(out, part));
}

/// Bulk strings encoded once and sent many times.
#[derive(Debug, Default)]
pub(crate) struct Bulks {
    bytes: Vec<u8>,
    parts: Vec<Range<usize>>,
}

impl Bulks {
    pub(crate) fn push(&mut self, part: &[u8]) {
        bulk(&mut self.bytes, part);
        let end = self.bytes.len().saturating_sub(2);
        self.parts.push(end.saturating_sub(part.len())..end);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().filter_map(|part| self.bytes.get(part.clone()))
    }

    /// Their length in bytes, encoded.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// EVALSHA of a script whose last keys and last arguments are encoded already.
pub(crate) fn evalsha_bulks(
    out: &mut Vec<u8>,
    sha: &str,
    keys: (&[&[u8]], &Bulks),
    args: (&[&[u8]], &Bulks),
) {
    let count = |(parts, bulks): (&[&[u8]], &Bulks)| parts.len().saturating_add(bulks.parts.len());
    evalsha_head(out, sha, count(keys), count(args));
    for (parts, bulks) in [keys, args] {
        parts.iter().for_each(|part| bulk(out, part));
        out.extend_from_slice(&bulks.bytes);
    }
}

/// EVAL of a script by its text.
pub(crate) fn eval(out: &mut Vec<u8>, body: &str, keys: &[&[u8]], args: &[&[u8]]) {
    begin(out, keys.len().saturating_add(args.len()).saturating_add(3));
    bulk(out, b"EVAL");
    bulk(out, body.as_bytes());
    number(out, keys.len() as u64);
    keys.iter().chain(args).for_each(|part| bulk(out, part));
}

/// The end of a write that sets locks: which epoch is this, and is the script still cached?
pub(crate) fn seal(out: &mut Vec<u8>, epoch_key: &str, sha: &str) {
    get(out, epoch_key.as_bytes());
    out.extend_from_slice(b"*3\r\n$6\r\nSCRIPT\r\n$6\r\nEXISTS\r\n");
    bulk(out, sha.as_bytes());
}

/// `CLIENT KILL ID id`: answers how many it closed.
pub(crate) fn client_kill_id(out: &mut Vec<u8>, id: i64) {
    command(out, &[b"CLIENT", b"KILL", b"ID", itoa::Buffer::new().format(id).as_bytes()]);
}

/// `CLIENT TRACKING ON OPTIN NOLOOP`: keys read right behind `CLIENT CACHING YES` are watched.
pub(crate) fn client_tracking(out: &mut Vec<u8>) {
    command(out, &[b"CLIENT", b"TRACKING", b"ON", b"OPTIN", b"NOLOOP"]);
}

/// `CLIENT CACHING YES`: the next command's keys are watched.
pub(crate) fn client_caching(out: &mut Vec<u8>) {
    command(out, &[b"CLIENT", b"CACHING", b"YES"]);
}

fn evalsha_head(out: &mut Vec<u8>, sha: &str, keys: usize, args: usize) {
    begin(out, keys.saturating_add(args).saturating_add(3));
    out.extend_from_slice(b"$7\r\nEVALSHA\r\n");
    bulk(out, sha.as_bytes());
    number(out, keys as u64);
}

/// `DELIFEQ key token` (Valkey 9): deletes a lock that is still ours.
pub(crate) fn delifeq(out: &mut Vec<u8>, key: &[u8], token: &[u8]) {
    out.extend_from_slice(b"*3\r\n$7\r\nDELIFEQ\r\n");
    bulk(out, key);
    bulk(out, token);
}

/// `DELEX key IFEQ token` (Redis 8.4): deletes a lock that is still ours.
pub(crate) fn delex_ifeq(out: &mut Vec<u8>, key: &[u8], token: &[u8]) {
    out.extend_from_slice(b"*4\r\n$5\r\nDELEX\r\n");
    bulk(out, key);
    out.extend_from_slice(b"$4\r\nIFEQ\r\n");
    bulk(out, token);
}

pub(crate) fn get(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
    bulk(out, key);
}

pub(crate) fn pttl(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"*2\r\n$4\r\nPTTL\r\n");
    bulk(out, key);
}

pub(crate) fn script_load(out: &mut Vec<u8>, body: &str) {
    command(out, &[b"SCRIPT", b"LOAD", body.as_bytes()]);
}

/// `HELLO version [AUTH user password] [SETNAME name]`.
pub(crate) fn hello(
    out: &mut Vec<u8>,
    protocol: Protocol,
    auth: Option<(&str, &str)>,
    client_name: Option<&str>,
) {
    let auth_args = if auth.is_some() { 3 } else { 0 };
    let name_args = if client_name.is_some() { 2 } else { 0 };
    begin(out, 2 + auth_args + name_args);
    bulk(out, b"HELLO");
    number(out, if protocol == Protocol::Resp3 { 3 } else { 2 });
    if let Some((user, password)) = auth {
        bulk(out, b"AUTH");
        bulk(out, user.as_bytes());
        bulk(out, password.as_bytes());
    }
    if let Some(name) = client_name {
        bulk(out, b"SETNAME");
        bulk(out, name.as_bytes());
    }
}

/// `AUTH [user] password`. Servers before 6 know the short form only.
pub(crate) fn auth(out: &mut Vec<u8>, user: Option<&str>, password: &str) {
    match user {
        Some(user) => command(out, &[b"AUTH", user.as_bytes(), password.as_bytes()]),
        None => command(out, &[b"AUTH", password.as_bytes()]),
    }
}

pub(crate) fn client_id(out: &mut Vec<u8>) {
    command(out, &[b"CLIENT", b"ID"]);
}

/// `CLIENT NO-EVICT ON`: the server does not close this connection to free memory.
pub(crate) fn client_no_evict(out: &mut Vec<u8>) {
    command(out, &[b"CLIENT", b"NO-EVICT", b"ON"]);
}

/// `CLIENT SETINFO attribute value`, for `LIB-NAME` and `LIB-VER`.
pub(crate) fn client_setinfo(out: &mut Vec<u8>, attribute: &str, value: &str) {
    command(out, &[b"CLIENT", b"SETINFO", attribute.as_bytes(), value.as_bytes()]);
}

pub(crate) fn client_setname(out: &mut Vec<u8>, name: &str) {
    command(out, &[b"CLIENT", b"SETNAME", name.as_bytes()]);
}

/// `COMMAND INFO name..`: nil for each command that the server does not know.
pub(crate) fn command_info(out: &mut Vec<u8>, names: &[&str]) {
    begin(out, names.len().saturating_add(2));
    bulk(out, b"COMMAND");
    bulk(out, b"INFO");
    names.iter().for_each(|name| bulk(out, name.as_bytes()));
}

pub(crate) fn info(out: &mut Vec<u8>, section: &str) {
    command(out, &[b"INFO", section.as_bytes()]);
}

pub(crate) fn select(out: &mut Vec<u8>, database: u32) {
    begin(out, 2);
    bulk(out, b"SELECT");
    number(out, u64::from(database));
}

/// Any command, name first.
pub(crate) fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    begin(out, parts.len());
    parts.iter().for_each(|part| bulk(out, part));
}

/// The header of a command of `parts` parts, the name included.
fn begin(out: &mut Vec<u8>, parts: usize) {
    head(out, b'*', parts);
}

#[inline]
fn head(out: &mut Vec<u8>, kind: u8, count: usize) {
    if let Ok(small @ 0..100) = u8::try_from(count) {
        let [tens, ones] = [b'0' + small / 10, b'0' + small % 10];
        if small < 10 {
            out.extend_from_slice(&[kind, ones, b'\r', b'\n']);
        } else {
            out.extend_from_slice(&[kind, tens, ones, b'\r', b'\n']);
        }
        return;
    }
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, value: u64) {
    bulk(out, itoa::Buffer::new().format(value).as_bytes());
}
