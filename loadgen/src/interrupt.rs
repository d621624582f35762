//! Ctrl-C and SIGTERM: the first asks for an end in order, the second ends the process at once.
//!
//! Invariants:
//! 1. An interrupt is never lost: one that comes while no run is under way reaches the next one as
//!    its first message, and [`came`] says so from then on.
//! 2. There is one watching thread, however many runs there are.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::agent::Message;

static CAME: AtomicBool = AtomicBool::new(false);
static LISTENER: Mutex<Listener> = Mutex::new(Listener { watching: false, sender: None });

struct Listener {
    watching: bool,
    sender: Option<SyncSender<Message>>,
}

fn listener() -> MutexGuard<'static, Listener> {
    LISTENER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on an interrupt is sent to `sender`, and to nobody before it.
pub(crate) fn send_to(sender: SyncSender<Message>) -> io::Result<()> {
    watch()?;
    let mut listener = listener();
    if came() {
        let _ = sender.try_send(Message::Interrupted);
    }
    listener.sender = Some(sender);
    Ok(())
}

/// Whether there was an interrupt since the first call of [`watch`].
pub(crate) fn came() -> bool {
    CAME.load(Ordering::SeqCst)
}

/// Begins to watch, if that has not begun.
pub(crate) fn watch() -> io::Result<()> {
    let mut listener = listener();
    if listener.watching {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals());
    })?;
    listener.watching = true;
    Ok(())
}

async fn signals() {
    use tokio::signal::unix::{SignalKind, signal};
    let term = signal(SignalKind::terminate());
    let int = signal(SignalKind::interrupt());
    let (Ok(mut term), Ok(mut int)) = (term, int) else { return };
    for patience in [true, false] {
        std::future::poll_fn(|context| {
            let came = term.poll_recv(context).is_ready();
            match came || int.poll_recv(context).is_ready() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        if !patience {
            std::process::exit(130);
        }
        let listener = listener();
        CAME.store(true, Ordering::SeqCst);
        if let Some(sender) = &listener.sender {
            let _ = sender.try_send(Message::Interrupted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_listener_that_comes_later_hears_of_an_interrupt_before_it() {
        let (before, unheard) = sync_channel(1);
        send_to(before).unwrap();
        CAME.store(true, Ordering::SeqCst);
        let (sender, messages) = sync_channel(1);
        let sent = send_to(sender);
        CAME.store(false, Ordering::SeqCst);
        sent.unwrap();
        assert!(matches!(messages.try_recv(), Ok(Message::Interrupted)));
        assert!(unheard.try_recv().is_err());
    }
}
