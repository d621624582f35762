//! One connection through a proxy: both directions, until an end or a rule ends them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::line::Line;
use super::race::{First, both, first, only_if};
use super::socket::{Socket, connect};
use super::{Door, Flow, Regime, Rules};
use crate::clock::now_ns;
use crate::cluster::url::Address;

const CHUNK_BYTES: usize = 16 << 10;

/// How a rule ends a connection.
#[derive(Debug)]
enum Cut {
    Close,
    Reset,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Requests,
    Replies,
}

impl Way {
    const fn of(self, rules: &Rules) -> Flow {
        match self {
            Self::Requests => rules.requests,
            Self::Replies => rules.replies,
        }
    }
}

/// Carries a connection that was accepted under `generation`.
pub(super) async fn carry(
    mut near: Box<dyn Socket>,
    node: Address,
    regime: watch::Receiver<Regime>,
    generation: u64,
    seed: u64,
) {
    // Whether the stream has a hole.
    let torn = AtomicBool::new(false);
    let cut = || cut(regime.clone(), generation, &torn);
    let mut far = match first(cut(), connect(&node)).await {
        First::Right(Ok(far)) => far,
        First::Left(Cut::Close) => return,
        // A node that refuses is as near to that as can be had here.
        First::Left(Cut::Reset) | First::Right(Err(_)) => return near.abort(),
    };
    let end = {
        let (near_read, near_write) = tokio::io::split(&mut near);
        let (far_read, far_write) = tokio::io::split(&mut far);
        let requests =
            pump(near_read, far_write, regime.clone(), Way::Requests, &torn, seed.wrapping_mul(2));
        let replies = pump(
            far_read,
            near_write,
            regime.clone(),
            Way::Replies,
            &torn,
            seed.wrapping_mul(2).wrapping_add(1),
        );
        first(cut(), both(requests, replies)).await
    };
    // A reset at one end is one at the other; an end was passed on before.
    if matches!(end, First::Left(Cut::Reset) | First::Right(Err(_))) {
        near.abort();
        far.abort();
    }
}

/// Waits for a rule that ends the connection.
async fn cut(mut regime: watch::Receiver<Regime>, generation: u64, torn: &AtomicBool) -> Cut {
    loop {
        let now = *regime.borrow_and_update();
        let passes = now.rules.requests == Flow::Pass && now.rules.replies == Flow::Pass;
        match now.rules.door {
            Door::Closed => return Cut::Close,
            Door::Reset => return Cut::Reset,
            Door::Open if now.generation != generation => return Cut::Reset,
            Door::Open if passes && torn.load(Ordering::Relaxed) => return Cut::Reset,
            Door::Open => {}
        }
        if regime.changed().await.is_err() {
            return Cut::Close;
        }
    }
}

/// Moves the bytes of one direction until its end, which is passed on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut regime: watch::Receiver<Regime>,
    way: Way,
    torn: &AtomicBool,
    seed: u64,
) -> io::Result<()> {
    let mut line = Line::new(seed);
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    let mut ended = false;
    loop {
        let rules = regime.borrow_and_update().rules;
        let flow = way.of(&rules);
        if flow == Flow::Drop && line.lose() {
            torn.store(true, Ordering::Relaxed);
        }
        if ended && flow == Flow::Pass && line.is_empty() {
            return to.shutdown().await;
        }
        let reads = !ended && flow != Flow::Hold && line.has_room();
        let sends = flow == Flow::Pass && !line.is_empty();
        let send = async {
            let wait_ns = line.due_ns(&rules).saturating_sub(now_ns());
            if wait_ns > 0 {
                tokio::time::sleep(Duration::from_nanos(wait_ns)).await;
            }
            to.write(line.head(&rules)).await
        };
        let moved = first(only_if(sends, send), only_if(reads, from.read(&mut chunk)));
        // The rules first: no byte moves after they changed.
        match first(regime.changed(), moved).await {
            First::Left(changed) => changed.map_err(io::Error::other)?,
            First::Right(First::Left(sent)) => match sent? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => line.sent(count, now_ns(), &rules),
            },
            First::Right(First::Right(read)) => match read? {
                0 => ended = true,
                count => line.push(chunk.get(..count).unwrap_or_default(), now_ns(), &rules),
            },
        }
    }
}
