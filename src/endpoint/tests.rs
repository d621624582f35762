//! Tests of the grammar: tables of what is accepted and refused, and properties over any text.

use proptest::prelude::*;

use super::*;

fn parsed(address: &str) -> Endpoint {
    address.parse().unwrap_or_else(|error| panic!("{address}: {error}"))
}

fn refused(address: &str) -> EndpointError {
    match address.parse::<Endpoint>() {
        Ok(endpoint) => panic!("{address} was accepted as {endpoint}"),
        Err(error) => error,
    }
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

fn unix(path: &str) -> Address {
    Address::Unix { path: PathBuf::from(path) }
}

#[test]
fn every_form_of_a_place_is_accepted() {
    for (address, expected) in [
        ("redis://node-1.example:7000", tcp("node-1.example", 7000)),
        ("redis://node", tcp("node", 6379)),
        ("REDIS://Node:1/", tcp("node", 1)),
        ("redis://10.0.0.1:65535", tcp("10.0.0.1", 65535)),
        ("redis://[::1]:7000", tcp("::1", 7000)),
        ("redis://[0:0::2]", tcp("::2", 6379)),
        ("node", tcp("node", 6379)),
        ("redis:6380", tcp("redis", 6380)),
        ("[fe80::1]:7000", tcp("fe80::1", 7000)),
        ("unix:///run/redis.sock", unix("/run/redis.sock")),
        ("redis+unix:///run/redis@6379.sock", unix("/run/redis@6379.sock")),
        ("unix:///run/a%20b%23.sock?db=1", unix("/run/a b#.sock")),
    ] {
        assert_eq!(parsed(address).transport(), &expected, "{address}");
    }
}

#[test]
fn user_and_password_are_taken_apart_and_unescaped() {
    for (address, username, password) in [
        ("redis://ada:s3cret@node", Some("ada"), "s3cret"),
        ("redis://:s3cret@node", None, "s3cret"),
        ("redis://ada@node", Some("ada"), ""),
        ("redis://ada:p%40%2F%3A%25:x@node", Some("ada"), "p@/:%:x"),
        ("redis://a:p@ss@node", Some("a"), "p@ss"),
        ("redis://%C3%A9:%f0%9f%94%92@node", Some("é"), "🔒"),
        ("unix://ada:s3cret@/run/redis.sock", Some("ada"), "s3cret"),
    ] {
        let endpoint = parsed(address);
        let credentials = endpoint.credentials().expect(address);
        assert_eq!(credentials.username.as_deref(), username, "{address}");
        assert_eq!(credentials.password.expose(), password, "{address}");
    }
    for address in ["redis://@node", "redis://:@node", "unix://@/run/redis.sock", "node"] {
        assert_eq!(parsed(address).credentials(), None, "{address}");
    }
}

#[test]
fn database_protocol_and_client_name_are_read() {
    let endpoint = parsed("redis://node/3?client_name=a%2Fb&protocol=2");
    assert_eq!(endpoint.database(), 3);
    assert_eq!(endpoint.protocol(), Some(Protocol::Resp2));
    assert_eq!(endpoint.client_name(), Some("a/b"));
    assert_eq!(parsed("redis://node?db=2147483646").database(), 2_147_483_646);
    assert_eq!(parsed("unix:///s?db=7&protocol=3").database(), 7);
    assert_eq!(parsed("unix:///s?db=7&protocol=3").protocol(), Some(Protocol::Resp3));
    let plain = parsed("node");
    assert_eq!((plain.database(), plain.protocol(), plain.client_name()), (0, None, None));
}

#[test]
fn every_mistake_is_refused_by_its_own_name() {
    use EndpointError as E;
    type Mistake = (fn(String) -> E, &'static [&'static str]);
    let table: &[Mistake] = &[
        (E::ControlCharacter, &["redis://no de", " node", "node\n", "redis://n/\u{85}", "a\0"]),
        (E::UnknownScheme, &["http://node", "://node"]),
        (E::TlsUnsupported, &["rediss://node", "REDISS://a:b@node"]),
        (E::SentinelUnsupported, &["redis+sentinel://node/main", "redis-sentinel://n"]),
        (E::SchemeMissing, &["node/1", "a:b@node", "/run/redis.sock", "node?db=1", "a#b"]),
        (
            E::UnescapedUserInfo,
            &[
                "redis://a:b/c@node",
                "redis://a:b?c@node",
                "redis://a#b@n",
                "unix://a:b/c@/run/s",
                "unix://a:b@/c@/run/s",
            ],
        ),
        (
            E::BadEscape,
            &[
                "redis://a%@n",
                "redis://a:%4@n",
                "redis://a:%zz@n",
                "redis://%ff@n",
                "unix:///a%",
                "redis://n?client_name=%",
            ],
        ),
        (
            E::Host,
            &[
                "redis://",
                "redis://:7000",
                "redis://a:b@",
                "redis:///1",
                "redis://[::1",
                "redis://[1]",
                "redis://[::1]7",
                "redis://[fe80::1%25eth0]",
                "redis://é",
                ":1",
                "redis://a,b",
                "redis://://x",
                "redis://a%20b",
            ],
        ),
        (E::BracketsMissing, &["::1", "redis://fe80::1:6379", "a:1:2"]),
        (
            E::Port,
            &[
                "n:0",
                "n:65536",
                "n:",
                "n:+1",
                "n:x",
                "redis://n:99999999999",
                "redis://[::1]:0",
                "redis://u:p@n:-1",
            ],
        ),
        (
            E::Database,
            &[
                "redis://n/x",
                "redis://n/1/2",
                "redis://n/-1",
                "redis://n/+1",
                "redis://n/2147483647",
                "redis://n/1#x",
                "redis://n?db=",
                "redis://n?db",
                "redis://n#x",
                "unix:///s?db=x",
            ],
        ),
        (
            E::SocketPath,
            &[
                "unix://",
                "unix:///",
                "unix://run/s",
                "unix://a:b@",
                "unix:///a%00",
                "unix:///a#b",
                "unix://?db=1",
            ],
        ),
        (
            E::UnknownParameter,
            &["redis://n?x=1", "redis://n?", "redis://n?db=1&", "redis://n?DB=1"],
        ),
        (
            E::DuplicateParameter,
            &[
                "redis://n?db=1&db=1",
                "redis://n/1?db=1",
                "redis://n?protocol=2&protocol=3",
                "unix:///s?client_name=a&client_name=a",
            ],
        ),
        (E::Protocol, &["redis://n?protocol=1", "redis://n?protocol=", "redis://n?protocol=03"]),
        (
            E::ClientName,
            &[
                "redis://n?client_name=",
                "redis://n?client_name=a%20b",
                "redis://n?client_name=%C3%A9",
            ],
        ),
    ];
    for (expected, addresses) in table {
        for address in *addresses {
            assert_eq!(refused(address), expected(text::masked(address)), "{address:?}");
        }
    }
}

