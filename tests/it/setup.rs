//! Ways to connect, and the runtimes and threads that handles and guards may meet.

use redlatch::testing::{Options, TestNode};
use redlatch::{
    AcquireError, ConfigError, ConnectError, Guard, Lost, Mode, NodeState, Redlock, ReleaseError,
};

use crate::server::{Client, Cluster, Reply, Server};
use crate::support::{all_up, builder, connect, drained, held_everywhere, until, within};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn cycle(locks: &Redlock) {
    let guard = within(locks.acquire("r")).await.unwrap();
    within(guard.extend(std::time::Duration::from_secs(30))).await.unwrap();
    within(guard.release()).await.unwrap();
}

#[tokio::test]
async fn a_password_in_the_address_opens_the_server() {
    let cluster = Cluster::start_with(3, &["requirepass s3cr@t"]);
    let urls = cluster.iter().map(|server| format!("redis://:s3cr%40t@{}", server.addr()));
    let locks = all_up(builder(urls).connect().await.unwrap()).await;
    cycle(&locks).await;
    drained(&cluster).await;
    let shown = format!("{locks:?} {:?}", locks.nodes());
    assert!(!shown.contains("s3cr"), "{shown}");
}

/// Without one of these a lock cannot be had or kept (HELLO and AUTH are anybody's). The manual's
/// deployment page names the same.
const NEEDED: [&str; 13] = [
    "info",
    "time",
    "eval",
    "evalsha",
    "script|load",
    "script|exists",
    "set",
    "get",
    "mget",
    "del",
    "pttl",
    "pexpire",
    "select",
];
/// Without these something is slower, or told later.
const USEFUL: [&str; 8] = [
    "client|id",
    "client|info",
    "client|kill",
    "client|tracking",
    "client|caching",
    "client|setname",
    "client|no-evict",
    "command|info",
];

/// What modes need besides.
const NEEDED_BY_MODES: [&str; 8] =
    ["type", "exists", "hset", "hget", "hdel", "hgetall", "hvals", "pexpireat"];

/// A user with no more than these rights, for the keys of the prefix `lock:`.
fn permit(server: &Server, commands: &[&str]) {
    let user = ["ACL", "SETUSER", "locks", "reset", "on", ">pw", "~lock:*", "~redlatch:*"];
    let rights: Vec<String> = commands.iter().map(|command| format!("+{command}")).collect();
    let words: Vec<&str> = user.into_iter().chain(rights.iter().map(String::as_str)).collect();
    assert_eq!(server.command(&words), Reply::Simple("OK".into()));
}

fn as_user(server: &Server, database: u8) -> String {
    format!("redis://locks:pw@{}/{database}", server.addr())
}

#[tokio::test]
async fn an_acl_user_needs_no_more_than_the_locks_commands() {
    let cluster = Cluster::start(3);
    for (rights, resp2) in [
        (NEEDED.to_vec(), false),
        (NEEDED.to_vec(), true),
        ([&NEEDED[..], &USEFUL].concat(), false),
        ([&NEEDED[..], &USEFUL].concat(), true),
    ] {
        cluster.iter().for_each(|server| permit(server, &rights));
        let urls = cluster.iter().map(|server| as_user(server, 0));
        let often = std::time::Duration::from_millis(20);
        let ttl = std::time::Duration::from_secs(20);
        let mut builder = builder(urls).key_prefix("lock:").ttl(ttl).heartbeat_interval(often);
        if resp2 {
            builder = builder.resp2_only();
        }
        let locks = all_up(builder.connect().await.unwrap()).await;
        cycle(&locks).await;
        assert!(within(locks.inspect("r")).await.unwrap().holder().is_none());
        let fenced = within(locks.acquire("r").fenced()).await.unwrap();
        assert!(fenced.fencing_token().is_some());
        within(fenced.release()).await.unwrap();
        drained(&cluster).await;
        // Heartbeats and the end of an earlier connection need no more either.
        let beats = cluster[0].calls("evalsha");
        until("heartbeats", || cluster[0].calls("evalsha") > beats + 2).await;
        cluster[0].command(&["CLIENT", "KILL", "USER", "locks"]);
        until("the node to be back", || {
            locks.nodes()[0].connects == 2 && locks.nodes()[0].state == NodeState::Up
        })
        .await;
        cycle(&locks).await;
        let nodes = locks.nodes();
        assert_eq!(nodes[0].unfenced, u64::from(!rights.contains(&"client|kill")), "{nodes:?}");
        assert!(nodes.iter().all(|node| node.epochs == 1), "{nodes:?}");
        drained(&cluster).await;
    }
}

