//! What a run's processes say to each other: frames of a length, a kind and a payload.
//!
//! Histograms travel as HdrHistogram V2-deflate and are merged exactly; nothing is averaged.
//! Bounded: a frame above [`MOST_BYTES`] ends the conversation.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::driver::{Event, Tick};
use crate::recorder::{Counts, Hist, Metric, Snapshot};

const MOST_BYTES: u32 = 64 << 20;

/// To a worker process, first of all.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) process: u32,
    pub(crate) config: RunConfig,
    pub(crate) oracle: PathBuf,
}

/// To a worker process, after its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    Go { start_ns: u64 },
    Stop,
}

#[derive(Serialize, Deserialize)]
struct TickHead {
    index: Option<u32>,
    counts: Counts,
    in_flight: u64,
    started: u64,
    hists: Sizes,
    /// Of each workload of a mix.
    parts: Vec<(Counts, Sizes)>,
}

/// Metrics by their places in [`Metric::ALL`], and the bytes of their histograms.
type Sizes = Vec<(usize, usize)>;

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// Writes one frame and flushes.
pub(crate) fn send(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|&length| length <= MOST_BYTES);
    let length = length.ok_or_else(|| bad(format!("a frame of {} bytes", payload.len())))?;
    let mut head = [kind; 5];
    for (to, from) in head.iter_mut().zip(length.to_le_bytes()) {
        *to = from;
    }
    to.write_all(&head)?;
    to.write_all(payload)?;
    to.flush()
}

/// Reads one frame; `None` at a clean end.
pub(crate) fn receive(from: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut length = [0_u8; 4];
    match from.read(&mut length)? {
        0 => return Ok(None),
        n => from.read_exact(length.get_mut(n..).unwrap_or_default())?,
    }
    let length = u32::from_le_bytes(length);
    if length > MOST_BYTES {
        return Err(bad(format!("a frame of {length} bytes")));
    }
    let mut kind = [0_u8; 1];
    from.read_exact(&mut kind)?;
    let mut payload = Vec::new();
    from.take(length.into()).read_to_end(&mut payload)?;
    if payload.len() as u64 != u64::from(length) {
        return Err(bad("the stream ended inside a frame"));
    }
    let [kind] = kind;
    Ok(Some((kind, payload)))
}

/// Writes `message` as a JSON frame.
pub(crate) fn send_json(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    send(to, b'J', &serde_json::to_vec(message)?)
}

/// Reads a JSON frame.
pub(crate) fn receive_json<T: for<'a> Deserialize<'a>>(
    from: &mut impl Read,
) -> io::Result<Option<T>> {
    match receive(from)? {
        None => Ok(None),
        Some((b'J', payload)) => Ok(Some(serde_json::from_slice(&payload)?)),
        Some((kind, _)) => Err(bad(format!("a frame of kind {kind} where an order belongs"))),
    }
}

/// Writes an event.
pub(crate) fn send_event(to: &mut impl Write, event: &Event) -> io::Result<()> {
    match event {
        Event::Ready(owner) => send(to, b'R', &serde_json::to_vec(owner)?),
        Event::Tick(tick) => send(to, b'T', &encode_tick(tick)?),
        Event::Nodes(news) => send(to, b'N', &serde_json::to_vec(news)?),
        Event::Looks(looks) => send(to, b'L', &serde_json::to_vec(looks)?),
        Event::Final(last) => send(to, b'F', &serde_json::to_vec(last)?),
        Event::Failed(text) => send(to, b'E', text.as_bytes()),
    }
}

/// Reads an event; `None` at a clean end.
pub(crate) fn receive_event(from: &mut impl Read) -> io::Result<Option<Event>> {
    let Some((kind, payload)) = receive(from)? else { return Ok(None) };
    Ok(Some(match kind {
        b'R' => Event::Ready(serde_json::from_slice(&payload)?),
        b'T' => Event::Tick(decode_tick(&payload)?),
        b'N' => Event::Nodes(serde_json::from_slice(&payload)?),
        b'L' => Event::Looks(serde_json::from_slice(&payload)?),
        b'F' => Event::Final(serde_json::from_slice(&payload)?),
        b'E' => Event::Failed(String::from_utf8_lossy(&payload).into_owned()),
        other => return Err(bad(format!("a frame of unknown kind {other}"))),
    }))
}