#[test]
fn the_bounds_of_lengths_are_exact() {
    assert_eq!(refused(""), EndpointError::Empty);
    assert_eq!(refused(&"a".repeat(4097)), EndpointError::TooLong(4097));
    let long_password = format!("redis://:{}@n", "a".repeat(4096 - 11));
    assert_eq!(long_password.len(), 4096);
    assert!(parsed(&long_password).credentials().is_some());
    assert!(matches!(refused(&"a".repeat(254)), EndpointError::Host(_)));
    assert_eq!(parsed(&"a".repeat(253)).transport(), &tcp(&"a".repeat(253), 6379));
    let path = format!("/{}", "s".repeat(106));
    assert_eq!(parsed(&format!("unix://{path}")).transport(), &unix(&path));
    assert!(matches!(refused(&format!("unix://{path}s")), EndpointError::SocketPath(_)));
    let name = "c".repeat(128);
    assert!(parsed(&format!("redis://n?client_name={name}")).client_name().is_some());
    let error = refused(&format!("redis://n?client_name={name}c"));
    assert!(matches!(error, EndpointError::ClientName(_)));
}

#[test]
fn display_is_canonical_and_hides_the_password() {
    for (address, shown) in [
        ("node", "redis://node:6379"),
        ("REDIS://ada:s3cret@Node:7000/0", "redis://ada:***@node:7000"),
        ("redis://:s3cret@[0::1]/4", "redis://:***@[::1]:6379/4"),
        ("redis+unix://a%3A:s3cret@/run/a%20b?db=2", "unix://a%3A:***@/run/a%20b?db=2"),
        ("redis://n/1?client_name=x%26&protocol=3", "redis://n:6379/1?protocol=3&client_name=x%26"),
        ("unix:///s?client_name=x&protocol=2&db=1", "unix:///s?db=1&protocol=2&client_name=x"),
    ] {
        let endpoint = parsed(address);
        assert_eq!(endpoint.to_string(), shown);
        assert_eq!(format!("{endpoint:?}"), format!("Endpoint({shown})"));
    }
}

#[test]
fn errors_name_the_address_without_its_password() {
    for address in [
        "redis://ada:s3cret@node:0",
        "redis://ada:s3cret",
        "redis://ada:s3cret/x",
        "redis://ada:x/s3cret",
        "redis://:s3cret",
        "ada:s3cret@node",
        "ada:s3cret",
        "redis:/ada:s3cret@node",
        "redis://ada:x/s3cret@node",
        "redis://ada:x@s3cret@node:0",
        "redis://ada:x?s3cret@node",
        "redis://node?password=s3cret",
        "redis://node?s3cret",
        "ftp://ada:s3cret@node",
        "rediss://ada:s3cret@node",
        "a b://ada:s3cret@node",
        "ada:s3cret://x@node",
        "unix://ada:s3cret@run/s",
        "unix:///ada:s3cret@/run/s?x=1",
        "redis://[::1]:s3cret",
        "redis://ada:%zzs3cret@node",
    ] {
        let error = refused(address);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{address}: {shown}");
        assert!(shown.contains("***"), "{address}: {shown}");
    }
    let error = refused("redis://ada:s3cret@node:65536/1").to_string();
    let expected = "`redis://ada:***@node:65536/1` has no valid port; a number from 1 to 65535 is \
        accepted";
    assert_eq!(error, expected);
    assert!(refused("node:65536").to_string().starts_with("`node:65536`"));
    assert!(refused("unix:///run/r@1.sock?x=1").to_string().starts_with("`unix:///run/r@1.sock?"));
    assert!(refused("no\u{1b}[1mde").to_string().starts_with("`no\\u{1b}[1mde`"));
    assert!(refused(&"/".repeat(4000)).to_string().len() < 400);
}

