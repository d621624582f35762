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
