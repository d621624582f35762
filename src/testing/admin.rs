//! Commands about the server: what it is, what it holds, and emptying it.

use std::fmt::Write;

use super::command::{Call, SYNTAX_ERROR, find};
use super::connection::VERSION;
use super::core::NodeCore;
use super::options::Role;

pub(super) fn dbsize(call: &mut Call<'_>, _args: &[&[u8]]) {
    let now_ms = call.node.now_ms();
    let len = call.node.store.len(call.session.db, now_ms);
    call.reply.count(len);
}

/// `KEYS *`, sorted; the node has no other pattern.
pub(super) fn keys(call: &mut Call<'_>, args: &[&[u8]]) {
    if args.get(1) != Some(&b"*".as_slice()) {
        return call.reply.error("ERR the test node has no pattern but *");
    }
    let now_ms = call.node.now_ms();
    let keys = call.node.store.keys(call.session.db, now_ms);
    call.reply.array(keys.len());
    for key in keys {
        call.reply.bulk(key);
    }
}

pub(super) fn flush_db(call: &mut Call<'_>, args: &[&[u8]]) {
    if is_flush(call, args) {
        call.node.store.clear(call.session.db);
        call.node.announce_flush();
        call.reply.ok();
    }
}

pub(super) fn flush_all(call: &mut Call<'_>, args: &[&[u8]]) {
    if is_flush(call, args) {
        call.node.flush();
        call.reply.ok();
    }
}

fn is_flush(call: &mut Call<'_>, args: &[&[u8]]) -> bool {
    let mode = args.get(1).map(|mode| mode.to_ascii_lowercase());
    let understood = args.len() <= 2 && matches!(mode.as_deref(), None | Some(b"sync" | b"async"));
    if !understood {
        call.reply.error(SYNTAX_ERROR);
    }
    understood
}

pub(super) fn time(call: &mut Call<'_>, _args: &[&[u8]]) {
    let now_us = call.node.options.clock.now_us();
    call.reply.array(2);
    for part in [now_us.div_euclid(1_000_000), now_us.rem_euclid(1_000_000)] {
        call.reply.bulk(itoa::Buffer::new().format(part));
    }
}

pub(super) fn role(call: &mut Call<'_>, _args: &[&[u8]]) {
    if call.node.role == Role::Master {
        call.reply.array(3);
        call.reply.bulk("master");
        call.reply.integer(0);
        return call.reply.array(0);
    }
    call.reply.array(5);
    call.reply.bulk("slave");
    call.reply.bulk(MASTER_HOST);
    call.reply.integer(MASTER_PORT);
    call.reply.bulk("connect");
    call.reply.integer(-1);
}

/// Null for a command that the node does not have; else an entry of the server's shape that holds
/// the name alone. Which commands exist is all that clients ask this for.
pub(super) fn command_info(call: &mut Call<'_>, args: &[&[u8]]) {
    let names = args.get(2..).unwrap_or_default();
    call.reply.array(names.len());
    for name in names {
        let Some(spec) = find(call.node, name) else {
            call.reply.null();
            continue;
        };
        call.reply.array(10);
        call.reply.bulk(spec.name);
        call.reply.integer(-1);
        call.reply.set(0);
        for _key_position in 0..3 {
            call.reply.integer(0);
        }
        for _flag_set in 0..4 {
            call.reply.set(0);
        }
    }
}

pub(super) fn info(call: &mut Call<'_>, args: &[&[u8]]) {
    let asked: Vec<Vec<u8>> =
        args.get(1..).unwrap_or_default().iter().map(|name| name.to_ascii_lowercase()).collect();
    let everything = asked.is_empty()
        || asked.iter().any(|name| matches!(&**name, b"all" | b"default" | b"everything"));
    let mut text = String::new();
    for (title, fields) in SECTIONS {
        if everything || asked.iter().any(|name| title.as_bytes().eq_ignore_ascii_case(name)) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{gap}# {title}\r\n");
            fields(call.node, &mut text);
        }
    }
    call.reply.verbatim(&text);
}

type Fields = fn(&mut NodeCore, &mut String);

/// The fields that lock clients read, under the server's names.
const SECTIONS: [(&str, Fields); 7] = [
    ("Server", server_fields),
    ("Clients", |node, text| field(text, "connected_clients", node.clients.len())),
    ("Memory", memory_fields),
    ("Persistence", |_, text| field(text, "loading", 0)),
    ("Stats", |node, text| {
        field(text, "total_commands_processed", node.counts.values().sum::<u64>());
    }),
    ("Replication", replication_fields),
    ("Keyspace", keyspace_fields),
];

fn server_fields(node: &mut NodeCore, text: &mut String) {
    let now_us = node.options.clock.now_us();
    let uptime_s = now_us.saturating_sub(node.started_us).max(0) / 1_000_000;
    field(text, "redis_version", VERSION);
    field(text, "redis_mode", "standalone");
    field(text, "redlatch_test_node", env!("CARGO_PKG_VERSION"));
    field(text, "process_id", std::process::id());
    field(text, "run_id", node.run_id());
    field(text, "tcp_port", node.port);
    field(text, "server_time_usec", now_us);
    field(text, "uptime_in_seconds", uptime_s);
    field(text, "hz", 10);
}

fn memory_fields(node: &mut NodeCore, text: &mut String) {
    field(text, "used_memory", node.store.used_bytes());
    field(text, "maxmemory", node.options.max_memory);
    field(text, "maxmemory_policy", &node.options.max_memory_policy);
}

fn replication_fields(node: &mut NodeCore, text: &mut String) {
    if node.role == Role::Replica {
        field(text, "role", "slave");
        field(text, "master_host", MASTER_HOST);
        field(text, "master_port", MASTER_PORT);
        field(text, "master_link_status", "down");
        field(text, "slave_read_only", 1);
    } else {
        field(text, "role", "master");
    }
    let earlier = node.replid_before();
    field(text, "connected_slaves", 0);
    field(text, "master_replid", node.replid());
    field(text, "second_repl_offset", if earlier.is_some() { 1 } else { -1 });
    field(text, "master_replid2", earlier.unwrap_or_else(|| "0".repeat(40)));
}

fn keyspace_fields(node: &mut NodeCore, text: &mut String) {
    let now_ms = node.now_ms();
    let mut totals = std::collections::BTreeMap::<usize, (u64, u64)>::new();
    for (db, _, entry) in node.store.entries(now_ms) {
        let (keys, expiring) = totals.entry(db).or_default();
        *keys += 1;
        *expiring += u64::from(entry.deadline_ms.is_some());
    }
    for (db, (keys, expiring)) in totals {
        field(text, &format!("db{db}"), format!("keys={keys},expires={expiring},avg_ttl=0"));
    }
}

fn field(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

/// Where a replica's master would be: nothing listens there.
const MASTER_HOST: &str = "127.0.0.1";
const MASTER_PORT: i64 = 1;
