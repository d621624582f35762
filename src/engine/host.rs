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

/// The task of some drivers; ends when the last of them has.
pub(crate) struct Host<F> {
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
    pub(crate) fn new(drivers: impl IntoIterator<Item = F>) -> Self {
        let task = Arc::new(AtomicWaker::new());
        let hosted = |driver| {
            let ready = Ready { is_set: AtomicBool::new(true), task: Arc::clone(&task) };
            let ready = Arc::new(ready);
            (Some(driver), Arc::clone(&ready), Waker::from(ready))
        };
        let drivers = drivers.into_iter().map(hosted).collect();
        Self { drivers, task }
    }
}

impl<F: Future<Output = ()> + Unpin> Future for Host<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.task.register(cx.waker());
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
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }
}
