//! What one error reply means, by itself: behind it the write's seal finds the node in order, and
//! the next heartbeat is an hour away.

use super::net::{MEMORY, MS, Net};
use super::rules::{asked, granted, poll};
use super::*;
use crate::Verdict;
use crate::builder::Builder;

/// The node is not what its handshake found.
const OF_ANOTHER_NODE: [&str; 4] = [
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH Authentication required.",
    "READONLY You can't write against a read only replica.",
];

/// The node is, but it does not do this.
const OF_THIS_COMMAND: [&str; 8] = [
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "CLUSTERDOWN The cluster is down",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "MISCONF Redis is configured to save RDB snapshots",
    "MOVED 3999 127.0.0.1:6381",
    "NOPERM this user has no permissions to run this command",
    "NOREPLICAS Not enough good replicas to write.",
    "OOM command not allowed when used memory > 'maxmemory'.",
];

/// The command may have been executed, at least in part.
const OF_UNKNOWN_OUTCOME: [&str; 2] =
    ["ERR of no known kind", "WRONGTYPE Operation against a key holding the wrong kind of value"];

fn quiet(net: &Net) -> Builder {
    net.builder().heartbeat_interval(Duration::from_secs(3_600)).ttl(Duration::from_secs(10))
}

/// How often the client came to node 0, and left it.
fn visits(locks: &Redlock) -> (u64, u64) {
    let node = locks.nodes().swap_remove(0);
    assert_eq!((node.state, node.epochs, node.seals_broken), (NodeState::Up, 1, 0), "{node:?}");
    (node.connects, node.disconnects)
}

/// How often node 0 was asked to release something.
fn releases(net: &Net) -> usize {
    let is_release = |command: &&Vec<Vec<u8>>| {
        command[0] == b"EVALSHA" && command[1] == script::RELEASE.sha.as_bytes()
    };
    net.at(0).executed.iter().filter(is_release).count()
}

/// Node 0 answers one command of one kind with `error`, the first one that it gets: what the
/// client's visits there are afterwards.
async fn refused(fenced: bool, command: &str, error: &str) -> (u64, u64) {
    let net = Net::new(3);
    let locks = net.started(0, quiet(&net)).await;
    let refuse = |is_now: bool| {
        if is_now {
            net.at(0).core.fail_next(1, error);
        }
    };
    refuse(command == "acquire");
    let request = locks.acquire("r").renewal(Renewal::Off);
    let guard = granted(&net, asked(if fenced { request.fenced() } else { request })).await;
    let told = guard.report().count(Verdict::Ineligible);
    assert_eq!(told, usize::from(command == "acquire"), "{}", guard.report());
    refuse(command == "extend");
    if command == "extend" {
        let mut extension = Box::pin(guard.extend(Duration::from_secs(20)));
        assert!(poll(&mut extension).is_pending());
        net.run(MS).await;
        assert!(matches!(poll(&mut extension), Poll::Ready(Ok(_))), "the others did it");
    }
    refuse(command == "release");
    if command == "release" {
        drop(guard);
    } else {
        std::mem::forget(guard);
    }
    net.run(25 * MS).await;
    visits(&locks)
}

/// Scenario 29. Whatever command it answers: the connection ends with that reply, and not with a
/// later one that says the same, so that nothing more is asked of a node that is another by now.
#[tokio::test(start_paused = true)]
async fn a_reply_of_another_node_than_was_greeted_ends_the_connection_itself() {
    for (fenced, command) in
        [(false, "acquire"), (true, "acquire"), (false, "extend"), (false, "release")]
    {
        for error in OF_ANOTHER_NODE {
            assert_eq!(refused(fenced, command, error).await, (2, 1), "{command}: {error}");
        }
        for error in OF_THIS_COMMAND {
            assert_eq!(refused(fenced, command, error).await, (1, 0), "{command}: {error}");
        }
    }
}