fn encode_tick(tick: &Tick) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut sizes = |of: &Snapshot| -> io::Result<Sizes> {
        let size = |(metric, hist): &(Metric, Hist)| {
            let place = Metric::ALL.iter().position(|m| m == metric).unwrap_or(usize::MAX);
            let size = serializer.serialize(hist, &mut body).map_err(|e| bad(e.to_string()))?;
            Ok((place, size))
        };
        of.hists.iter().map(size).collect()
    };
    let snapshot = &tick.snapshot;
    let head = TickHead {
        index: tick.index,
        counts: snapshot.counts,
        in_flight: tick.in_flight,
        started: tick.started,
        hists: sizes(snapshot)?,
        parts: snapshot
            .parts
            .iter()
            .map(|of| Ok((of.counts, sizes(of)?)))
            .collect::<io::Result<_>>()?,
    };
    let mut frame = Vec::new();
    send_json(&mut frame, &head)?;
    frame.extend(body);
    Ok(frame)
}

fn decode_tick(payload: &[u8]) -> io::Result<Tick> {
    let mut rest = payload;
    let head: TickHead = receive_json(&mut rest)?.ok_or_else(|| bad("an empty tick"))?;
    let mut deserializer = Deserializer::new();
    let mut snapshot = |counts, sizes: Sizes| -> io::Result<Snapshot> {
        let mut hists = Vec::new();
        for (place, size) in sizes {
            let (mut bytes, after) =
                rest.split_at_checked(size).ok_or_else(|| bad("a tick that is cut short"))?;
            let metric = *Metric::ALL.get(place).ok_or_else(|| bad("an unknown metric"))?;
            let hist = deserializer.deserialize(&mut bytes).map_err(|e| bad(e.to_string()))?;
            hists.push((metric, hist));
            rest = after;
        }
        Ok(Snapshot { hists, counts, parts: Vec::new() })
    };
    let whole = snapshot(head.counts, head.hists)?;
    let parts = head.parts.into_iter().map(|(counts, sizes)| snapshot(counts, sizes));
    let snapshot = Snapshot { parts: parts.collect::<io::Result<_>>()?, ..whole };
    Ok(Tick { index: head.index, snapshot, in_flight: head.in_flight, started: head.started })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::rng::SplitMix;
    use crate::recorder::{histogram, merge};

    fn tick(index: u32, seed: u64) -> Tick {
        let mut rng = SplitMix::new(seed);
        let mut hist = histogram();
        (0..5_000).for_each(|_| hist.saturating_record(rng.next() >> 30));
        let counts = Counts { ok: 5_000, timeout: 2, ..Counts::default() };
        let of_part = Counts { ok: seed, ..counts };
        let part = Snapshot {
            hists: vec![(Metric::Service, hist.clone())],
            counts: of_part,
            ..Snapshot::default()
        };
        let parts = vec![Snapshot::default(), part];
        let snapshot = Snapshot { hists: vec![(Metric::Response, hist)], counts, parts };
        Tick { index: Some(index), snapshot, in_flight: 3, started: 5 }
    }

    #[test]
    fn merging_what_four_processes_sent_is_the_histogram_of_all_samples_bit_for_bit() {
        let (mut all, mut merged) = (histogram(), histogram());
        for seed in 0..4 {
            let sent = tick(7, seed);
            let mut wire = Vec::new();
            send_event(&mut wire, &Event::Tick(sent)).unwrap();
            let Some(Event::Tick(got)) = receive_event(&mut wire.as_slice()).unwrap() else {
                panic!("not a tick");
            };
            assert_eq!((got.index, got.in_flight, got.snapshot.counts.timeout), (Some(7), 3, 2));
            merge(&mut merged, &got.snapshot.hists[0].1);
            let parts = &got.snapshot.parts;
            assert_eq!((parts.len(), parts[1].counts.ok, parts[0].hists.len()), (2, seed, 0));
            assert_eq!(parts[1].hists[0], (Metric::Service, got.snapshot.hists[0].1.clone()));
            let mut rng = SplitMix::new(seed);
            (0..5_000).for_each(|_| all.saturating_record(rng.next() >> 30));
        }
        assert_eq!(merged, all);
        for value in all.iter_recorded().map(|v| v.value_iterated_to()) {
            assert_eq!(merged.count_at(value), all.count_at(value));
        }
    }

    #[test]
    fn garbage_and_cuts_are_errors() {
        let mut wire = Vec::new();
        send_event(&mut wire, &Event::Tick(tick(0, 1))).unwrap();
        for cut in [1, 4, 5, 20, wire.len() - 1] {
            assert!(receive_event(&mut &wire[..cut]).is_err(), "cut at {cut}");
        }
        assert!(receive_event(&mut [0xFF; 9].as_ref()).is_err(), "a length beyond the bound");
        assert!(receive_event(&mut [0, 0, 0, 0, b'?'].as_ref()).is_err());
        assert!(receive_event(&mut [].as_ref()).unwrap().is_none());
    }
}