#[tokio::test]
async fn an_acl_user_needs_no_less_either() {
    let server = Server::start();
    for missing in NEEDED {
        let rights: Vec<&str> = NEEDED.into_iter().filter(|&command| command != missing).collect();
        permit(&server, &rights);
        // Database 0 needs no SELECT.
        let url = as_user(&server, u8::from(missing == "select"));
        let longer = std::time::Duration::from_secs(140);
        let builder = builder([url]).key_prefix("lock:").max_ttl(longer);
        let locks = builder.connect_lazy().unwrap();
        // The second is what a script is told.
        let texts = ["permission", "can't run this command"];
        let told = |text: &str| texts.iter().any(|part| text.contains(part));
        until(missing, || {
            let node = &locks.nodes()[0];
            let settled = matches!(node.state, NodeState::Up | NodeState::Quarantined);
            settled || node.reason.as_deref().is_some_and(told)
        })
        .await;
        if locks.nodes()[0].state != NodeState::Up {
            continue;
        }
        // It shows when the command is first needed.
        let guard = match within(locks.try_acquire("r")).await {
            Ok(guard) => guard,
            Err(error) => {
                assert!(told(&error.to_string()), "without {missing}: {error}");
                continue;
            }
        };
        let extended = within(guard.extend(longer)).await;
        let released = within(guard.release()).await;
        let errors = [extended.err().map(|e| e.to_string()), released.err().map(|e| e.to_string())];
        assert!(errors.iter().flatten().any(|text| told(text)), "without {missing}: {errors:?}");
        server.command(&["DEL", "lock:r"]);
    }
}

/// Two readers come, a writer of some part does not get in, one is lengthened, both go: what was
/// refused meanwhile, other than the writer.
async fn read(locks: &Redlock) -> Vec<String> {
    let mut errors = Vec::new();
    let mut guards = Vec::new();
    for _ in 0..2 {
        match within(locks.try_acquire("r").mode(Mode::Shared)).await {
            Ok(guard) => guards.push(guard),
            Err(error) => errors.push(error.to_string()),
        }
    }
    match within(locks.try_acquire("r").mode(Mode::IntentExclusive)).await {
        Ok(guard) => drop(guard),
        Err(error) if error.to_string().contains("can't run") => errors.push(error.to_string()),
        Err(error) => assert!(matches!(error, AcquireError::Busy { .. }), "{error}"),
    }
    for guard in guards {
        let longer = std::time::Duration::from_secs(29);
        errors.extend(within(guard.extend(longer)).await.err().map(|error| error.to_string()));
        errors.extend(within(guard.release()).await.err().map(|error| error.to_string()));
    }
    errors
}

#[tokio::test]
async fn an_acl_user_needs_these_commands_for_modes_and_no_others() {
    let server = Server::start();
    let all = [&NEEDED[..], &NEEDED_BY_MODES].concat();
    let ttl = std::time::Duration::from_secs(20);
    for missing in NEEDED_BY_MODES.map(Some).into_iter().chain([None]) {
        let rights: Vec<&str> =
            all.iter().copied().filter(|&command| Some(command) != missing).collect();
        permit(&server, &rights);
        let builder = builder([as_user(&server, 0)]).key_prefix("lock:").ttl(ttl);
        let locks = all_up(builder.connect().await.unwrap()).await;
        let errors = read(&locks).await;
        let is_told = errors.iter().any(|text| text.contains("can't run this command"));
        assert_eq!(is_told, missing.is_some(), "without {missing:?}: {errors:?}");
        assert!(missing.is_some() || errors.is_empty(), "{errors:?}");
        drop(locks);
        server.command(&["DEL", "lock:r"]);
    }
}

