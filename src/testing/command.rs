//! The table of commands, and what holds for all of them: names, arity, login, faults, counting.
//!
//! The order of the checks is the server's: unknown command, arity, login, then the command.

use super::core::{NodeCore, Session};
use super::options::Role;
use super::reply::Reply;
use super::{admin, channels, connection, data, sorted};
use crate::algorithm::script::{RESERVED, STATE_KEY};

/// One command being executed.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) node: &'a mut NodeCore,
    pub(super) session: &'a mut Session,
    pub(super) reply: Reply<'a>,
}

/// A command the node understands.
#[derive(Debug)]
pub(super) struct Spec {
    /// Lower case; a subcommand follows a `|`.
    pub(super) name: &'static str,
    /// Fewest and most words, the command's own included.
    words: (usize, usize),
    /// Touches data: subject to the error faults.
    data: bool,
    run: fn(&mut Call<'_>, &[&[u8]]),
}

/// Executes one command of at least one word.
pub(super) fn execute(
    node: &mut NodeCore,
    session: &mut Session,
    args: &[&[u8]],
    output: &mut Vec<u8>,
) {
    let at = output.len();
    let mut reply = Reply::new(output, session.resp3);
    let found = lookup(node, args);
    // Any subcommand of CLIENT leaves it for the command after, as the server does.
    let keeps = found.as_ref().is_ok_and(|spec| spec.name.starts_with("client|"));
    match found {
        Ok(spec) => perform(node, session, spec, args, reply),
        Err(text) => reply.error(text),
    }
    session.caching &= keeps;
    node.clients.deliver_own(session.id, output, at);
}

fn perform(
    node: &mut NodeCore,
    session: &mut Session,
    spec: &'static Spec,
    args: &[&[u8]],
    mut reply: Reply<'_>,
) {
    if !(spec.words.0..=spec.words.1).contains(&args.len()) {
        return reply.error(wrong_arity(spec.name));
    }
    if !session.authenticated && !matches!(spec.name, "auth" | "hello") {
        return reply.error("NOAUTH Authentication required.");
    }
    *node.counts.entry(spec.name).or_default() += 1;
    let faulty = spec.data && !is_on_records(spec, args);
    if let Some(text) = faulty.then(|| node.take_fault()).flatten() {
        return reply.error(text);
    }
    if node.role == Role::Replica && WRITES.contains(&spec.name) {
        return reply.error(READ_ONLY);
    }
    if matches!(spec.name, "set" | "zadd") && node.is_out_of_memory() {
        return reply.error(OUT_OF_MEMORY);
    }
    if node.clients.is_all_ears(session.id) && !EARS_MAY.contains(&spec.name) {
        return reply.error(format!("ERR Can't execute '{}': {ALL_EARS}", spec.name));
    }
    (spec.run)(&mut Call { node, session, reply }, args);
    node.announce(Some(session.id));
    if READS.contains(&spec.name) {
        node.track(session, args.get(1).copied());
    }
}

/// Whether this is how clients follow the node's epoch: the error faults are for locks.
fn is_on_records(spec: &Spec, args: &[&[u8]]) -> bool {
    let is_reserved = |key: &&[u8]| key.starts_with(RESERVED.as_bytes());
    match spec.name {
        "get" => args.get(1).is_some_and(is_reserved),
        "eval" | "evalsha" => args.get(4) == Some(&STATE_KEY.as_bytes()),
        _ => false,
    }
}

/// The command that this word names, subcommands aside.
pub(super) fn find(node: &NodeCore, name: &[u8]) -> Option<&'static Spec> {
    let spec = COMMANDS.iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))?;
    let absent = (spec.name == "delifeq" && !node.options.delifeq)
        || (spec.name == "delex" && !node.options.delex);
    (!absent && !name.contains(&b'|')).then_some(spec)
}

fn lookup(node: &NodeCore, args: &[&[u8]]) -> Result<&'static Spec, Vec<u8>> {
    let name = args.first().copied().unwrap_or_default();
    let spec = find(node, name).ok_or_else(|| unknown(name, args))?;
    let subcommands = || COMMANDS.iter().filter_map(|sub| Some((sub, sub.name.split_once('|')?)));
    let Some(word) = args.get(1).filter(|_| subcommands().any(|(_, (of, _))| of == spec.name))
    else {
        return Ok(spec);
    };
    let matches =
        |of: &str, sub: &str| of == spec.name && word.eq_ignore_ascii_case(sub.as_bytes());
    let found = subcommands().find(|(_, (of, sub))| matches(of, sub));
    found.map(|(sub, _)| sub).ok_or_else(|| unknown_subcommand(spec.name, word))
}

pub(super) fn unknown_subcommand(name: &str, word: &[u8]) -> Vec<u8> {
    let upper = name.to_ascii_uppercase();
    let word = shown(word, QUOTED_MAX);
    [b"ERR unknown subcommand '", word, b"'. Try ", upper.as_bytes(), b" HELP."].concat()
}

