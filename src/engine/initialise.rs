//! Opens a fleet on its operator's word that nobody holds a lock.
//!
//! DESIGN's R4: a missing epoch never opens a node by itself, because a fleet that was just
//! flushed looks like a fresh one. So this asks every node first, and opens none unless all
//! answer and none has an epoch. Each node decides once more, atomically, when it is opened: a
//! client that stamps it in between makes that node refuse, and only wait longer.

use std::pin::pin;
use std::time::Duration;

use crate::endpoint::{Endpoint, Ends};
use crate::engine::clock::{Clock, Timer};
use crate::engine::fleet;
use crate::engine::greeting::{Greeting, Stamping};
use crate::engine::node::NodeSettings;
use crate::engine::rng::Rng;
use crate::net::Transport;
use crate::session::stamp::{Caller, Intent, Stamp};

/// What one node said, or why it said nothing.
pub(crate) type Answer = Result<Stamp, String>;

/// One greeting of one node, within `within`.
async fn greet<T: Transport>(
    transport: &T,
    clock: Clock,
    endpoint: &Endpoint,
    settings: &NodeSettings,
    stamping: Stamping,
    within: Duration,
) -> Answer {
    let mut timer = Timer::new(clock);
    let until = clock.now().plus(within);
    let mut greeted = pin!(async {
        let stream = transport.dial(endpoint).await.map_err(|error| error.to_string())?;
        let mut greeting = Greeting::new(stream, endpoint, settings, stamping);
        let capabilities = std::future::poll_fn(|cx| greeting.poll(cx)).await;
        let capabilities = capabilities.map_err(|setback| setback.reason)?;
        capabilities.stamp.ok_or_else(|| "it did not say which epoch it is in".to_owned())
    });
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(answer) = greeted.as_mut().poll(cx) {
            return std::task::Poll::Ready(answer);
        }
        if clock.now() >= until {
            return std::task::Poll::Ready(Err("no answer in time".to_owned()));
        }
        timer.alarm(until, cx);
        while timer.poll_fired(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        std::task::Poll::Pending
    })
    .await
}

/// Greets every node with the same intent, one after the other: this happens once in the life of
/// a fleet.
pub(crate) async fn greet_all<T: Transport>(
    transport: &T,
    clock: Clock,
    endpoints: &[Endpoint],
    quorum: usize,
    settings: &NodeSettings,
    seed: u64,
    intent: Intent<'static>,
) -> Vec<Answer> {
    let fleet = fleet::name(endpoints, quorum);
    let mut rng = Rng::new(seed);
    let mut answers = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let caller = Caller {
            fresh: format!("{:016x}{:016x}", rng.next(), rng.next()),
            quarantine_ms: settings.quarantine_ms,
            fleet: fleet.clone(),
        };
        let ends = Ends::Unknown;
        let stamping = Stamping { intent, caller, previous: None, channel: None, ends };
        let within = settings.connect_timeout;
        answers.push(greet(transport, clock, endpoint, settings, stamping, within).await);
    }
    answers
}
