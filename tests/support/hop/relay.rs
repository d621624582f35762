//! The inside of a hop: four threads for each connection, and the state that they share.
//!
//! One thread reads and one writes for each lane; a link's queues stand between them. Every change
//! of the state wakes all who wait for one. The invariants are those of the module above.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::frames::Frames;
use super::{Flow, Lane};

#[derive(Debug)]
pub struct Hub {
    pub state: Mutex<State>,
    pub changed: Condvar,
}

#[derive(Debug)]
pub struct State {
    pub backend: SocketAddr,
    pub hides: bool,
    /// The connection that ends the listening.
    pub last: Option<SocketAddr>,
    pub flows: [Flow; 2],
    pub links: BTreeMap<u64, Link>,
    pub accepted: u64,
    pub hidden: u64,
}

/// One client's connection.
#[derive(Debug)]
pub struct Link {
    pub client: Option<Arc<TcpStream>>,
    pub server: Option<Arc<TcpStream>>,
    pub lanes: [Queue; 2],
    /// Threads that serve it; the last one takes the link off the map.
    pub threads: u32,
    pub is_cut: bool,
    /// Requests sent less replies received.
    pub pending: u64,
    /// Counts the servers that this connection has had.
    pub epoch: u64,
}

#[derive(Debug)]
pub struct Queue {
    pub flow: Flow,
    pub bytes: Vec<u8>,
    pub has_ended: bool,
    pub has_dropped: bool,
    pub frames: Frames,
}

impl Hub {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }

    /// Waits until `ready` finds something on the link; `None` when the link is cut.
    fn wait<T>(&self, id: u64, mut ready: impl FnMut(&mut Link) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        loop {
            let link = state.links.get_mut(&id).filter(|link| !link.is_cut)?;
            if let Some(found) = ready(link) {
                self.changed.notify_all();
                return Some(found);
            }
            state = self.changed.wait(state).expect("no thread panics while it holds the state");
        }
    }

    /// Changes the link at once; `None` when it is cut.
    fn with<T>(&self, id: u64, change: impl FnOnce(&mut Link) -> T) -> Option<T> {
        let mut change = Some(change);
        self.wait(id, |link| change.take().map(|change| change(link)))
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        let link = state.links.get_mut(&id).expect("the last thread takes it off");
        link.threads -= 1;
        if link.threads == 0 {
            state.links.remove(&id);
        }
        self.changed.notify_all();
    }
}

impl Link {
    pub fn cut(&mut self) {
        self.is_cut = true;
        for end in [self.client.take(), self.server.take()].into_iter().flatten() {
            abort(&end);
        }
    }

    /// Closes both ends without a reset.
    fn finish(&mut self) {
        self.is_cut = true;
        for end in [&self.client, &self.server].into_iter().flatten() {
            let _ = end.shutdown(Shutdown::Read);
        }
    }

    /// Invariant 4: no request has gone out, in whole or in part, that lacks its reply.
    fn is_settled(&self) -> bool {
        self.pending == 0 && self.lanes.iter().all(|lane| lane.frames.is_at_boundary())
    }

    pub fn is_idle(&self) -> bool {
        self.server.is_some() && self.is_settled()
    }

    fn lose_server(&mut self, lost: &Arc<TcpStream>) {
        if self.server.as_ref().is_some_and(|server| Arc::ptr_eq(server, lost)) {
            self.server = None;
        }
    }
}

impl Queue {
    fn new(flow: Flow) -> Self {
        let frames = Frames::default();
        Self { flow, bytes: Vec::new(), has_ended: false, has_dropped: false, frames }
    }

    pub fn set(&mut self, flow: Flow) {
        self.flow = flow;
        self.push(&[]);
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.flow == Flow::Drop || self.has_dropped {
            self.has_dropped |= !self.bytes.is_empty();
            self.bytes.clear();
        }
    }

    /// The bytes to write now; none of them at the end of the stream.
    fn take(&mut self) -> Option<Vec<u8>> {
        let may_pass = self.flow == Flow::Pass && !self.has_dropped;
        let has_some = self.has_ended || !self.bytes.is_empty();
        (may_pass && has_some).then(|| std::mem::take(&mut self.bytes))
    }
}

pub fn accept_all(hub: &Arc<Hub>, listener: &TcpListener) {
    loop {
        let accepted = listener.accept();
        let mut state = hub.lock();
        let Ok((client, from)) = accepted else {
            drop(state);
            thread::sleep(PAUSE);
            continue;
        };
        if state.last == Some(from) {
            return;
        }
        // Invariant 3: what is too much is closed here.
        if state.links.len() < LINKS_MAX && prepare(&client).is_ok() {
            serve(hub, &mut state, client);
        }
    }
}

fn serve(hub: &Arc<Hub>, state: &mut State, client: TcpStream) {
    let id = state.accepted;
    state.accepted += 1;
    let client = Arc::new(client);
    let link = Link {
        client: Some(Arc::clone(&client)),
        server: None,
        lanes: state.flows.map(Queue::new),
        threads: 4,
        is_cut: false,
        pending: 0,
        epoch: 0,
    };
    state.links.insert(id, link);
    // A thread has let go of every end when it leaves, so the last one to leave closes them.
    let run = |work: Box<dyn FnOnce(&Hub) + Send>| {
        let hub = Arc::clone(hub);
        thread::spawn(move || {
            work(&hub);
            hub.leave(id);
        });
    };
    run(Box::new(move |hub| read_requests(hub, id, client)));
    run(Box::new(move |hub| write_requests(hub, id)));
    run(Box::new(move |hub| read_replies(hub, id)));
    run(Box::new(move |hub| write_replies(hub, id)));
}

