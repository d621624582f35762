//! Channels: who listens, and what is said.
//!
//! A message is delivered to whoever listens at the moment, in front of the reply to the command
//! that said it. In RESP2 a client that listens may do nothing else.
//!
//! Invariant: a client listens to [`CHANNELS_MAX`] channels at most.

use super::command::Call;
use super::reply::Reply;
use super::tracking::Clients;

pub(super) fn subscribe(call: &mut Call<'_>, args: &[&[u8]]) {
    for channel in args.iter().skip(1) {
        match call.node.clients.listen(call.session.id, channel) {
            Some(channels) => confirm(call, "subscribe", Some(channel), channels),
            None => call.reply.error("ERR too many channels for the test node"),
        }
    }
}

/// `UNSUBSCRIBE [channel ...]`: without a name from all, in their own order.
pub(super) fn unsubscribe(call: &mut Call<'_>, args: &[&[u8]]) {
    let id = call.session.id;
    let all = call.node.clients.channels(id);
    let named = args.iter().skip(1).map(|channel| Box::from(*channel));
    let channels: Vec<Box<[u8]>> = if args.len() > 1 { named.collect() } else { all };
    if channels.is_empty() {
        confirm(call, "unsubscribe", None, 0);
    }
    for channel in channels {
        let left = call.node.clients.ignore(id, &channel);
        confirm(call, "unsubscribe", Some(&channel), left);
    }
}

fn confirm(call: &mut Call<'_>, what: &str, channel: Option<&[u8]>, channels: usize) {
    call.reply.push(3);
    call.reply.bulk(what);
    match channel {
        Some(channel) => call.reply.bulk(channel),
        None => call.reply.null(),
    }
    call.reply.count(channels);
}

pub(super) fn publish(call: &mut Call<'_>, args: &[&[u8]]) {
    let [_, channel, message] = args else { return };
    let heard = call.node.clients.publish(call.session.id, channel, message);
    call.reply.count(heard);
}

impl Clients {
    /// How many channels the client listens to from now on; `None`: to no more.
    fn listen(&mut self, id: u64, channel: &[u8]) -> Option<usize> {
        let channels = self.channels_of(id)?;
        if channels.len() >= CHANNELS_MAX && !channels.contains(channel) {
            return None;
        }
        channels.insert(channel.into());
        Some(channels.len())
    }

    /// How many channels are left.
    fn ignore(&mut self, id: u64, channel: &[u8]) -> usize {
        let Some(channels) = self.channels_of(id) else { return 0 };
        channels.remove(channel);
        channels.len()
    }

    fn channels(&mut self, id: u64) -> Vec<Box<[u8]>> {
        self.channels_of(id).map(|channels| channels.iter().cloned().collect()).unwrap_or_default()
    }

    /// How many clients hear it; `by` is whose command says it.
    pub(super) fn publish(&mut self, by: u64, channel: &[u8], message: &[u8]) -> usize {
        let mut heard = 0;
        self.deliver_to(by, |client| {
            let hears = client.channels.contains(channel);
            heard += usize::from(hears);
            hears.then_some(|reply: &mut Reply<'_>| {
                reply.push(3);
                reply.bulk("message");
                reply.bulk(channel);
                reply.bulk(message);
            })
        });
        heard
    }
}

const CHANNELS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::CHANNELS_MAX;
    use crate::testing::{NodeCore, Options};

    #[test]
    fn a_client_listens_to_so_many_channels_and_no_more() {
        let mut node = NodeCore::new(Options::new());
        let mut client = node.connect("eager:1");
        for channel in 0..CHANNELS_MAX {
            let answer = node.exchange(&mut client, format!("SUBSCRIBE {channel}\r\n").as_bytes());
            assert!(answer.starts_with(b"*3\r\n"), "{channel}");
        }
        assert!(node.exchange(&mut client, b"SUBSCRIBE other\r\n").starts_with(b"-ERR too many"));
        assert!(node.exchange(&mut client, b"SUBSCRIBE 0\r\n").ends_with(b":1024\r\n"));
        assert!(node.exchange(&mut client, b"UNSUBSCRIBE 0\r\n").ends_with(b":1023\r\n"));
        assert!(node.exchange(&mut client, b"SUBSCRIBE other\r\n").ends_with(b":1024\r\n"));
    }

    #[test]
    fn a_listener_that_never_reads_is_closed() {
        let mut node = NodeCore::new(Options::new());
        let (mut deaf, mut other) = (node.connect("deaf:1"), node.connect("other:1"));
        node.exchange(&mut deaf, b"SUBSCRIBE c\r\n");
        let message = format!("PUBLISH c {}\r\n", "x".repeat(1 << 10));
        let messages = message.repeat(100);
        for round in 0..100 {
            node.exchange(&mut other, messages.as_bytes());
            if !node.is_open(&deaf) {
                assert!(round > 20, "closed after {round} hundred messages");
                assert_eq!(node.exchange(&mut other, b"PUBLISH c x\r\n"), b":0\r\n");
                return;
            }
        }
        panic!("ten thousand messages are kept");
    }
}
