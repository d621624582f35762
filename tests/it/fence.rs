//! Connections that are lost, and what was on its way through them: nothing is executed behind its
//! own release, nothing owed is forgotten, nobody's lock ends with a connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redlatch::testing::Protection;
use redlatch::{AcquireError, Builder, NodeState, NodeStatus, Redlock, Verdict};

use crate::amnesia::Hold;
use crate::hop::{Flow, Hop, Lane};
use crate::persistence::{AOF_ALWAYS, restart_loaded};
use crate::server::{Client, Cluster, Reply, Server, poll_until};
use crate::states::{allow, kill_clients};
use crate::support::{
    all_up, builder, connect, drained, held_everywhere, ms, since_boot, until, within,
};

const TTL: Duration = Duration::from_secs(60);
const TRIALS: usize = 50;

/// Patient with a silent node: here only lost connections count.
fn patient(urls: Vec<String>) -> Builder {
    builder(urls)
        .node_timeout(Duration::from_secs(10))
        .unresponsive_after(Duration::from_secs(20))
        .heartbeat_interval(ms(100))
}

/// Clients reach the first server through the hop.
fn through(hop: &Hop, cluster: &Cluster) -> Vec<String> {
    let mut urls = cluster.urls();
    urls[0] = hop.url();
    urls
}

fn is_down(locks: &Redlock, node: usize) -> bool {
    locks.nodes()[node].state == NodeState::Down
}

/// What happened to the SETs that were on their way to one of three servers when the connection
/// was lost, and that were executed, or not, behind the releases sent on the next one.
struct Delayed {
    cluster: Cluster,
    _hop: Hop,
    locks: Redlock,
    orphans: i64,
    /// The SETs, that is (the engine's own are few).
    have_run: bool,
}

impl Delayed {
    fn node(&self) -> NodeStatus {
        self.locks.nodes()[0].clone()
    }
}

async fn delay_sets(
    prepare: impl FnOnce(&Server),
    settings: impl FnOnce(Builder) -> Builder,
) -> Delayed {
    let cluster = Cluster::start(3);
    prepare(&cluster[0]);
    let hop = Hop::start(cluster[0].addr());
    let settings = settings(patient(through(&hop, &cluster)));
    let locks = all_up(settings.connect().await.unwrap()).await;
    hop.set_present(Lane::Requests, Flow::Hold);
    let (before, sets) = (locks.nodes()[0].commands, cluster[0].calls("set"));
    let mut guards = Vec::new();
    for key in 0..TRIALS {
        guards.push(within(locks.acquire(format!("key:{key}")).ttl(TTL)).await.unwrap());
    }
    until("the SETs to be on their way", || {
        let node = locks.nodes()[0].clone();
        node.commands >= before + TRIALS as u64 && hop.queued(Lane::Requests) > 0
    })
    .await;
    tokio::task::block_in_place(|| hop.cut_clients());
    until("another connection", || locks.nodes()[0].connects == 2).await;
    for guard in guards {
        within(guard.release()).await.unwrap();
    }
    assert_eq!(cluster[0].dbsize(), 0, "they are still held");
    drained(&cluster).await;
    hop.set_present(Lane::Requests, Flow::Pass);
    until("the end of the first connection", || hop.connections() == 1).await;
    let orphans = cluster[0].dbsize();
    let have_run = cluster[0].calls("set") - sets >= TRIALS as u64;
    Delayed { cluster, _hop: hop, locks, orphans, have_run }
}

/// Scenario 42. SETs that are held up on a lost connection never run: the server closes that
/// connection before anything is released. Without it they run behind their releases, and their
/// keys stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_sets_of_a_lost_connection_leave_no_orphan() {
    let fenced = delay_sets(|_| {}, |settings| settings).await;
    assert_eq!(fenced.orphans, 0);
    assert!(!fenced.have_run);
    assert_eq!(fenced.cluster[0].calls("client|kill"), 1);
    assert_eq!((fenced.node().unfenced, fenced.node().releases_repeated), (0, 0));

    let bare = delay_sets(|_| {}, |settings| settings.without(Protection::Fence)).await;
    println!("without the fence: {} of {TRIALS} keys are orphans", bare.orphans);
    assert!(bare.orphans > 0 && bare.have_run, "this does not need the fence");
    assert_eq!(bare.cluster[0].calls("client|kill"), 0);
}

