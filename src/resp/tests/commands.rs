//! Every encoder against what `redis_protocol` reads from its bytes.

use proptest::prelude::*;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::*;
use crate::resp::command;

/// The parts of the one command in `wire`.
fn parts(wire: &[u8]) -> Vec<Vec<u8>> {
    let (frame, len) = decode(wire).unwrap().unwrap();
    assert_eq!(len, wire.len(), "{}", wire.escape_ascii());
    let OwnedFrame::Array(items) = frame else { panic!("a command is an array") };
    let parts = items.into_iter().map(|item| match item {
        OwnedFrame::BulkString(bytes) => bytes,
        other => panic!("a command has bulk strings only: {other:?}"),
    });
    parts.collect()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    write(&mut out);
    parts(&out)
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn fixed_commands_are_what_they_say() {
    assert_eq!(written(command::client_tracking), words("CLIENT TRACKING ON OPTIN NOLOOP"));
    assert_eq!(written(command::client_caching), words("CLIENT CACHING YES"));
    assert_eq!(written(|out| command::client_kill_id(out, 17)), words("CLIENT KILL ID 17"));
    let sha = "6a21a8644cd1f7ec9ffaa3b999cdf7ccd9435211";
    let mut seal = Vec::new();
    command::seal(&mut seal, "e", sha);
    let exists = format!("*3\r\n$6\r\nSCRIPT\r\n$6\r\nEXISTS\r\n$40\r\n{sha}\r\n");
    assert_eq!(seal, [b"*2\r\n$3\r\nGET\r\n$1\r\ne\r\n", exists.as_bytes()].concat());
    let (keys, args) = ([b"k".as_slice(), b"l"], [b"a".as_slice()]);
    assert_eq!(
        written(|out| command::evalsha(out, sha, &keys, &args)),
        words(&format!("EVALSHA {sha} 2 k l a"))
    );
    assert_eq!(
        written(|out| command::eval(out, "return", &keys, &args)),
        words("EVAL return 2 k l a")
    );
    assert_eq!(written(command::client_id), words("CLIENT ID"));
    assert_eq!(written(command::client_no_evict), words("CLIENT NO-EVICT ON"));
    assert_eq!(written(|out| command::select(out, u32::MAX)), words("SELECT 4294967295"));
    assert_eq!(written(|out| command::info(out, "server")), words("INFO server"));
    assert_eq!(written(|out| command::client_setname(out, "me")), words("CLIENT SETNAME me"));
    assert_eq!(
        written(|out| command::client_setinfo(out, "LIB-VER", "1")),
        words("CLIENT SETINFO LIB-VER 1")
    );
    assert_eq!(
        written(|out| command::command_info(out, &["delifeq", "delex"])),
        words("COMMAND INFO delifeq delex")
    );
    assert_eq!(written(|out| command::script_load(out, "body")), words("SCRIPT LOAD body"));
    assert_eq!(written(|out| command::auth(out, None, "pw")), words("AUTH pw"));
    assert_eq!(written(|out| command::auth(out, Some("me"), "pw")), words("AUTH me pw"));
}

#[test]
fn hello_has_its_options_in_order() {
    let hello = |protocol, auth, name| written(|out| command::hello(out, protocol, auth, name));
    assert_eq!(hello(Protocol::Resp3, None, None), words("HELLO 3"));
    assert_eq!(hello(Protocol::Resp2, None, Some("n")), words("HELLO 2 SETNAME n"));
    assert_eq!(
        hello(Protocol::Resp3, Some(("u", "p")), Some("n")),
        words("HELLO 3 AUTH u p SETNAME n")
    );
}

proptest! {
    #[test]
    fn lock_commands_carry_any_bytes(
        key in vec(any::<u8>(), 0..300),
        token in vec(any::<u8>(), 0..40),
        ttl_ms in any::<u64>(),
    ) {
        let ttl = ttl_ms.to_string();
        let lists = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(
            written(|out| {
                let (prefix, name) = key.split_at(key.len() / 2);
                let at = command::set_nx_px(out, [prefix, name], &token, ttl_ms);
                assert_eq!(out.get(at), Some(&key[..]), "the key is not where it is said to be");
            }),
            lists(&[b"SET", &key, &token, b"NX", b"PX", ttl.as_bytes()])
        );
        prop_assert_eq!(
            written(|out| command::delifeq(out, &key, &token)),
            lists(&[b"DELIFEQ", &key, &token])
        );
        prop_assert_eq!(
            written(|out| command::delex_ifeq(out, &key, &token)),
            lists(&[b"DELEX", &key, b"IFEQ", &token])
        );
        prop_assert_eq!(written(|out| command::get(out, &key)), lists(&[b"GET", &key]));
        prop_assert_eq!(written(|out| command::pttl(out, &key)), lists(&[b"PTTL", &key]));
    }

    #[test]
    fn scripts_get_their_keys_first(
        leases in vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20), any::<u64>()), 0..70),
    ) {
        let sha = "6a21a8644cd1f7ec9ffaa3b999cdf7ccd9435211";
        let mut head = words("EVALSHA");
        head.push(sha.into());
        head.push(leases.len().to_string().into());
        head.extend(leases.iter().map(|(key, ..)| key.clone()));
        let with = |args: Vec<Vec<u8>>| [head.clone(), args].concat();

        let tokens: Vec<_> = leases.iter().map(|(_, token, _)| token.clone()).collect();
        let frames: Vec<_> = leases
            .iter()
            .map(|(key, token, ttl_ms)| {
                let mut frame = Vec::new();
                let at = command::set_nx_px(&mut frame, [key, b""], token, *ttl_ms);
                (frame, at, token)
            })
            .collect();
        let locks = frames.iter().map(|(frame, at, token)| command::bulks_of_set(frame, at, token));
        prop_assert_eq!(written(|out| command::evalsha_tokens(out, sha, locks)), with(tokens));

        let args = leases.iter().flat_map(|(_, token, ttl_ms)| {
            [token.clone(), ttl_ms.to_string().into_bytes()]
        });
        let args: Vec<_> = args.collect();
        let lent = leases.iter().map(|(key, token, ttl_ms)| (&key[..], &token[..], *ttl_ms));
        let epoch = command::Epoch { key: b"epoch", id: b"id" };
        let wire = written(|out| command::evalsha_leases(out, sha, epoch, lent));
        let mut expected = words("EVALSHA");
        expected.push(sha.into());
        expected.push((leases.len() + 1).to_string().into());
        expected.push(b"epoch".to_vec());
        expected.extend(leases.iter().map(|(key, ..)| key.clone()));
        expected.push(b"id".to_vec());
        expected.extend(args);
        prop_assert_eq!(wire, expected);
    }
}

#[test]
fn commands_are_appended() {
    let mut out = Vec::new();
    command::get(&mut out, b"a");
    command::command(&mut out, &[b"GET", b"a\r\nb", b""]);
    assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
}
