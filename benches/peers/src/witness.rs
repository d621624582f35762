//! A look at the nodes from outside before a cell is timed: does the peer's acquire really hold
//! the key on a majority, with a time to live, against others, and does its release free it?

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::cell::{CellSpec, TTL};
use crate::wire::{Reply, Wire};

/// The key of the check; no task uses it.
pub(crate) const KEY: &str = "peers:witness";

/// The replies of the nodes that have not been asked yet may still be on their way.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn is_held(spec: &CellSpec) -> Result<()> {
    let mut wires = connect(spec)?;
    let ttl_ms = TTL.as_millis() as i64;
    let mut held = 0;
    until(|| {
        held = 0;
        for wire in &mut wires {
            held += usize::from((1..=ttl_ms).contains(&wire.integer(&["PTTL", KEY])?));
        }
        Ok(held >= spec.quorum())
    })?;
    if held < spec.quorum() {
        return Err(format!("acquired, but only {held} nodes hold {KEY} with a ttl").into());
    }
    let mut refused = 0;
    for wire in &mut wires {
        match wire.command(&["SET", KEY, "intruder", "NX", "PX", "1000"])? {
            Reply::Bulk(None) => refused += 1,
            // Not held here: leave the node as it was found.
            _ => _ = wire.integer(&["DEL", KEY])?,
        }
    }
    if refused < spec.quorum() {
        return Err(format!("acquired, but only {refused} nodes refuse {KEY} to others").into());
    }
    Ok(())
}

pub(crate) fn is_free(spec: &CellSpec) -> Result<()> {
    let mut wires = connect(spec)?;
    let mut held = 0;
    until(|| {
        held = 0;
        for wire in &mut wires {
            held += wire.integer(&["EXISTS", KEY])?;
        }
        Ok(held == 0)
    })?;
    if held > 0 {
        return Err(format!("released, but {held} nodes still hold {KEY}").into());
    }
    Ok(())
}

fn connect(spec: &CellSpec) -> Result<Vec<Wire>> {
    Ok(spec.ports.iter().map(|port| Wire::connect(*port)).collect::<std::io::Result<_>>()?)
}

/// Repeats `attempt` until it answers true or patience ends.
fn until(mut attempt: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !attempt()? && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