/// Scenario 29. A definite refusal did nothing, so nothing has to be undone there; of any other
/// error nobody knows, and a release follows. The other nodes do not notice either.
#[tokio::test(start_paused = true)]
async fn only_an_error_of_unknown_outcome_owes_a_release() {
    let definite = OF_ANOTHER_NODE.iter().chain(&OF_THIS_COMMAND).map(|error| (error, 0));
    for (error, owed) in definite.chain(OF_UNKNOWN_OUTCOME.iter().map(|error| (error, 1))) {
        let net = Net::new(3);
        let locks = net.started(0, quiet(&net)).await;
        net.at(0).core.fail_next(1, error);
        let guard = granted(&net, asked(locks.acquire("r").renewal(Renewal::Off))).await;
        let report = guard.report().clone();
        assert_eq!((net.holders("r"), guard.margin()), (0b110, 0), "{error}");
        assert_eq!(report.count(Verdict::Unknown), owed, "{error}: {report}");
        drop(guard);
        net.run(25 * MS).await;
        assert_eq!((releases(&net), net.keys()), (owed, 0), "{error}");
    }
}

/// How often node 0 was told to begin another epoch.
fn voids(net: &Net) -> usize {
    let is_void = |command: &&Vec<Vec<u8>>| {
        command[1] == script::STAMP.sha.as_bytes() && command[5] == b"void"
    };
    let calls = |command: &&Vec<Vec<u8>>| command[0] == b"EVALSHA";
    net.at(0).executed.iter().filter(calls).filter(is_void).count()
}

/// Scenario 31, on a node whose memory is full: it cannot write the new epoch, so it is told to
/// again and again, and has no vote until it has done so.
#[tokio::test(start_paused = true)]
async fn a_step_that_a_node_could_not_take_note_of_is_told_it_again() {
    let net = Net::new(3);
    let locks = net.started(0, net.builder()).await;
    net.run(60 * MS).await;
    let epoch = locks.nodes()[0].epoch.clone();
    net.at(0).command(&["SET", "filler", &"x".repeat(MEMORY)]);
    net.at(0).clock.advance(MS * 10_000);
    let has_no_vote = || assert_eq!(locks.node_states()[0], NodeState::Quarantined);
    while voids(&net) == 0 {
        net.run(MS).await;
    }
    // Refused, once: from here on it is as if nothing had happened, but for what is remembered.
    has_no_vote();
    net.at(0).command(&["DEL", "filler"]);
    for _ in 0..300 {
        net.run(MS).await;
        has_no_vote();
    }
    assert_eq!((voids(&net), locks.nodes()[0].clock_steps), (2, 1));
    assert_ne!(locks.nodes()[0].epoch, epoch, "begun at last, and its quarantine with it");
}

/// Scenario 29. WRONGTYPE, or how else a server says that a key of another type is where the lock
/// was: its own command for releases cannot tell whose it is, the script can.
#[tokio::test(start_paused = true)]
async fn a_native_release_that_meets_another_type_is_done_by_the_script() {
    let other = "ERR Key should be of string type if conditions are specified";
    for error in [OF_UNKNOWN_OUTCOME[1], other] {
        let net = Net::with(1, |options| options.delex(true));
        let locks = net.started(0, quiet(&net)).await;
        for turn in 0..2 {
            let guard = granted(&net, asked(locks.acquire("r").renewal(Renewal::Off))).await;
            net.at(0).core.fail_next(u64::from(turn == 0), error);
            let mut release = Box::pin(guard.release());
            assert!(poll(&mut release).is_pending());
            net.run(MS).await;
            let outcome = poll(&mut release);
            assert!(matches!(outcome, Poll::Ready(Ok(()))), "{error}: {outcome:?}");
        }
        let native = net.at(0).executed.iter().filter(|command| command[0] == b"DELEX").count();
        assert_eq!((native, releases(&net), net.keys()), (2, 1, 0), "{error}: only that once");
        assert_eq!(visits(&locks), (1, 0));
    }
}

/// Many script calls are under way when the server forgets its scripts: these are loaded once, and
/// the connection is kept, however the answers come in.
#[tokio::test(start_paused = true)]
async fn scripts_are_loaded_again_once_however_many_calls_miss_them() {
    let net = Net::that_is(true, 1);
    let locks = net.started(0, net.builder()).await;
    for round in 1..=2 {
        let mut guards = Vec::new();
        for at in 0..12 {
            guards.push(granted(&net, asked(locks.acquire(format!("{at}")))).await);
        }
        net.at(0).command(&["SCRIPT", "FLUSH"]);
        for guard in guards {
            drop(guard);
            settle().await;
        }
        for _ in 0..12 {
            net.at(0).serve_most(1, |_| true);
            settle().await;
        }
        net.run(5 * MS).await;
        let node = &locks.nodes()[0];
        assert_eq!((node.script_reloads, node.connects, net.keys()), (round, 1, 0));
    }
}
