//! Several drivers on one task.
//!
//! The replies of a quorum arrive together: on a multi-thread runtime, a task per node would have
//! each of them wake another worker, which costs a lone caller more than the round trip's work.
//! Hosted, the drivers wake one task once. Each still has its own readiness, so that an idle or a
//! dead node is not polled with the others.
//!
//! - I1 a driver is polled once per turn of the host: one that wakes itself waits for the next
//!   turn, behind the tasks that are ready to run, which is what gathering relies on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;

use crate::engine::fleet::Fleet;

/// The task of some drivers; ends when the last of them has.
pub(crate) struct Host<F> {
    fleet: Arc<Fleet>,
    drivers: Vec<(Option<F>, Arc<Ready>, Waker)>,
    task: Arc<AtomicWaker>,
}

struct Ready {
    is_set: AtomicBool,
    task: Arc<AtomicWaker>,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

impl<F> Host<F> {
    pub(crate) fn new(fleet: Arc<Fleet>, drivers: impl IntoIterator<Item = F>) -> Self {
        let task = Arc::new(AtomicWaker::new());
        let hosted = |driver| {
            let ready = Ready { is_set: AtomicBool::new(true), task: Arc::clone(&task) };
            let ready = Arc::new(ready);
            (Some(driver), Arc::clone(&ready), Waker::from(ready))
        };
        let drivers = drivers.into_iter().map(hosted).collect();
        Self { fleet, drivers, task }
    }
}

impl<F: Future<Output = ()> + Unpin> Future for Host<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.task.register(cx.waker());
        // The callers of earlier reads, behind those that were woken before them.
        this.fleet.rousing.turn();
        let mut is_over = true;
        for (driver, ready, waker) in &mut this.drivers {
            let Some(running) = driver else { continue };
            is_over = false;
            // I1
            if ready.is_set.swap(false, Ordering::AcqRel)
                && Pin::new(running).poll(&mut Context::from_waker(waker)).is_ready()
            {
                *driver = None;
                // Looks once more whether it was the last.
                this.task.wake();
            }
        }
        if this.fleet.rousing.is_waiting() {
            this.task.wake();
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Over, or its runtime is gone: nobody else wakes those who are left, and they may be another
/// runtime's.
impl<F> Drop for Host<F> {
    fn drop(&mut self) {
        self.fleet.rousing.end();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::engine::hub::Hub;
    use crate::engine::op::Pool;
    use crate::engine::rousing::Rousing;
    use crate::engine::waiters::Waiters;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Counted {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    type Idle = Pin<Box<dyn Future<Output = ()>>>;

    /// A host of one idle driver, and how often its task and its callers have been woken.
    fn host_with(callers: usize) -> (Host<Idle>, Arc<Counted>, Arc<Counted>) {
        let endpoints = ["redis://10.0.0.1:1".parse().unwrap()];
        let hub = Hub::new(1, "", Arc::new(Waiters::new()));
        let fleet = Arc::new(Fleet::new(&endpoints, 1, 10, hub, Rousing::new(true), Pool::new(1)));
        let (task, woken): (Arc<Counted>, Arc<Counted>) = (Arc::default(), Arc::default());
        let mut calls = vec![Waker::from(Arc::clone(&woken)); callers];
        fleet.rousing.rouse(&mut calls);
        let idle: Idle = Box::pin(pending());
        (Host::new(fleet, [idle]), task, woken)
    }

    #[test]
    fn it_comes_again_until_every_caller_is_woken() {
        let (mut host, task, woken) = host_with(60);
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        let mut turns = 0;
        loop {
            assert!(Pin::new(&mut host).poll(&mut cx).is_pending());
            turns += 1;
            if task.take() == 0 {
                break;
            }
        }
        assert_eq!(woken.take(), 60);
        assert!((2..8).contains(&turns), "a few at a time: {turns} turns");
    }

    #[test]
    fn when_it_ends_nobody_is_left_waiting() {
        let (host, _, woken) = host_with(60);
        assert!(woken.take() < 60);
        drop(host);
        assert!(woken.take() > 50);
    }
}