#[tokio::test]
async fn an_acl_user_without_the_key_gets_a_clear_error() {
    let cluster = Cluster::start(3);
    for server in &*cluster {
        let keys = ["~lock:*", "~redlatch:*", "+@all"];
        server.command(&[&["ACL", "SETUSER", "locks", "on", ">pw"][..], &keys].concat());
    }
    let urls = cluster.iter().map(|server| format!("redis://locks:pw@{}", server.addr()));
    let locks = all_up(builder(urls).connect().await.unwrap()).await;
    let error = within(locks.try_acquire("elsewhere")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    assert!(error.to_string().contains("NOPERM"), "{error}");
    assert!(cluster.iter().all(|server| server.dbsize() == 0));
    // Nor without the engine's own keys: the node is down, and says what it lacks.
    cluster[0].command(&["ACL", "SETUSER", "locks", "resetkeys", "~lock:*"]);
    cluster[0].command(&["CLIENT", "KILL", "USER", "locks"]);
    until("the refusal", || {
        let reason = locks.nodes()[0].reason.clone().unwrap_or_default();
        reason.contains("permission") && reason.contains("redlatch:")
    })
    .await;
}

#[tokio::test]
async fn a_database_in_the_address_is_selected() {
    let cluster = Cluster::start(3);
    // An epoch covers one database: each that locks are kept in is opened by itself.
    for server in &*cluster {
        let mut client = Client::connect(server.addr()).unwrap();
        client.command(&["SELECT", "3"]).unwrap();
        let words = redlatch::testing::open_node_command(std::time::Duration::ZERO);
        let words: Vec<&str> = words.iter().map(|word| str::from_utf8(word).unwrap()).collect();
        assert!(matches!(client.command(&words).unwrap(), Reply::Array(Some(_))));
    }
    let urls = cluster.iter().map(|server| format!("{}/3", server.url()));
    let locks = all_up(builder(urls).connect().await.unwrap()).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    let token = guard.token().to_hex();
    let in_third = |server: &Server| {
        let mut client = Client::connect(server.addr()).unwrap();
        client.command(&["SELECT", "3"]).unwrap();
        client.command(&["GET", "r"]).unwrap().text()
    };
    until("the key in database 3", || {
        cluster.iter().all(|server| in_third(server).as_ref() == Some(&token))
    })
    .await;
    assert!(cluster.iter().all(|server| server.dbsize() == 0), "database 0 has it");
    within(guard.release()).await.unwrap();
    until("the release", || cluster.iter().all(|server| in_third(server).is_none())).await;

    let beyond = cluster.iter().map(|server| format!("{}/99", server.url()));
    let patience = std::time::Duration::from_millis(300);
    let error = builder(beyond).connect_timeout(patience).connect().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ConnectError::NoQuorum { up: 0, .. }), "{text}");
    assert!(text.contains("refused database 99"), "{text}");
}

#[tokio::test]
async fn resp2_does_all_that_resp3_does() {
    let cluster = Cluster::start(3);
    let locks = builder(cluster.urls()).resp2_only().connect().await.unwrap();
    let locks = all_up(locks).await;
    let by_address = cluster.iter().map(|server| format!("{}?protocol=2", server.url()));
    let by_address = all_up(builder(by_address).connect().await.unwrap()).await;
    for locks in [locks, by_address] {
        let described = locks.nodes()[0].server.clone().unwrap();
        assert!(described.contains("RESP2"), "{described}");
        cycle(&locks).await;
        let guard = within(locks.acquire("r")).await.unwrap();
        held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
        let error = within(connect(&cluster).await.try_acquire("r")).await.unwrap_err();
        assert!(matches!(error, AcquireError::Busy { .. }), "{error}");
        let inspection = within(locks.inspect("r")).await.unwrap();
        assert_eq!(inspection.holder(), Some(guard.token().as_bytes().as_slice()));
        drop(guard);
        drained(&cluster).await;
    }
    assert_eq!(cluster[0].calls("hello"), 2, "only the comparing clients say HELLO");
}

