//! What the engine's own bookkeeping costs per lock: the op's votes, the timing wheel, the slot.
//! No sockets, no tasks, one thread: contention between threads is not in these figures.
//!
//! `cargo bench --bench op`. Nanoseconds vary with the machine, instructions do not; to count
//! them per call of [`op_cycle`] (which callgrind finds by its name, so it is never inlined):
//!
//! ```sh
//! cargo bench --bench op --no-run                       # names the executable
//! valgrind --tool=callgrind --toggle-collect='*op_cycle*' --callgrind-out-file=op.callgrind \
//!     target/release/deps/op-<hash> --bench --profile-time 1 op/cycle_5
//! callgrind_annotate --inclusive=yes --tree=caller op.callgrind | grep -B2 '\* .*op_cycle'
//! ```
//!
//! The last line's instructions, divided by the `(..x)` calls of the line above it, are the
//! instructions per cycle. `timer_cycle` and `slot_cycle` work the same way.

use std::hint::black_box;

use criterion::Criterion;
use redlatch::Resource;
use redlatch::bench_internals::{Ops, Slots, Timers};

const SECOND_NS: u64 = 1_000_000_000;

/// Five grants, the third of which decides: what one uncontended acquisition does to its op.
#[inline(never)]
fn op_cycle(ops: &Ops, resource: &Resource, nodes: usize, attempt: u64) -> Option<u64> {
    ops.cycle(resource, nodes, attempt)
}

#[inline(never)]
fn timer_cycle(timers: &mut Timers, due_ns: u64) -> Option<u64> {
    timers.insert_remove(due_ns)
}

#[inline(never)]
fn slot_cycle(slots: &Slots, resource: &Resource) -> (Option<bool>, bool) {
    (slots.claim(resource), slots.pass(resource))
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let resource = Resource::from("orders:00000042");

    for nodes in [1, 5] {
        let ops = Ops::empty();
        let mut attempt = 0;
        assert!(op_cycle(&ops, &resource, nodes, SECOND_NS) > Some(SECOND_NS), "not won");
        criterion.bench_function(&format!("op/cycle_{nodes}"), |bencher| {
            bencher.iter(|| {
                attempt += 1;
                op_cycle(&ops, black_box(&resource), nodes, attempt)
            });
        });
    }

    // A thousand held locks with deadlines all over the next ten seconds.
    let mut timers = Timers::new((0..1_000).map(|at| at * SECOND_NS / 100));
    let mut due_ns = SECOND_NS;
    assert_eq!(timer_cycle(&mut timers, due_ns), Some(due_ns), "not found again");
    criterion.bench_function("wheel/insert_remove", |bencher| {
        bencher.iter(|| {
            due_ns = SECOND_NS + (due_ns + 7_919_000) % (9 * SECOND_NS);
            timer_cycle(&mut timers, due_ns)
        });
    });

    let slots = Slots::free();
    assert_eq!(slot_cycle(&slots, &resource), (None, false), "not free");
    criterion.bench_function("slot/claim_pass", |bencher| {
        bencher.iter(|| slot_cycle(&slots, black_box(&resource)));
    });
    // The slot is taken throughout: one caller queues up, and the slot passes to it.
    assert_eq!(slots.claim(&resource), None);
    assert_eq!(slot_cycle(&slots, &resource), (Some(true), true), "nobody queued up");
    criterion.bench_function("slot/queue_pass", |bencher| {
        bencher.iter(|| slot_cycle(&slots, black_box(&resource)));
    });

    criterion.final_summary();
}
