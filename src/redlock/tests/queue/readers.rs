//! What readers leave goes to the writer in line without another command of it, and whoever comes
//! for a lock that is known to be another's gets in line at once.

use super::*;

fn directly() -> Net {
    Net::that_is(true, 3)
}

/// How often a node executed such a command on "r".
fn executed(net: &Net, node: usize, is_it: impl Fn(&[Vec<u8>]) -> bool) -> usize {
    let station = net.at(node);
    let on_it = |command: &&Vec<Vec<u8>>| command.iter().any(|word| word == b"r");
    station.executed.iter().filter(on_it).filter(|command| is_it(command)).count()
}

fn calls_of(net: &Net, sha: &str) -> usize {
    let is_call = |command: &[Vec<u8>]| command[0] == b"EVALSHA" && command[1] == sha.as_bytes();
    (0..net.nodes()).map(|node| executed(net, node, is_call)).sum()
}

fn sets(net: &Net) -> usize {
    (0..net.nodes()).map(|node| executed(net, node, |command| command[0] == b"SET")).sum()
}

#[tokio::test(start_paused = true)]
async fn the_last_reader_gives_the_lock_to_the_writer_in_line() {
    for of_one_process in [true, false] {
        let net = directly();
        let reads = net.started(0, patient(&net)).await;
        let other = net.started(1, patient(&net)).await;
        let writes = if of_one_process { &reads } else { &other };
        let [one, two] = [0, 1].map(|_| asked(reads.acquire("r").mode(Mode::Shared).ttl(TTL)));
        let (one, two) = (granted(&net, one).await, granted(&net, two).await);
        let (mut writer, ticket) = in_line(&net, writes).await;
        drop(one);
        net.run(10 * MS).await;
        assert!(poll(&mut writer).is_pending(), "granted beside a reader");
        assert_eq!(calls_of(&net, script::ENTER.sha), 3, "asked again behind the first reader");
        drop(two);
        // There, and the word back.
        net.run(2 * MS).await;
        let Poll::Ready(Ok(guard)) = poll(&mut writer) else { panic!("not given") };
        assert_eq!(guard.token().as_bytes(), ticket.as_bytes());
        let asked = [script::ENTER.sha, script::EXTEND.sha, script::TAKE.sha];
        assert_eq!(asked.map(|sha| calls_of(&net, sha)), [3, 0, 6]);
        // For as long as the ticket asks for, which is no reservation's life.
        let lives = String::from_utf8(net.at(1).command(&["PTTL", "r"])).unwrap();
        assert!((":990".."<").contains(&&*lives) || lives.starts_with(":1000"), "{lives}");
        drop(guard);
        net.run(2 * MS).await;
        assert_eq!(net.keys(), 0);
    }
}

/// Where a reader has died, its time is over before the writer's begins.
#[tokio::test(start_paused = true)]
async fn a_reader_that_stays_keeps_the_writer_out_when_the_others_go() {
    let net = directly();
    let (reads, dies) = (net.started(0, patient(&net)).await, net.started(1, patient(&net)).await);
    let stays = asked(dies.acquire("r").mode(Mode::Shared).ttl(TTL).renewal(Renewal::Off));
    let stays = granted(&net, stays).await;
    net.advance(300 * MS).await;
    let goes = granted(&net, asked(reads.acquire("r").mode(Mode::Shared).ttl(TTL))).await;
    let (mut writer, _) = in_line(&net, &reads).await;
    drop(goes);
    let mut waited = 0;
    let guard = loop {
        match poll(&mut writer) {
            Poll::Ready(outcome) => break outcome.unwrap(),
            Poll::Pending => assert!(waited < 1_000, "not when the last one's time was over"),
        }
        waited += 1;
        net.run(MS).await;
    };
    assert!(guard.is_valid() && !stays.is_valid(), "beside a reader");
    // Its own time, not that of the one who went.
    assert!((600..760).contains(&waited), "{waited} ms");
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_for_a_lock_that_others_have_gets_in_line_at_once() {
    let net = directly();
    (0..3).for_each(|node| _ = net.at(node).command(&["SET", "r", "theirs", "PX", LONG]));
    let locks = net.started(0, patient(&net)).await;
    // One round of SETs tells that it is taken.
    let (request, _) = in_line(&net, &locks).await;
    assert_eq!((sets(&net), calls_of(&net, script::ENTER.sha)), (3, 3));
    drop(request);
    net.run(2 * MS).await;
    let (mut request, _) = in_line(&net, &locks).await;
    assert_eq!((sets(&net), calls_of(&net, script::ENTER.sha)), (3, 6), "asked for in vain");
    (0..3).for_each(|node| hand_on(&net, node));
    settle().await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not granted") };
    assert!(guard.report().contended && guard.report().attempts == 1, "{:?}", guard.report());
    drop(guard);
    net.run(2 * MS).await;
    assert_eq!(net.keys(), 0);
    let before = calls_of(&net, script::ENTER.sha);
    // Free again, it is had in one round trip all the same.
    let guard = granted(&net, asked(locks.acquire("r").ttl(TTL))).await;
    assert!(!guard.report().contended && guard.report().attempts == 1, "{:?}", guard.report());
    assert_eq!((sets(&net), calls_of(&net, script::ENTER.sha)), (3, before + 3));
    drop(guard);
    net.run(2 * MS).await;
    assert_eq!(net.keys(), 0);
    // Those who will not wait, or want a token counted, do not get in line.
    let mut tries = asked(locks.try_acquire("r").ttl(TTL));
    net.run(MS).await;
    let Poll::Ready(Ok(guard)) = poll(&mut tries) else { panic!("not granted") };
    assert_eq!((sets(&net), calls_of(&net, script::ENTER.sha)), (6, before + 3));
    drop(guard);
    net.run(2 * MS).await;
    let guard = granted(&net, asked(locks.acquire("r").ttl(TTL).fenced())).await;
    let calls = [script::FENCED.sha, script::ENTER.sha].map(|sha| calls_of(&net, sha));
    assert_eq!(calls, [3, before + 3]);
    drop(guard);
    // A second without contention, and it is a lock as any other.
    net.run(1_000 * MS).await;
    drop(granted(&net, asked(locks.acquire("r").ttl(TTL))).await);
    assert_eq!((sets(&net), calls_of(&net, script::ENTER.sha)), (9, before + 3));
}
