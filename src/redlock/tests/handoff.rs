//! Hand-offs one by one: who gets the lease, what the one before is left with, and when it is not
//! handed on.

use super::*;
use crate::Lost;

type Request<'a> = Pin<Box<AcquireFuture<'a>>>;

fn poll(request: &mut Request<'_>) -> Poll<Result<Guard, AcquireError>> {
    request.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

const MS: Duration = Duration::from_millis(1);

/// A client of three nodes, and a guard of "r" that every node has granted.
async fn held(
    memory: &Memory,
    handoff: Handoff,
    ttl: Duration,
    renewal: Renewal,
) -> (Redlock, Guard) {
    let locks = started(memory, handoff).await;
    let mut request = Box::pin(locks.acquire("r").ttl(ttl).renewal(renewal).into_future());
    assert!(poll(&mut request).is_pending());
    memory.run(MS).await;
    let Poll::Ready(Ok(guard)) = poll(&mut request) else { panic!("not granted") };
    drop(request);
    (locks, guard)
}

/// A request that is in the queue.
fn queued(locks: &Redlock, ttl: Duration, renewal: Renewal) -> Request<'_> {
    let mut request = Box::pin(locks.acquire("r").ttl(ttl).renewal(renewal).into_future());
    assert!(poll(&mut request).is_pending());
    request
}

/// The lock, if `request` has been handed it: nothing is sent or executed meanwhile.
fn handed(request: &mut Request<'_>) -> Option<Guard> {
    match poll(request) {
        Poll::Ready(outcome) => Some(outcome.unwrap()),
        Poll::Pending => None,
    }
}

/// The lock, after as many rounds and pauses as it takes.
async fn granted(memory: &Memory, request: &mut Request<'_>) -> Guard {
    for _ in 0..400 {
        if let Some(guard) = handed(request) {
            return guard;
        }
        memory.run(Duration::ZERO).await;
    }
    panic!("not granted")
}

async fn nothing_left(memory: &Memory, locks: &Redlock) {
    memory.run(20 * MS).await;
    for peer in memory.0.iter() {
        assert!(peer.lock().unwrap().core.snapshot().is_empty());
    }
    assert_eq!((locks.stats().held, locks.stats().waiting), (0, 0));
    assert!(locks.engine().fleet.pool.has_no_op_twice());
}