fn read_requests(hub: &Hub, id: u64, client: Arc<TcpStream>) {
    let mut buffer = vec![0; READ_MAX];
    while wait_for_room(hub, id, Lane::Requests) {
        let count = read(&client, &mut buffer);
        hub.with(id, |link| {
            let lane = &mut link.lanes[Lane::Requests as usize];
            lane.push(&buffer[..count]);
            lane.has_ended = count == 0;
        });
        if count == 0 {
            return;
        }
    }
}

fn write_requests(hub: &Hub, id: u64) {
    let next = |link: &mut Link| {
        let server = Arc::clone(link.server.as_ref()?);
        let lane = &mut link.lanes[Lane::Requests as usize];
        let bytes = lane.take()?;
        // Before they are written: the reply must not come first.
        link.pending += lane.frames.feed(&bytes);
        Some((server, bytes))
    };
    while let Some((server, bytes)) = hub.wait(id, next) {
        if bytes.is_empty() {
            let _ = server.shutdown(Shutdown::Write);
            return;
        }
        let is_wanted = || hub.with(id, |_| ()).is_some();
        if !write(&server, &bytes, is_wanted) {
            // Its reader sees the same, and decides.
            hub.with(id, |link| link.lose_server(&server));
        }
    }
}

fn read_replies(hub: &Hub, id: u64) {
    let mut buffer = vec![0; READ_MAX];
    while let Some(server) = connect(hub, id) {
        while wait_for_room(hub, id, Lane::Replies) {
            let count = read(&server, &mut buffer);
            if count == 0 {
                break;
            }
            hub.with(id, |link| {
                let lane = &mut link.lanes[Lane::Replies as usize];
                lane.push(&buffer[..count]);
                // A server may say something that nobody asked for, as it does when it is full.
                link.pending = link.pending.saturating_sub(lane.frames.feed(&buffer[..count]));
            });
        }
        let hides = hub.lock().hides;
        let goes_on = hub.with(id, |link| {
            link.lose_server(&server);
            let requests = &link.lanes[Lane::Requests as usize];
            let has_more = !requests.has_ended || !requests.bytes.is_empty();
            let goes_on = hides && has_more && link.is_settled();
            link.lanes[Lane::Replies as usize].has_ended = !goes_on;
            goes_on
        });
        if goes_on != Some(true) {
            return;
        }
    }
}

fn write_replies(hub: &Hub, id: u64) {
    let next = |link: &mut Link| {
        let bytes = link.lanes[Lane::Replies as usize].take()?;
        Some((link.client.clone(), bytes))
    };
    while let Some((client, bytes)) = hub.wait(id, next) {
        if bytes.is_empty() {
            hub.with(id, Link::finish);
            return;
        }
        if let Some(client) = client {
            // Without its client a connection still delivers what it holds (invariant 2).
            let is_wanted = || hub.with(id, |link| link.client.is_some()) == Some(true);
            write(&client, &bytes, is_wanted);
        }
    }
}

/// Connects the link to the backend of the moment; tries until it can where restarts are hidden.
fn connect(hub: &Hub, id: u64) -> Option<Arc<TcpStream>> {
    loop {
        let backend = hub.lock().backend;
        let server = TcpStream::connect_timeout(&backend, PATIENCE);
        let server = server.and_then(|server| prepare(&server).map(|()| Arc::new(server)));
        let mut state = hub.lock();
        let hides = state.hides;
        let link = state.links.get_mut(&id).filter(|link| !link.is_cut)?;
        if let Ok(server) = server {
            link.server = Some(Arc::clone(&server));
            link.epoch += 1;
            let is_hidden = link.epoch > 1;
            state.hidden += u64::from(is_hidden);
            hub.changed.notify_all();
            return Some(server);
        }
        if !hides {
            link.cut();
            hub.changed.notify_all();
            return None;
        }
        drop(state);
        thread::sleep(PAUSE);
    }
}

fn wait_for_room(hub: &Hub, id: u64, lane: Lane) -> bool {
    hub.wait(id, |link| (link.lanes[lane as usize].bytes.len() < QUEUE_MAX).then_some(())).is_some()
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    // For writers: they look whether they are still wanted.
    stream.set_write_timeout(Some(PAUSE * 10))
}

/// Bytes read; 0 at the end, however it came.
fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.unwrap_or(0),
        }
    }
}

/// Whether all was written.
fn write(mut stream: &TcpStream, mut bytes: &[u8], is_wanted: impl Fn() -> bool) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) => {
                if !is_wanted() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}

/// Wakes the reader with the end of the stream; the last one to let go then resets.
pub fn abort(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

const LINKS_MAX: usize = 256;
const QUEUE_MAX: usize = 1 << 20;
const READ_MAX: usize = 64 << 10;
pub const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);