#[test]
fn the_same_server_is_seen_through_user_database_and_default_port() {
    let same = |a: &str, b: &str| parsed(a).same_server(&parsed(b));
    assert!(same("redis://ada:x@Node/1", "node:6379"));
    assert!(same("redis://[0:0::1]:1", "[::1]:1"));
    assert!(same("unix:///run//s?db=1", "unix://a:b@/run/s"));
    assert!(!same("node:6379", "node:6380"));
    assert!(!same("node-a", "node-b"));
    assert!(!same("unix:///run/a", "unix:///run/b"));
    assert!(!same("unix:///run/a", "run"));
}

#[test]
fn every_text_type_converts_alike() {
    let owned = String::from("node:7000");
    let expected = parsed("node:7000");
    assert_eq!(Endpoint::try_from("node:7000"), Ok(expected.clone()));
    assert_eq!(Endpoint::try_from(&owned), Ok(expected.clone()));
    assert_eq!(Endpoint::try_from(owned), Ok(expected));
    fn takes<E: Into<EndpointError>>(node: impl TryInto<Endpoint, Error = E>) -> bool {
        node.try_into().map_err(Into::<EndpointError>::into).is_ok()
    }
    assert!(takes(parsed("node")) && takes("node") && !takes(""));
}

/// Texts near the grammar: far more of them parse, or nearly, than of arbitrary ones.
fn near_addresses() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("redis://"),
        Just("unix://"),
        Just("rediss://"),
        Just("://"),
        Just("@"),
        Just(":"),
        Just("/"),
        Just("?"),
        Just("&"),
        Just("#"),
        Just("%"),
        Just("%41"),
        Just("%f"),
        Just("["),
        Just("]"),
        Just("::1"),
        Just("db="),
        Just("protocol="),
        Just("client_name="),
        Just("0"),
        Just("1"),
        Just("65536"),
        Just("node"),
        Just("é"),
        Just("\u{202e}"),
        Just("="),
        Just("."),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(address in prop_oneof![any::<String>(), near_addresses()]) {
        match address.parse::<Endpoint>() {
            Ok(endpoint) => {
                let shown = endpoint.to_string();
                prop_assert!(shown.bytes().all(|b| b.is_ascii_graphic()), "{shown}");
                if endpoint.credentials().is_none() {
                    prop_assert_eq!(shown.parse::<Endpoint>(), Ok(endpoint));
                }
            }
            Err(error) => {
                let shown = error.to_string();
                prop_assert!(shown.bytes().all(|b| (b' '..=b'~').contains(&b)), "{shown}");
            }
        }
    }

    #[test]
    fn nothing_shown_depends_on_the_password(
        user in "[a-z]{0,6}",
        password in "\\PC{1,40}",
        tail in prop::sample::select(&["", "/3", ":0", "/x", "?x=1", "/a@b"][..]),
        is_unix in any::<bool>(),
        is_escaped in any::<bool>(),
    ) {
        let password = if is_escaped { text::Escaped(&password).to_string() } else { password };
        let address = |password: &str| match is_unix {
            true => format!("unix://{user}:{password}@/run/s{tail}"),
            false => format!("redis://{user}:{password}@node{tail}"),
        };
        let shown = |password: &str| match address(password).parse::<Endpoint>() {
            Ok(endpoint) => format!("{endpoint} {endpoint:?}"),
            Err(error) => error.to_string().split('`').nth(1).unwrap_or_default().to_owned(),
        };
        let (mine, other) = (shown(&password), shown("other"));
        let is_same_outcome = address(&password).parse::<Endpoint>().is_ok()
            == address("other").parse::<Endpoint>().is_ok();
        if is_same_outcome {
            prop_assert_eq!(mine, other);
        } else {
            let masked = format!("{user}:***@");
            prop_assert!(mine.contains(&masked), "{mine}");
        }
    }

    #[test]
    fn an_escaped_password_arrives_whole(user in any::<String>(), password in any::<String>()) {
        let address = format!(
            "redis://{}:{}@node", text::Escaped(&user), text::Escaped(&password)
        );
        prop_assume!(address.len() <= parse::BYTES_MAX);
        let endpoint = parsed(&address);
        match endpoint.credentials() {
            Some(credentials) => {
                prop_assert_eq!(credentials.username.as_deref().unwrap_or_default(), &user);
                prop_assert_eq!(credentials.password.expose(), &password);
            }
            None => prop_assert!(user.is_empty() && password.is_empty()),
        }
    }
}
