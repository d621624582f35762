//! Commands about the connection itself: login, protocol, database, client settings.

use super::command::{Call, NOT_AN_INTEGER, SYNTAX_ERROR, unknown_subcommand};
use super::options::Role;
use super::request::integer;
use super::store::DATABASES;
use super::tracking::Tracking;

pub(super) fn ping(call: &mut Call<'_>, args: &[&[u8]]) {
    let message = args.get(1).copied();
    if call.node.clients.is_all_ears(call.session.id) {
        call.reply.array(2);
        call.reply.bulk("pong");
        return call.reply.bulk(message.unwrap_or_default());
    }
    match message {
        None => call.reply.simple("PONG"),
        Some(message) => call.reply.bulk(message),
    }
}

pub(super) fn hello(call: &mut Call<'_>, args: &[&[u8]]) {
    let resp3 = match args.get(1).map(|version| integer(version)) {
        None => call.session.resp3,
        Some(Some(2)) => false,
        Some(Some(3)) => true,
        Some(Some(_)) => return call.reply.error("NOPROTO unsupported protocol version"),
        Some(None) => {
            return call.reply.error("ERR Protocol version is not an integer or out of range");
        }
    };
    let mut rest = args.get(2..).unwrap_or_default();
    while let [option, tail @ ..] = rest {
        rest = match (option.to_ascii_lowercase().as_slice(), tail) {
            (b"auth", [user, password, tail @ ..]) => {
                // At once: a wrong password comes before an error further on.
                if !log_in(call, user, password) {
                    return;
                }
                tail
            }
            (b"setname", [name, tail @ ..]) => {
                if !is_client_name(name) {
                    return call.reply.error(BAD_CLIENT_NAME);
                }
                tail
            }
            _ => {
                let text = [b"ERR Syntax error in HELLO option '", *option, b"'"].concat();
                return call.reply.error(text);
            }
        };
    }
    if !call.session.authenticated {
        return call.reply.error(HELLO_WITHOUT_AUTH);
    }
    call.session.resp3 = resp3;
    call.reply.resp3 = resp3;
    call.node.clients.update(call.session.id, |client| client.resp3 = resp3);
    answer_hello(call);
}

fn answer_hello(call: &mut Call<'_>) {
    let id = i64::try_from(call.session.id).unwrap_or(i64::MAX);
    let role = match call.node.role {
        Role::Master => "master",
        Role::Replica => "replica",
    };
    let reply = &mut call.reply;
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", VERSION)] {
        reply.bulk(name);
        reply.bulk(value);
    }
    for (name, value) in [("proto", if reply.resp3 { 3 } else { 2 }), ("id", id)] {
        reply.bulk(name);
        reply.integer(value);
    }
    for (name, value) in [("mode", "standalone"), ("role", role)] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("modules");
    reply.array(0);
}

pub(super) fn auth(call: &mut Call<'_>, args: &[&[u8]]) {
    let (user, password) = match args {
        [_, _] if call.node.options.password.is_none() => {
            return call.reply.error(AUTH_WITHOUT_PASSWORD);
        }
        [_, password] => (b"default".as_slice(), *password),
        [_, user, password] => (*user, *password),
        _ => return call.reply.error(SYNTAX_ERROR),
    };
    if log_in(call, user, password) {
        call.reply.ok();
    }
}

/// Answers the error if the credentials are wrong; an earlier login stays.
fn log_in(call: &mut Call<'_>, user: &[u8], password: &[u8]) -> bool {
    let admitted = call.node.options.admits(user, password);
    if admitted {
        call.session.authenticated = true;
    } else {
        call.reply.error("WRONGPASS invalid username-password pair or user is disabled.");
    }
    admitted
}

pub(super) fn select(call: &mut Call<'_>, args: &[&[u8]]) {
    let Some(index) = args.get(1).and_then(|index| integer(index)) else {
        return call.reply.error(NOT_AN_INTEGER);
    };
    if i32::try_from(index).is_err() {
        return call.reply.error(OUT_OF_INT_RANGE);
    }
    match usize::try_from(index).ok().filter(|index| *index < DATABASES) {
        None => call.reply.error("ERR DB index is out of range"),
        Some(db) => {
            call.session.db = db;
            call.reply.ok();
        }
    }
}