/// Scenario 43. Where the ACL forbids CLIENT KILL, the late SETs do run, and repeated releases
/// remove their keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_are_repeated_where_the_fence_is_forbidden() {
    let delayed = delay_sets(|server| allow(server, &["-client|kill"]), |settings| settings).await;
    let node = delayed.node();
    assert_eq!(node.unfenced, 1);
    assert!(node.releases_repeated >= TRIALS as u64, "{node:?}");
    assert!(delayed.have_run);
    drained(&delayed.cluster).await;
    let repeated = node.releases_repeated;
    until("more repetitions", || delayed.node().releases_repeated > repeated).await;
    assert_eq!(delayed.cluster[0].dbsize(), 0);
}

/// Scenario 51. The numbers of a server's clients begin anew with its process: nothing is closed
/// there by a number that an earlier process gave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_not_asked_to_close_a_number_of_its_predecessor() {
    let cluster = Cluster::start(3);
    let hop = Hop::start(cluster[0].addr());
    let locks = all_up(patient(through(&hop, &cluster)).connect().await.unwrap()).await;
    tokio::task::block_in_place(|| hop.cut());
    until("another connection", || locks.nodes()[0].connects == 2).await;
    assert_eq!(cluster[0].calls("client|kill"), 1, "the same process");
    let strangers: Vec<Client> = tokio::task::block_in_place(|| {
        hop.refuse();
        hop.cut();
        cluster[0].restart();
        // One of them has the number that the client had.
        let strangers = (0..60).map(|_| Client::connect(cluster[0].addr()).unwrap()).collect();
        hop.accept();
        strangers
    });
    until("the third connection", || locks.nodes()[0].connects == 3).await;
    assert_eq!(cluster[0].calls("client|kill"), 0, "another process");
    for mut stranger in strangers {
        assert_eq!(stranger.command(&["PING"]).unwrap(), Reply::Simple("PONG".into()));
    }
}

/// Scenario 44. Requests pass, replies are lost: what was granted is unknown, and is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_way_partition_leaves_unknown_outcomes_that_are_released() {
    let cluster = Cluster::start(3);
    let hops = [Hop::start(cluster[0].addr()), Hop::start(cluster[1].addr())];
    let urls = vec![hops[0].url(), hops[1].url(), cluster[2].url()];
    let settings = patient(urls).node_timeout(ms(500)).unresponsive_after(ms(1_500));
    let locks = all_up(settings.connect().await.unwrap()).await;
    let held = within(locks.acquire("held").ttl(TTL)).await.unwrap();
    held_everywhere(&cluster, "held", &held.token().to_hex()).await;
    let sets = |server: &Server| server.calls("set");
    let before: Vec<u64> = cluster.iter().map(sets).collect();
    hops.iter().for_each(|hop| hop.set(Lane::Replies, Flow::Drop));
    let error = within(locks.try_acquire("r").ttl(TTL)).await.unwrap_err();
    assert!(matches!(error, AcquireError::NoQuorum { .. }), "{error}");
    for vote in &error.report().unwrap().votes[..2] {
        assert_eq!(vote.verdict, Verdict::Unknown, "{error}");
    }
    for (server, before) in cluster.iter().zip(before) {
        assert!(server.calls("set") > before, "it was granted, and nobody was told");
    }
    assert!(held.is_valid());
    hops.iter().for_each(|hop| hop.set(Lane::Replies, Flow::Pass));
    until("the silent connections to be given up", || {
        locks.nodes()[..2].iter().all(|node| node.connects == 2)
    })
    .await;
    until("what was unknown to be released", || {
        cluster.iter().all(|server| server.get("r").is_none())
    })
    .await;
    let locks = all_up(locks).await;
    within(within(locks.acquire("r")).await.unwrap().release()).await.unwrap();
    within(held.release()).await.unwrap();
    drained(&cluster).await;
}

/// Callers of two clients who want the same locks, until told to stop: when each held which.
struct Rush {
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Vec<(usize, Hold)>>>,
}

