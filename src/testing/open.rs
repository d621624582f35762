//! How whoever starts nodes opens them: the first epoch of a node that has never held a lock.

use std::time::Duration;

use super::TestClock;
use super::core::EPOCH_DIGITS;
use crate::algorithm::script::{EPOCH_KEY, STAMP, STATE_KEY};

/// The words of the command that opens a fresh node at once.
///
/// A node without an epoch may be one that lost its locks, so its first client begins an epoch and
/// waits until every lock must have expired. Whoever started the node empty knows better, and sends
/// it this before any client: on the database that the clients select, once per first start. It is
/// no command for a node that was restarted.
///
/// `quarantine` is what the node holds back for after it has forgotten locks: at least the longest
/// ttl of any client. It is published on the node in whole milliseconds, rounded up, and does not
/// delay the opening. A node that has an epoch already answers an `INITIALISED` error.
///
/// ```
/// use redlatch::testing::{NodeCore, Options, open_node_command};
/// use std::time::Duration;
///
/// let mut node = NodeCore::new(Options::new().opened(false));
/// let mut session = node.connect("starter:1");
/// let words = open_node_command(Duration::from_secs(30));
/// let mut frame = format!("*{}\r\n", words.len()).into_bytes();
/// for word in &words {
///     frame.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
///     frame.extend_from_slice(word);
///     frame.extend_from_slice(b"\r\n");
/// }
/// assert!(node.exchange(&mut session, &frame).starts_with(b"*6\r\n"));
/// assert!(node.exchange(&mut session, &frame).starts_with(b"-INITIALISED "));
/// ```
#[must_use]
pub fn open_node_command(quarantine: Duration) -> Vec<Vec<u8>> {
    // Without random bits the process and the time still tell two epochs apart.
    let now_us = TestClock::real().now_us().unsigned_abs();
    let id = getrandom::u64().unwrap_or_else(|_| now_us ^ (u64::from(std::process::id()) << 44));
    let quarantine_ms = quarantine.as_nanos().div_ceil(1_000_000);
    let words: [&str; 10] = [
        "EVAL",
        STAMP.body,
        "2",
        EPOCH_KEY,
        STATE_KEY,
        "open",
        &format!("{id:0EPOCH_DIGITS$x}"),
        &quarantine_ms.to_string(),
        // No fleet is known to name the node yet, and no epoch is there to be voided.
        "-",
        "",
    ];
    words.map(|word| word.as_bytes().to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opening_has_an_id_of_its_own_and_rounds_up() {
        let words = open_node_command(Duration::from_nanos(1_000_001));
        let shown: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        assert_eq!(shown[2..6], ["2", "redlatch:epoch", "redlatch:node", "open"]);
        assert_eq!(shown[7..], ["2", "-", ""]);
        assert!(shown[6].len() == 16 && shown[6].bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(open_node_command(Duration::ZERO)[6], words[6]);
    }
}