pub(super) fn id(call: &mut Call<'_>, _args: &[&[u8]]) {
    call.reply.integer(i64::try_from(call.session.id).unwrap_or(i64::MAX));
}

/// What clients read of it: which connection this is, and its two ends. Without them the node does
/// not know the command, as servers before 6.2 do not.
pub(super) fn info(call: &mut Call<'_>, args: &[&[u8]]) {
    let Some((addr, own)) = call.node.clients.ends(call.session.id) else {
        let word = args.get(1).copied().unwrap_or_default();
        return call.reply.error(unknown_subcommand("client", word));
    };
    let (id, db) = (call.session.id, call.session.db);
    let resp = if call.session.resp3 { 3 } else { 2 };
    let text = format!("id={id} addr={addr} laddr={own} db={db} resp={resp}\n");
    call.reply.verbatim(&text);
}

/// The name is checked and dropped: no command of the node shows it.
pub(super) fn set_name(call: &mut Call<'_>, args: &[&[u8]]) {
    match args.get(2).is_some_and(|name| is_client_name(name)) {
        true => call.reply.ok(),
        false => call.reply.error(BAD_CLIENT_NAME),
    }
}

pub(super) fn no_evict(call: &mut Call<'_>, args: &[&[u8]]) {
    let word = args.get(2).map(|word| word.to_ascii_lowercase());
    match word.as_deref() {
        Some(b"on" | b"off") => call.reply.ok(),
        _ => call.reply.error(SYNTAX_ERROR),
    }
}

/// `CLIENT KILL addr`, or filters `ID`, `ADDR` and `SKIPME` that must all match.
pub(super) fn kill(call: &mut Call<'_>, args: &[&[u8]]) {
    if let [_, _, addr] = args {
        return match kill_matching(call, None, Some(addr), false) {
            0 => call.reply.error("ERR No such client"),
            _ => call.reply.ok(),
        };
    }
    let (mut id, mut addr, mut skip_me) = (None, None, true);
    let mut rest = args.get(2..).unwrap_or_default();
    while let [option, tail @ ..] = rest {
        let [value, tail @ ..] = tail else { return call.reply.error(SYNTAX_ERROR) };
        let word = value.to_ascii_lowercase();
        match (option.to_ascii_lowercase().as_slice(), word.as_slice()) {
            (b"id", _) => match integer(value).and_then(|id| u64::try_from(id).ok()) {
                None | Some(0) => {
                    return call.reply.error("ERR client-id should be greater than 0");
                }
                number => id = number,
            },
            (b"addr", _) => addr = Some(*value),
            (b"skipme", b"yes") => skip_me = true,
            (b"skipme", b"no") => skip_me = false,
            _ => return call.reply.error(SYNTAX_ERROR),
        }
        rest = tail;
    }
    let killed = kill_matching(call, id, addr, skip_me);
    call.reply.count(killed);
}

fn kill_matching(
    call: &mut Call<'_>,
    id: Option<u64>,
    addr: Option<&[u8]>,
    skip_me: bool,
) -> usize {
    let me = call.session.id;
    let before = call.node.clients.len();
    call.node.clients.retain(|client, client_addr| {
        let named = id.is_none_or(|id| id == client)
            && addr.is_none_or(|addr| addr == client_addr.as_bytes());
        !named || (skip_me && client == me)
    });
    before - call.node.clients.len()
}