impl Rush {
    fn start(clients: &[Redlock], keys: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = clients.iter().flat_map(|locks| (0..keys).map(move |key| (locks, key)));
        let callers = callers.map(|(locks, key)| {
            let (locks, stop) = (locks.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut holds = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request = locks.acquire(format!("key:{key}")).ttl(TTL).wait_for(TTL);
                    let guard = within(request).await.unwrap();
                    let mut hold = Hold::of(&guard);
                    tokio::task::yield_now().await;
                    hold.until = hold.until.min(since_boot());
                    drop(guard);
                    holds.push((key, hold));
                }
                holds
            })
        });
        Self { callers: callers.collect(), stop }
    }

    /// How many grants there were; never two holders of one lock.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut holds: BTreeMap<usize, Vec<Hold>> = BTreeMap::new();
        for caller in self.callers {
            for (key, hold) in within(caller).await.unwrap() {
                holds.entry(key).or_default().push(hold);
            }
        }
        for (key, of_key) in &mut holds {
            of_key.sort_unstable_by_key(|hold| hold.from);
            for pair in of_key.windows(2) {
                assert!(!pair[0].overlaps(pair[1]), "two holders of {key}: {pair:?}");
            }
        }
        holds.values().map(Vec::len).sum()
    }
}

/// Scenario 45. Connections are reset in the middle of what was written and answered on them: no
/// request fails, no lock is held twice, no key stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_in_the_middle_of_a_batch_lose_and_double_nothing() {
    let cluster = Cluster::start(3);
    let hops: Vec<Hop> = cluster.iter().map(|server| Hop::start(server.addr())).collect();
    let urls: Vec<String> = hops.iter().map(Hop::url).collect();
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(all_up(patient(urls.clone()).connect().await.unwrap()).await);
    }
    let rush = Rush::start(&clients, 40);
    for (count, hop) in hops.iter().cycle().take(12).enumerate() {
        hop.set(Lane::Replies, Flow::Hold);
        until("commands without a reply", || hop.pending() >= 10).await;
        tokio::task::block_in_place(|| hop.cut());
        hop.set(Lane::Replies, Flow::Pass);
        let lost = |locks: &Redlock| locks.nodes()[count % 3].disconnects > count as u64 / 3;
        until("the loss to be noticed", || clients.iter().all(lost)).await;
        until("every node to be back", || {
            clients.iter().all(|locks| locks.node_states().iter().all(|at| *at == NodeState::Up))
        })
        .await;
    }
    let grants = rush.end().await;
    println!("{grants} grants around 12 resets");
    assert!(grants > 80);
    drained(&cluster).await;
}

/// Scenario 53. One node's connections are lost many times a second: nobody fails, nobody holds a
/// lock twice, the other nodes do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flapping_connection_disturbs_nobody() {
    let cluster = Cluster::start(3);
    let hop = Hop::start(cluster[0].addr());
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(all_up(patient(through(&hop, &cluster)).connect().await.unwrap()).await);
    }
    let rush = Rush::start(&clients, 20);
    for _ in 0..40 {
        tokio::time::sleep(ms(50)).await;
        tokio::task::block_in_place(|| hop.cut());
    }
    let grants = rush.end().await;
    assert!(grants > 40, "{grants}");
    for locks in clients {
        let nodes = all_up(locks.clone()).await.nodes();
        assert!(nodes[0].disconnects > 1, "{:?}", nodes[0]);
        assert!(nodes[1..].iter().all(|node| (node.connects, node.disconnects) == (1, 0)));
        assert!(nodes.iter().all(|node| node.epochs == 1));
        assert_eq!((locks.stats().failed, locks.stats().lost), (0, 0));
    }
    println!("{grants} grants around 40 losses, {} connections", hop.accepted());
    drained(&cluster).await;
}

