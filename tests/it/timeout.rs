//! Time running out: ttls, waits, deadlines, answers that come too late; and input that is refused
//! before anything is sent.

use std::time::Duration;

use redlatch::{
    AcquireError, ConfigError, ConnectError, InspectError, NodeState, Redlock, Renewal, Retry,
    Verdict,
};

use crate::server::Cluster;
use crate::support::{
    all_up, builder, connect, drained, emptied, ms, since_boot, test_nodes, until, urls, within,
};

#[tokio::test]
async fn the_lock_of_a_dead_holder_ends_by_its_ttl() {
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    // What a process leaves behind that died with a lock.
    for server in &*cluster {
        server.command(&["SET", "r", "of-the-dead", "NX", "PX", "700"]);
    }
    let began = since_boot();
    let error = within(locks.try_acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    let guard = within(locks.acquire("r").wait_for(Duration::from_secs(15))).await.unwrap();
    assert!(guard.report().contended && guard.report().attempts > 1);
    println!("granted {:?} after the holder's death, ttl 700 ms", since_boot() - began);
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn a_wait_ends_when_it_was_told_to() {
    let names = ["r", "s", "t", "u"];
    let cluster = Cluster::start(3);
    let locks = connect(&cluster).await;
    for (server, name) in cluster.iter().flat_map(|server| names.map(|name| (server, name))) {
        server.command(&["SET", name, "other", "PX", "60000"]);
    }
    for (wait, name) in [Duration::ZERO, ms(1), ms(50), ms(200)].into_iter().zip(names) {
        let began = since_boot();
        let error = within(locks.acquire(name).wait_for(wait)).await.unwrap_err();
        let waited = since_boot() - began;
        assert!(waited >= wait, "gave up after {waited:?} of {wait:?}");
        assert!(
            matches!(&error, AcquireError::TimedOut { .. } | AcquireError::NoQuorum { .. }),
            "{error}"
        );
        if wait >= ms(50) {
            assert!(matches!(&error, AcquireError::TimedOut { .. }), "{error}");
            // The round that the deadline cut off may have no answer yet; there were others.
            let report = error.report().unwrap();
            assert!(report.contended && report.attempts > 1, "{error}");
        }
    }
    // Known to be another's, it is waited for in line at once.
    let error = within(locks.acquire("u").wait_for(ms(200))).await.unwrap_err();
    let report = error.report().unwrap();
    assert!(report.contended && report.attempts == 1, "{error}");
    // Too long to count is as good as for ever.
    let mut endless = tokio_test(locks.acquire("r").wait_for(Duration::MAX));
    tokio::select! {
        _ = &mut endless => panic!("granted or given up"),
        () = tokio::time::sleep(ms(30)) => {}
    }
}

fn tokio_test(request: redlatch::Acquire<'_>) -> std::pin::Pin<Box<redlatch::AcquireFuture<'_>>> {
    Box::pin(request.into_future())
}

#[tokio::test]
async fn attempts_are_counted_and_bounded() {
    let cluster = Cluster::start(3);
    let retry = Retry::default().attempts(3).pause(ms(1), ms(2));
    let locks = all_up(builder(cluster.urls()).retry(retry).connect().await.unwrap()).await;
    for server in &*cluster {
        server.command(&["SET", "r", "other", "PX", "60000"]);
    }
    let before = cluster[0].calls("set");
    let error = within(locks.acquire("r")).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Busy { .. }), "{error}");
    assert_eq!(error.report().unwrap().attempts, 3);
    until("all attempts to arrive", || locks.nodes().iter().all(|node| node.in_flight == 0)).await;
    assert_eq!(cluster[0].calls("set"), before + 3);
}

#[tokio::test]
async fn grants_that_come_late_are_given_back() {
    let nodes = test_nodes(3).await;
    // Without heartbeats, so that every command counted is a lock's.
    let minute = Duration::from_secs(60);
    let builder = builder(urls(&nodes)).heartbeat_interval(minute);
    let locks = builder.min_validity(0.5).connect().await.unwrap();
    let locks = all_up(locks).await;
    let ttl = ms(1_000);
    nodes.iter().for_each(|node| node.stall(true));
    let request = tokio::spawn({
        let locks = locks.clone();
        async move { locks.try_acquire("r").ttl(ttl).renewal(Renewal::Off).await }
    });
    until("the request to have left", || locks.nodes().iter().all(|node| node.in_flight == 1))
        .await;
    // The time that the validity runs out in, not a time that anything is waited for.
    tokio::time::sleep(ms(600)).await;
    nodes.iter().for_each(|node| node.stall(false));
    let error = within(request).await.unwrap().unwrap_err();
    let AcquireError::TooSlow { validity, .. } = &error else { panic!("{error}") };
    assert!(*validity < ttl / 2, "{validity:?}");
    assert!(error.report().unwrap().count(Verdict::Granted) >= 2, "{error}");
    emptied(&nodes).await;
    let releases: u64 = nodes
        .iter()
        .map(|node| node.commands().get("evalsha").copied())
        .map(|calls| calls.unwrap_or(0))
        .sum();
    assert_eq!(releases, 3, "released, not left to expire");
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
}

#[tokio::test]
async fn a_deadline_shorter_than_the_nodes_timeout_holds() {
    let nodes = test_nodes(3).await;
    let locks = all_up(builder(urls(&nodes)).connect().await.unwrap()).await;
    nodes.iter().for_each(|node| node.stall(true));
    // The nodes' timeout is 2 s here.
    let began = since_boot();
    let error = within(locks.acquire("r").wait_for(ms(100))).await.unwrap_err();
    assert!(since_boot() - began >= ms(100));
    assert!(matches!(&error, AcquireError::NoQuorum { .. }), "{error}");
    let report = error.report().unwrap();
    assert!(report.waited < Duration::from_secs(2), "waited for the nodes: {report}");
    assert_eq!((report.attempts, report.count(Verdict::Granted)), (1, 0));
    // The SETs that left are executed now, and undone behind themselves.
    nodes.iter().for_each(|node| node.stall(false));
    until("the late SETs", || nodes.iter().all(|node| node.commands().contains_key("set"))).await;
    emptied(&nodes).await;
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    emptied(&nodes).await;
}

#[tokio::test]
async fn a_silent_minority_delays_nobody() {
    let nodes = test_nodes(5).await;
    let locks = all_up(builder(urls(&nodes)).connect().await.unwrap()).await;
    nodes[..2].iter().for_each(|node| node.stall(true));
    let guard = within(locks.acquire("r")).await.unwrap();
    let report = guard.report();
    assert_eq!((report.attempts, report.count(Verdict::Granted)), (1, 3), "{report}");
    assert_eq!(report.count(Verdict::Pending), 2, "{report}");
    within(guard.release()).await.unwrap();
    nodes[..2].iter().for_each(|node| node.stall(false));
    until("the late SETs", || nodes.iter().all(|node| node.commands().contains_key("set"))).await;
    emptied(&nodes).await;
}

#[tokio::test]
async fn requests_that_cannot_be_met_are_refused_before_anything_is_sent() {
    let cluster = Cluster::start(3);
    // The longest that can be set at all: what covers it in a quarantine is counted exactly.
    let longest = ms(1 << 41);
    let builder = builder(cluster.urls()).key_prefix("lock:").max_ttl(longest);
    let locks = all_up(builder.connect().await.unwrap()).await;
    let commands = || cluster.iter().map(|server| server.calls("set")).sum::<u64>();
    let written = || locks.nodes().iter().map(|node| node.commands).sum::<u64>();
    let before = (commands(), written());
    let beyond = longest + ms(1);
    for ttl in [Duration::ZERO, Duration::from_micros(999), ms(1), ms(2), beyond, Duration::MAX] {
        for error in [
            within(locks.acquire("r").ttl(ttl)).await.unwrap_err(),
            within(locks.try_acquire("r").ttl(ttl)).await.unwrap_err(),
        ] {
            assert!(matches!(&error, AcquireError::InvalidTtl { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("a ttl of {ttl:?}")), "{text}");
            assert!(text.contains("must lie between"), "{text}");
        }
    }
    let long = "x".repeat(1 << 20);
    let edge = "x".repeat(4_096 - 4);
    for (name, len) in [("", "5"), (&long, "1048581"), (&edge, "4097")] {
        let error = within(locks.acquire(name)).await.unwrap_err();
        assert!(matches!(&error, AcquireError::InvalidResource { .. }), "{error}");
        let text = error.to_string();
        assert!(text.len() < 500 && text.contains("1 to 4096 bytes"), "{text}");
        assert!(text.contains(&format!("this one {len}")), "{text}");
        let error = within(locks.inspect(name)).await.unwrap_err();
        assert!(matches!(&error, InspectError::Invalid(_)), "{error}");
        assert!(error.to_string().contains(&format!("this one {len}")), "{error}");
    }
    assert_eq!((commands(), written()), before, "something was sent");
    // The edges that can be met.
    let least = within(locks.acquire("r").ttl(ms(200)).renewal(Renewal::Off)).await.unwrap();
    drop(least);
    let most = within(locks.acquire("m").ttl(longest)).await.unwrap();
    within(most.release()).await.unwrap();
    within(within(locks.acquire(&edge[1..])).await.unwrap().release()).await.unwrap();
    drained(&cluster).await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_anything_is_sent() {
    fn refused(builder: redlatch::Builder, named: &[&str]) {
        let error = builder.connect_lazy().unwrap_err();
        let text = error.to_string();
        assert!(named.iter().all(|part| text.contains(part)), "{named:?} not in: {text}");
    }
    let cluster = Cluster::start(1);
    let url = cluster[0].url();
    let connections = cluster[0].info("total_connections_received").unwrap();
    let with = || Redlock::builder().node(url.as_str());
    refused(Redlock::builder(), &["no node was given"]);
    refused(with().node(url.as_str()), &["are the same server", &url]);
    refused(with().node(format!("{url}/5")), &["are the same server", &url]);
    refused(with().node("http://10.0.0.1"), &["http"]);
    refused(with().node("redis://127.0.0.1:99999"), &["99999"]);
    refused(with().node(""), &["empty"]);
    refused(with().nodes((1..=15).map(|at| format!("10.0.0.{at}"))), &["16 nodes", "15"]);
    refused(with().ttl(Duration::ZERO), &["`ttl` is 0ns"]);
    refused(with().ttl(ms(2)), &["`ttl` is 2ms"]);
    refused(with().ttl(Duration::MAX), &["`ttl` is"]);
    refused(with().ttl(ms(500)).max_ttl(ms(499)), &["`ttl` is 500ms", "499ms", "`max_ttl`"]);
    refused(with().max_ttl(ms((1 << 41) + 1)), &["`max_ttl` is", "at most"]);
    refused(with().max_ttl(ms(20)).lock_delay(ms(21)), &["`lock_delay` is 21ms"]);
    refused(with().key_prefix("redlatch:"), &["`key_prefix` is redlatch:"]);
    refused(with().quorum(0), &["`quorum` is 0"]);
    refused(with().quorum(2), &["`quorum` is 2", "between 1 and 1"]);
    refused(with().min_validity(1.5), &["`min_validity` is 1.5"]);
    refused(with().min_validity(f64::NAN), &["`min_validity` is NaN"]);
    refused(with().node_timeout(Duration::ZERO), &["`node_timeout` is 0ns"]);
    refused(with().max_inflight(0), &["`max_inflight` is 0"]);
    refused(with().client_name("two words"), &["two words"]);
    refused(with().key_prefix("x".repeat(5_000)), &["5000"]);
    let error = with().node(url.as_str()).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(ConfigError::DuplicateNode { .. })), "{error}");
    let after: u64 = cluster[0].info("total_connections_received").unwrap().parse().unwrap();
    assert_eq!(after, connections.parse::<u64>().unwrap() + 1, "only this question");
}

#[tokio::test]
async fn connecting_to_nobody_says_who_and_why() {
    let cluster = Cluster::start(3);
    cluster[1].kill();
    cluster[2].kill();
    let ttl = Duration::from_secs(2);
    let builder = builder(cluster.urls()).ttl(ttl).max_ttl(ttl);
    let error = builder.clone().connect_timeout(ms(300)).connect().await.map(drop).unwrap_err();
    let ConnectError::NoQuorum { up, nodes, quorum, .. } = &error else { panic!("{error}") };
    assert_eq!((*up, *nodes, *quorum), (1, 3, 2));
    let text = error.to_string();
    for server in &cluster[1..] {
        assert!(text.contains(&format!("{}: Connection refused", server.url())), "{text}");
    }
    assert!(!text.contains(&format!("{}:", cluster[0].url())), "{text}");

    // Lazily, the same fleet is no error; its requests wait for it, and for the end of the
    // quarantine of a node that comes back without its data.
    let locks = builder.connect_lazy().unwrap();
    let request = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("r").wait_for(Duration::from_secs(15)).await }
    });
    until("the dead to be seen", || {
        locks.nodes().iter().filter(|node| node.state == NodeState::Down).count() == 2
    })
    .await;
    let began = since_boot();
    cluster[1].restart();
    within(within(request).await.unwrap().unwrap().release()).await.unwrap();
    assert!(since_boot() - began >= ttl, "granted by a node that may have forgotten locks");
}