const TTL: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_lease_passes_in_order_and_the_one_before_is_released_for_good() {
    let memory = memory(3);
    let (locks, guard) = held(&memory, Handoff::default(), TTL, Renewal::On).await;
    let (mut first, mut second) =
        (queued(&locks, TTL, Renewal::On), queued(&locks, TTL, Renewal::On));
    let past = guard.lease().clone();
    let mut lost = Box::pin(past.lost());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(lost.as_mut().poll(&mut cx).is_pending());
    // Eight digits of the token are no token.
    assert!(format!("{guard:?} {past:?}").contains("Token("));
    let mut release = Box::pin(guard.release());
    assert!(matches!(release.as_mut().poll(&mut cx), Poll::Ready(Ok(()))), "released at once");
    assert!(poll(&mut second).is_pending());
    let guard = handed(&mut first).unwrap();
    assert!(guard.is_valid() && guard.was_contended());
    let report = guard.report();
    assert_eq!((guard.attempts(), report.handed_over), (0, true));
    assert_eq!(report.count(crate::Verdict::Granted), 3, "{report}");
    assert!(!past.is_valid() && past.remaining().is_zero());
    assert_eq!(past.ensure_valid(), Err(Lost::Expired));
    assert_eq!((past.token(), past.valid_until().since_boot()), (Token::NOBODY, Duration::ZERO));
    assert_eq!(locks.stats().held, 1);
    // What becomes of the lease later is not the earlier holder's: neither by asking nor by waking.
    locks.engine().lose(guard.lease().op(), Lost::TakenOver);
    assert_eq!(guard.lease().ensure_valid(), Err(Lost::TakenOver));
    assert_eq!(past.ensure_valid(), Err(Lost::Expired));
    assert!(format!("{past:?}").contains("lost: None"), "{past:?}");
    assert!(lost.as_mut().poll(&mut cx).is_pending());
    assert!(Box::pin(past.lost()).as_mut().poll(&mut cx).is_pending());
    drop((guard, lost));
    let guard = granted(&memory, &mut second).await;
    assert!(guard.attempts() > 0 && !guard.report().handed_over, "a lost lease is handed on");
    drop(guard);
    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.contended, stats.handed_on), (3, 2, 1));
    nothing_left(&memory, &locks).await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_ends_after_so_many_hand_offs_and_after_its_time() {
    // Nearer than the end of the process's turn, which is 10 ms away.
    for (bound, waits) in
        [(Handoff::default().bound(5, TTL), 0), (Handoff::default().bound(99, 6 * MS), 2)]
    {
        let memory = memory(3);
        let (locks, mut guard) = held(&memory, bound, TTL, Renewal::On).await;
        let mut chain = 0;
        loop {
            let mut next = queued(&locks, TTL, Renewal::On);
            drop(guard);
            let Some(handed) = handed(&mut next) else { break };
            assert_eq!(memory.executed(b"SET"), 3);
            guard = handed;
            chain += 1;
            memory.advance(MS * waits).await;
        }
        // The grant itself took a millisecond or two.
        assert!(chain == 5 || waits > 0 && (1..=3).contains(&chain), "{chain} hand-offs");
        assert_eq!(locks.stats().handed_on, chain);
        nothing_left(&memory, &locks).await;
    }
    let memory = memory(3);
    let (locks, guard) = held(&memory, Handoff::off(), TTL, Renewal::On).await;
    let mut next = queued(&locks, TTL, Renewal::On);
    drop(guard);
    assert!(handed(&mut next).is_none());
    drop(next);
    nothing_left(&memory, &locks).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_waiter_could_not_rely_on_is_not_handed_to_it() {
    let wide = Handoff::default().bound(99, TTL);
    for case in 0..8 {
        let memory = memory(3);
        // Short enough to have lost a third before the process's turn is over.
        let mut ttl = if matches!(case, 4 | 6) { 15 * MS } else { TTL };
        let (locks, guard) = held(&memory, wide, ttl, Renewal::Off).await;
        match case {
            0 => assert_ne!(guard.token(), Token::NOBODY),
            1 => assert_ne!(guard.lease().clone().token(), Token::NOBODY),
            2 => ttl = TTL * 2,
            3 => {
                let mut longer = Box::pin(guard.extend(TTL * 3));
                let mut cx = Context::from_waker(Waker::noop());
                assert!(longer.as_mut().poll(&mut cx).is_pending());
                memory.run(MS).await;
                assert!(matches!(longer.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
            }
            4 => memory.advance(4 * MS).await,
            // By an answer that came too late, which the keeper has not noticed yet.
            5 => assert!(guard.lease().op().lose(Lost::Expired)),
            _ => {}
        }
        let mut next = queued(&locks, ttl, Renewal::Off);
        drop(guard);
        let guard = handed(&mut next);
        assert_eq!(guard.is_some(), case >= 6, "case {case}");
        match guard {
            Some(guard) => drop(guard),
            None => assert!(granted(&memory, &mut next).await.attempts() > 0),
        }
        assert_eq!(locks.stats().handed_on, u64::from(case >= 6));
        nothing_left(&memory, &locks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_goes_away_with_the_lease_in_hand_hands_it_on() {
    let memory = memory(3);
    let (locks, guard) = held(&memory, Handoff::default(), TTL, Renewal::On).await;
    let mut requests: Vec<_> = (0..4).map(|_| queued(&locks, TTL, Renewal::On)).collect();
    drop(requests.remove(1));
    drop(guard);
    // Handed to the first, who never looks; then past the one who left.
    drop(requests.remove(0));
    let guard = handed(&mut requests[0]).unwrap();
    assert_eq!((guard.attempts(), locks.stats().handed_on), (0, 2));
    drop(guard);
    assert_eq!(locks.stats().handed_on, 3);
    assert_eq!(memory.executed(b"EVALSHA"), 0);
    // The last one never looks either: nobody is left to hand it to.
    drop(requests);
    nothing_left(&memory, &locks).await;
    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.handed_on, stats.released), (2, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_goes_bad_on_the_way_costs_a_round() {
    for lost in [false, true] {
        let memory = memory(3);
        let (locks, guard) = held(&memory, Handoff::default(), 100 * MS, Renewal::Off).await;
        let mut next = queued(&locks, 100 * MS, Renewal::Off);
        let mut after = queued(&locks, 100 * MS, Renewal::Off);
        let op = Arc::clone(guard.lease().op());
        drop(guard);
        assert_eq!(locks.stats().handed_on, 1);
        if lost {
            locks.engine().lose(&op, Lost::TakenOver);
        } else {
            // Too little is left, but it has not run out.
            memory.advance(92 * MS).await;
        }
        drop(op);
        assert!(handed(&mut next).is_none());
        assert!(poll(&mut after).is_pending(), "the slot stays with the first");
        let guard = granted(&memory, &mut next).await;
        assert!(guard.attempts() > 0 && !guard.report().handed_over);
        drop(guard);
        drop(granted(&memory, &mut after).await);
        drop(after);
        nothing_left(&memory, &locks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_new_holder_s_renewal_applies() {
    let ttl = 90 * MS;
    for (before, after, held_for) in [
        (Renewal::Off, Renewal::On, None),
        (Renewal::AtMost(MS), Renewal::On, None),
        (Renewal::On, Renewal::On, None),
        (Renewal::On, Renewal::Off, Some(ttl)),
        (Renewal::On, Renewal::AtMost(300 * MS), Some(300 * MS)),
    ] {
        let memory = memory(3);
        let (locks, guard) = held(&memory, Handoff::default(), ttl, before).await;
        let mut next = queued(&locks, ttl, after);
        drop(guard);
        let guard = handed(&mut next).unwrap();
        let mut lived = Duration::ZERO;
        while guard.is_valid() && lived < ttl * 8 {
            memory.run(9 * MS).await;
            lived += 10 * MS;
        }
        match held_for {
            None => assert_eq!(lived, ttl * 8, "{before:?} to {after:?}"),
            Some(most) => assert!(lived > most / 2 && lived <= most, "{after:?}: {lived:?}"),
        }
        assert_eq!(locks.stats().lost, u64::from(held_for.is_some()));
        drop(guard);
        nothing_left(&memory, &locks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_handed_on_all_the_time_is_renewed() {
    let ttl = 90 * MS;
    let memory = memory(3);
    let wide = Handoff::default().bound(u32::MAX, Duration::from_secs(60));
    let (locks, mut guard) = held(&memory, wide, ttl, Renewal::On).await;
    let (mut chain, mut longest) = (Duration::ZERO, Duration::ZERO);
    // The turns of a process that is alone grow from 10 to 160 ms.
    for _ in 0..60 {
        let mut next = queued(&locks, ttl, Renewal::On);
        drop(guard);
        guard = granted(&memory, &mut next).await;
        chain = if guard.attempts() == 0 { chain } else { Duration::ZERO };
        memory.run(24 * MS).await;
        chain += 25 * MS;
        longest = longest.max(chain);
        assert!(guard.is_valid(), "after {chain:?}");
    }
    assert!(longest > ttl + ttl / 3, "{longest:?} of one lease at most");
    drop(guard);
    assert_eq!(locks.stats().lost, 0);
    nothing_left(&memory, &locks).await;
}

#[tokio::test(start_paused = true)]
async fn closing_takes_a_handed_lease_back() {
    let memory = memory(3);
    let (locks, guard) = held(&memory, Handoff::default(), TTL, Renewal::On).await;
    let mut next = queued(&locks, TTL, Renewal::On);
    drop(guard);
    let mut close = Box::pin(locks.close());
    assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(matches!(poll(&mut next), Poll::Ready(Err(AcquireError::Closed))));
    memory.run(20 * MS).await;
    for peer in memory.0.iter() {
        assert!(peer.lock().unwrap().core.snapshot().is_empty());
    }
    assert!(locks.engine().fleet.pool.has_no_op_twice());
    assert_eq!((locks.stats().held, locks.stats().released), (0, 1));
}