/// Scenario 50. Operators and servers close connections for reasons of their own: guards stay
/// valid, and the client comes back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_come_back_and_end_no_lock() {
    let cluster = Cluster::start(3);
    // No heartbeat keeps the connections busy.
    let settings = builder(cluster.urls()).heartbeat_interval(TTL);
    let locks = all_up(settings.connect().await.unwrap()).await;
    let guard = within(locks.acquire("r").ttl(TTL)).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    let until_then = guard.valid_until();
    let connections = |count: u64| {
        let locks = &locks;
        let all = move || locks.nodes().iter().all(|node| node.connects >= count);
        until("every node's next connection", all)
    };

    // CLIENT KILL TYPE normal.
    for server in &*cluster {
        assert!(kill_clients(server) >= 1);
    }
    connections(2).await;
    // Longer, if a renewal has come meanwhile.
    assert!(guard.is_valid() && guard.valid_until() >= until_then);
    within(guard.extend(TTL)).await.unwrap();

    // `timeout`: the server closes what says nothing for a second, unless it listens to a channel.
    let deaf = builder(cluster.urls()).heartbeat_interval(TTL).resp2_only();
    let deaf = all_up(deaf.connect().await.unwrap()).await;
    cluster.iter().for_each(|server| server.config_set("timeout", "1"));
    until("every node's third connection", || deaf.nodes().iter().all(|node| node.connects >= 3))
        .await;
    cluster.iter().for_each(|server| server.config_set("timeout", "0"));
    assert!(locks.nodes().iter().all(|node| node.connects == 2));
    deaf.close().await;
    let locks = all_up(locks.clone()).await;
    assert!(guard.is_valid());
    within(guard.extend(TTL)).await.unwrap();

    // maxclients: there is room for the operator alone.
    let mut operator = Client::connect(cluster[0].addr()).unwrap();
    let ok = Reply::Simple("OK".into());
    assert_eq!(operator.command(&["CONFIG", "SET", "maxclients", "1"]).unwrap(), ok);
    operator.command(&["CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes"]).unwrap();
    until("the refusal", || {
        let reason = locks.nodes()[0].reason.clone().unwrap_or_default();
        is_down(&locks, 0) && reason.contains("max number of clients")
    })
    .await;
    let mut rejected = || {
        let reply = operator.command(&["INFO", "stats"]).unwrap().text().unwrap();
        let field = reply.lines().find_map(|line| line.strip_prefix("rejected_connections:"));
        field.unwrap().parse::<u64>().unwrap()
    };
    let (before, began) = (rejected(), since_boot());
    within(guard.extend(TTL)).await.unwrap();
    tokio::time::sleep(ms(1_000)).await;
    let (attempts, took) = (rejected() - before, since_boot() - began);
    // Pauses are drawn up to half a second: an attempt every few milliseconds would be a storm.
    assert!(attempts < 50 * (took.as_secs() + 1), "{attempts} attempts in {took:?}");
    assert_eq!(operator.command(&["CONFIG", "SET", "maxclients", "1000"]).unwrap(), ok);
    let locks = all_up(locks.clone()).await;
    assert!(guard.is_valid());
    assert!(locks.nodes().iter().all(|node| node.epochs == 1));
    assert_eq!(locks.stats().lost, 0);
    within(guard.release()).await.unwrap();
    drained(&cluster).await;
}

/// Scenario 58. Two nodes are out of reach when a lock is released; what they are owed reaches
/// them when they are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_are_owed_to_nodes_out_of_reach() {
    let cluster = Cluster::start(5);
    let hops = [Hop::start(cluster[0].addr()), Hop::start(cluster[1].addr())];
    let mut urls = cluster.urls();
    urls[0] = hops[0].url();
    urls[1] = hops[1].url();
    let locks = all_up(patient(urls).connect().await.unwrap()).await;
    let mut guards = Vec::new();
    for key in 0..TRIALS {
        guards.push(within(locks.acquire(format!("key:{key}")).ttl(TTL)).await.unwrap());
    }
    let everywhere = || cluster.iter().all(|server| server.dbsize() == TRIALS as i64);
    until("all grants", everywhere).await;
    tokio::task::block_in_place(|| {
        hops.iter().for_each(|hop| {
            hop.refuse();
            hop.cut();
        });
    });
    until("both to be down", || (0..2).all(|node| is_down(&locks, node))).await;
    for guard in guards {
        within(guard.release()).await.unwrap();
    }
    drained(&cluster[2..]).await;
    assert!(cluster[..2].iter().all(|server| server.dbsize() == TRIALS as i64));
    hops.iter().for_each(Hop::accept);
    drained(&cluster).await;
    all_up(locks).await;
}

/// Scenario 58. So it is with nodes that were killed and kept their data: what is owed is released
/// there although they are in quarantine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_are_owed_to_killed_nodes_that_kept_their_data() {
    let cluster = Cluster::start_with(5, AOF_ALWAYS);
    let locks = connect(&cluster).await;
    let guard = within(locks.acquire("r").ttl(TTL)).await.unwrap();
    held_everywhere(&cluster, "r", &guard.token().to_hex()).await;
    cluster[..2].iter().for_each(Server::kill);
    until("both to be down", || (0..2).all(|node| is_down(&locks, node))).await;
    within(guard.release()).await.unwrap();
    drained(&cluster[2..]).await;
    tokio::task::block_in_place(|| cluster[..2].iter().for_each(restart_loaded));
    until("both to be quarantined", || {
        locks.nodes()[..2].iter().all(|node| node.state == NodeState::Quarantined)
    })
    .await;
    tokio::task::block_in_place(|| {
        poll_until("the owed releases", || {
            cluster.iter().all(|server| server.dbsize() == 0).then_some(())
        });
    });
}
