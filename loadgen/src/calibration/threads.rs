//! How busy single threads of this process are, by the kernel's own account: a process of which one
//! thread is at its limit looks idle on a machine with many cores.

use std::collections::BTreeMap;
use std::fs;

/// What the worker threads of the load are called. The kernel keeps 15 bytes of a name.
pub(crate) const WORKERS: &str = "loadgen-worker";
/// Threads looked at; no run has more.
const MOST: usize = 4_096;

/// CPU time of every worker thread by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Workers(BTreeMap<u32, u64>);

impl Workers {
    /// Empty where the kernel does not tell.
    pub(crate) fn now() -> Self {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().take(MOST);
        Self(tasks.filter_map(|task| worker(&task.path())).collect())
    }

    /// The CPU time of the busiest of them since `earlier`.
    pub(crate) fn busiest_since(&self, earlier: &Self) -> Option<u64> {
        let since = |(thread, ns): (&u32, &u64)| {
            earlier.0.get(thread).map(|before| ns.saturating_sub(*before))
        };
        self.0.iter().filter_map(since).max()
    }
}

fn worker(task: &std::path::Path) -> Option<(u32, u64)> {
    let read = |name| fs::read_to_string(task.join(name)).ok();
    if read("comm")?.trim_end() != WORKERS {
        return None;
    }
    let thread = task.file_name()?.to_str()?.parse().ok()?;
    // Time on a CPU, time waiting for one, and slices; the first two in ns.
    Some((thread, read("schedstat")?.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_is_busier_than_one_that_sleeps() {
        let (tell, told) = std::sync::mpsc::channel();
        let (start, go) = std::sync::mpsc::channel::<()>();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let theirs = std::sync::Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(WORKERS.to_owned()).spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
            let _ = go.recv();
            while !theirs.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let thread = thread.unwrap();
        let id = told.recv().unwrap();
        // Other tests of this process have workers as well, and they come and go.
        let mut before = Workers::now();
        before.0.retain(|worker, _| *worker == id);
        assert_eq!(before.0.len(), 1, "the thread is not among the workers");
        let until = crate::clock::now_ns() + 20_000_000_000;
        start.send(()).unwrap();
        let mut busiest = None;
        while busiest.is_none_or(|ns| ns < 5_000_000) && crate::clock::now_ns() < until {
            std::thread::yield_now();
            busiest = Workers::now().busiest_since(&before);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        thread.join().unwrap();
        assert!(busiest.is_some_and(|ns| ns >= 5_000_000), "{busiest:?} {before:?}");
        assert_eq!(before.busiest_since(&Workers::default()), None, "threads that came later");
    }
}