fn unknown(name: &[u8], args: &[&[u8]]) -> Vec<u8> {
    let mut quoted = Vec::new();
    for arg in args.get(1..).unwrap_or_default() {
        if quoted.len() >= QUOTED_MAX {
            break;
        }
        let arg = shown(arg, QUOTED_MAX - quoted.len());
        quoted.extend_from_slice(&[b"'", arg, b"' "].concat());
    }
    let name = shown(name, QUOTED_MAX);
    [b"ERR unknown command '", name, b"', with args beginning with: ", &quoted].concat()
}

/// What the server shows of a word: a C string of limited length.
fn shown(word: &[u8], max: usize) -> &[u8] {
    let end = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    word.get(..end.min(max)).unwrap_or_default()
}

pub(super) fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
pub(super) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
pub(super) const WRONG_TYPE: &str =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(super) const SYNTAX_ERROR: &str = "ERR syntax error";

/// The server quotes this much of an unknown command.
const QUOTED_MAX: usize = 128;
const MANY: usize = usize::MAX;

/// What a replica refuses.
const WRITES: [&str; 7] = ["del", "delex", "delifeq", "flushall", "flushdb", "set", "zadd"];
/// What reads one key, its first argument, and so can be tracked.
const READS: [&str; 5] = ["get", "hgetall", "pttl", "zcard", "zrange"];
/// What a RESP2 client that listens may do.
const EARS_MAY: [&str; 3] = ["ping", "subscribe", "unsubscribe"];
const ALL_EARS: &str = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
     in this context";

/// Every command, exactly as far as the engine, its tests and their assertions need them.
static COMMANDS: [Spec; 40] = [
    Spec { name: "auth", words: (2, MANY), data: false, run: connection::auth },
    Spec { name: "client", words: (2, MANY), data: false, run: container },
    Spec { name: "client|caching", words: (3, 3), data: false, run: connection::caching },
    Spec { name: "client|id", words: (2, 2), data: false, run: connection::id },
    Spec { name: "client|info", words: (2, 2), data: false, run: connection::info },
    Spec { name: "client|kill", words: (3, MANY), data: false, run: connection::kill },
    Spec { name: "client|no-evict", words: (3, 3), data: false, run: connection::no_evict },
    Spec { name: "client|setname", words: (3, 3), data: false, run: connection::set_name },
    Spec { name: "client|tracking", words: (3, MANY), data: false, run: connection::tracking },
    Spec { name: "command", words: (2, MANY), data: false, run: container },
    Spec { name: "command|info", words: (2, MANY), data: false, run: admin::command_info },
    Spec { name: "dbsize", words: (1, 1), data: false, run: admin::dbsize },
    Spec { name: "del", words: (2, MANY), data: true, run: data::del },
    Spec { name: "delex", words: (2, MANY), data: true, run: data::delex },
    Spec { name: "delifeq", words: (3, 3), data: true, run: data::delifeq },
    Spec { name: "eval", words: (3, MANY), data: true, run: data::eval },
    Spec { name: "evalsha", words: (3, MANY), data: true, run: data::evalsha },
    Spec { name: "flushall", words: (1, MANY), data: false, run: admin::flush_all },
    Spec { name: "flushdb", words: (1, MANY), data: false, run: admin::flush_db },
    Spec { name: "get", words: (2, 2), data: true, run: data::get },
    Spec { name: "hello", words: (1, MANY), data: false, run: connection::hello },
    Spec { name: "hgetall", words: (2, 2), data: true, run: data::hgetall },
    Spec { name: "info", words: (1, MANY), data: false, run: admin::info },
    Spec { name: "keys", words: (2, 2), data: false, run: admin::keys },
    Spec { name: "ping", words: (1, 2), data: false, run: connection::ping },
    Spec { name: "pttl", words: (2, 2), data: true, run: data::pttl },
    Spec { name: "publish", words: (3, 3), data: false, run: channels::publish },
    Spec { name: "role", words: (1, 1), data: false, run: admin::role },
    Spec { name: "script", words: (2, MANY), data: false, run: container },
    Spec { name: "script|exists", words: (3, MANY), data: false, run: data::script_exists },
    Spec { name: "script|flush", words: (2, MANY), data: false, run: data::script_flush },
    Spec { name: "script|load", words: (3, 3), data: false, run: data::script_load },
    Spec { name: "select", words: (2, 2), data: false, run: connection::select },
    Spec { name: "set", words: (3, MANY), data: true, run: data::set },
    Spec { name: "subscribe", words: (2, MANY), data: false, run: channels::subscribe },
    Spec { name: "time", words: (1, 1), data: false, run: admin::time },
    Spec { name: "unsubscribe", words: (1, MANY), data: false, run: channels::unsubscribe },
    Spec { name: "zadd", words: (4, MANY), data: true, run: sorted::zadd },
    Spec { name: "zcard", words: (2, 2), data: true, run: sorted::zcard },
    Spec { name: "zrange", words: (4, MANY), data: true, run: sorted::zrange },
];

/// Never runs: a container with a subcommand is looked up as that, and one without has one word
/// too few.
fn container(call: &mut Call<'_>, _args: &[&[u8]]) {
    call.reply.error(SYNTAX_ERROR);
}