#[tokio::test]
async fn the_servers_see_our_name() {
    let cluster = Cluster::start(1);
    let _locks = builder(cluster.urls()).client_name("billing").connect().await.unwrap();
    let list = cluster[0].command(&["CLIENT", "LIST"]).text().unwrap();
    assert!(list.contains("name=billing"), "{list}");
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let error = Redlock::builder().node("redis://127.0.0.1:1").connect_lazy().unwrap_err();
    assert!(matches!(error, ConfigError::NoRuntime), "{error}");
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[test]
fn a_guard_may_end_on_another_thread_and_runtime() {
    let cluster = Cluster::start(3);
    let home = runtime();
    let locks = home.block_on(connect(&cluster));
    let take = || home.block_on(async { within(locks.acquire("r")).await.unwrap() });

    let guard = take();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    home.block_on(drained(&cluster));

    let guard = take();
    let elsewhere = runtime();
    elsewhere.block_on(async {
        assert!(guard.is_valid());
        within(guard.extend(std::time::Duration::from_secs(30))).await.unwrap();
        within(guard.release()).await.unwrap();
        // The handle works there as well.
        within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
        drop(within(locks.acquire("other")).await.unwrap());
        drained(&cluster).await;
    });
    drop(elsewhere);
    home.block_on(cycle(&locks));
}

#[test]
fn when_the_runtime_is_gone_everything_ends_and_nothing_hangs() {
    let cluster = Cluster::start(3);
    let home = runtime();
    let locks = home.block_on(connect(&cluster));
    let take = |name: &str| home.block_on(async { within(locks.acquire(name)).await.unwrap() });
    let (dropped, released, extended) = (take("dropped"), take("released"), take("extended"));
    let lost = extended.lost();
    let elsewhere = runtime();
    for server in &*cluster {
        server.command(&["SET", "foreign", "x", "PX", "60000"]);
    }
    let waiter = elsewhere.spawn({
        let locks = locks.clone();
        async move { locks.acquire("extended").await.map(drop) }
    });
    let pausing = elsewhere.spawn({
        let locks = locks.clone();
        // Another owner's key: attempts and pauses in turn.
        async move { locks.acquire("foreign").await.map(drop) }
    });
    elsewhere.block_on(until("a queued caller", || locks.stats().waiting == 1));
    drop(home);
    drop(dropped);
    elsewhere.block_on(async {
        let error = within(released.release()).await.unwrap_err();
        assert!(matches!(&error, ReleaseError::Unconfirmed { .. }), "{error}");
        let error = within(extended.extend(std::time::Duration::from_secs(60))).await;
        assert!(error.is_err());
        assert_eq!(within(lost).await, Lost::Closed);
        for task in [waiter, pausing] {
            let outcome = within(task).await.unwrap();
            assert!(matches!(outcome, Err(AcquireError::Closed)), "{outcome:?}");
        }
        let error = within(locks.acquire("later")).await.map(Guard::into_lease).unwrap_err();
        assert!(matches!(&error, AcquireError::Closed), "{error}");
        assert!(within(locks.inspect("r")).await.is_err());
        within(locks.close()).await;
    });
    drop(extended);
    let left = cluster[0].pttl("released");
    assert!(left > 0, "a key that nobody can release ends by its ttl, {left} ms left");
}

/// Rights that leave the native release out: the script does the same work from then on.
#[tokio::test]
async fn a_native_release_that_is_forbidden_is_done_by_the_script() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = TestNode::start_with(listener, Options::new().delifeq(true));
    let locks = all_up(builder([node.url()]).connect().await.unwrap()).await;
    let guard = within(locks.acquire("r")).await.unwrap();
    let count = |name: &str| node.commands().get(name).copied().unwrap_or_default();
    node.fail_next(1, "NOPERM this user has no permissions to run the 'delifeq' command");
    within(guard.release()).await.unwrap();
    assert!(node.snapshot().is_empty());
    assert_eq!(count("delifeq"), 1);
    let scripts = count("evalsha");
    let guard = within(locks.acquire("r")).await.unwrap();
    within(guard.release()).await.unwrap();
    assert_eq!(count("delifeq"), 1, "asked once for each connection");
    assert!(count("evalsha") > scripts);
}
