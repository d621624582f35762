//! What is bounded stays within its bounds, and what does not fit is refused with its reason.

use std::time::Duration;

use redlatch::{AcquireError, NodeState, Verdict};

use crate::support::{all_up, builder, emptied, test_nodes, until, urls, within};

#[tokio::test]
async fn what_does_not_fit_is_refused_and_harms_nobody() {
    const WINDOW: usize = 20;
    let nodes = test_nodes(3).await;
    let patient = builder(urls(&nodes))
        .node_timeout(Duration::from_secs(15))
        .unresponsive_after(Duration::from_secs(16))
        .heartbeat_interval(Duration::from_secs(3_600))
        .max_inflight(WINDOW);
    let locks = all_up(patient.connect().await.unwrap()).await;
    let held = within(locks.acquire("held")).await.unwrap();
    // Nothing is answered, and nothing is overdue yet.
    nodes.iter().for_each(|node| node.stall(true));
    let tasks: Vec<_> = (0..3 * WINDOW)
        .map(|at| {
            let locks = locks.clone();
            tokio::spawn(async move { locks.try_acquire(format!("r{at}")).await })
        })
        .collect();
    let refused = || tasks.iter().filter(|task| task.is_finished()).count();
    until("the window to be full", || refused() >= 2 * WINDOW).await;
    for node in locks.nodes() {
        assert_eq!(node.state, NodeState::Up);
        assert!(node.in_flight <= WINDOW, "{} in flight", node.in_flight);
    }
    // Who holds a lock can still give it back: behind what is under way.
    let release = tokio::spawn(held.release());
    nodes.iter().for_each(|node| node.stall(false));
    within(release).await.unwrap().unwrap();
    let (mut granted, mut overloaded) = (0, 0);
    for task in tasks {
        match within(task).await.unwrap() {
            Ok(guard) => {
                granted += 1;
                drop(guard);
            }
            Err(error @ AcquireError::Overloaded { .. }) => {
                overloaded += 1;
                assert!(error.to_string().contains("max_inflight"), "{error}");
                let report = error.report().unwrap();
                assert_eq!(report.count(Verdict::Granted), 0, "{report}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(granted + overloaded, 3 * WINDOW);
    assert!(granted >= 1 && overloaded >= 2 * WINDOW, "{granted} granted");
    emptied(&nodes).await;
}