/// Whether the next command's reads are tracked, where that is asked for one by one.
pub(super) fn caching(call: &mut Call<'_>, args: &[&[u8]]) {
    let tracking = call.session.tracking;
    if !tracking.on {
        return call.reply.error(CACHING_WITHOUT_TRACKING);
    }
    let word = args.get(2).map(|word| word.to_ascii_lowercase());
    match word.as_deref() {
        Some(b"yes") if !tracking.opt_in => call.reply.error(CACHING_YES_WITHOUT_OPTIN),
        Some(b"no") if !tracking.opt_out => call.reply.error(CACHING_NO_WITHOUT_OPTOUT),
        Some(b"yes" | b"no") => {
            call.session.caching = true;
            call.reply.ok();
        }
        _ => call.reply.error(SYNTAX_ERROR),
    }
}

pub(super) fn tracking(call: &mut Call<'_>, args: &[&[u8]]) {
    match tracking_asked_for(call, args) {
        Err(text) => call.reply.error(text),
        Ok(tracking) => {
            call.session.tracking = tracking;
            call.node.clients.update(call.session.id, |client| client.tracking = tracking);
            call.reply.ok();
        }
    }
}

fn tracking_asked_for(call: &Call<'_>, args: &[&[u8]]) -> Result<Tracking, &'static str> {
    let now = call.session.tracking;
    let mut asked = Tracking::default();
    let mut prefixes = 0_usize;
    let mut rest = args.get(3..).unwrap_or_default();
    while let [option, tail @ ..] = rest {
        rest = match (option.to_ascii_lowercase().as_slice(), tail) {
            (b"redirect", [id, tail @ ..]) => {
                let id = integer(id).ok_or(NOT_AN_INTEGER)?;
                let known = u64::try_from(id).is_ok_and(|id| call.node.clients.is_open(id));
                known
                    .then_some(tail)
                    .ok_or("ERR The client ID you want redirect to does not exist")?
            }
            (b"bcast", _) => {
                asked.broadcast = true;
                tail
            }
            (b"optin", _) => {
                asked.opt_in = true;
                tail
            }
            (b"optout", _) => {
                asked.opt_out = true;
                tail
            }
            (b"noloop", _) => {
                asked.no_loop = true;
                tail
            }
            (b"prefix", [_, tail @ ..]) => {
                prefixes += 1;
                tail
            }
            _ => return Err(SYNTAX_ERROR),
        };
    }
    let word = args.get(2).map(|word| word.to_ascii_lowercase());
    match word.as_deref() {
        Some(b"on") => {}
        Some(b"off") => return Ok(Tracking::default()),
        _ => return Err(SYNTAX_ERROR),
    }
    if prefixes > 0 && !asked.broadcast {
        return Err("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if now.on && now.broadcast != asked.broadcast {
        return Err(TRACKING_MODE_CHANGE);
    }
    if asked.broadcast && (asked.opt_in || asked.opt_out) {
        return Err("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if asked.opt_in && asked.opt_out {
        return Err("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if (asked.opt_in && now.opt_out) || (asked.opt_out && now.opt_in) {
        return Err(TRACKING_OPT_CHANGE);
    }
    Ok(Tracking { on: true, ..asked })
}

fn is_client_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// The server that the node answers like.
pub(super) const VERSION: &str = "7.0.15";

const BAD_CLIENT_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
const HELLO_WITHOUT_AUTH: &str = "NOAUTH HELLO must be called with the client already \
     authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the \
     client and select the RESP protocol version at the same time";
const AUTH_WITHOUT_PASSWORD: &str = "ERR AUTH <password> called without any password configured \
     for the default user. Are you sure your configuration is correct?";
const OUT_OF_INT_RANGE: &str =
    "ERR value is out of range, value must between -2147483648 and 2147483647";
const CACHING_WITHOUT_TRACKING: &str = "ERR CLIENT CACHING can be called only when the client is \
     in tracking mode with OPTIN or OPTOUT mode enabled";
const CACHING_YES_WITHOUT_OPTIN: &str =
    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
const CACHING_NO_WITHOUT_OPTOUT: &str =
    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
const TRACKING_MODE_CHANGE: &str = "ERR You can't switch BCAST mode on/off before disabling \
     tracking for this client, and then re-enabling it with a different mode.";
const TRACKING_OPT_CHANGE: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling \
     tracking for this client, and then re-enabling it with a different mode.";
