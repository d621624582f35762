//! What the nodes show under the names of locks, read over connections of the witness's own.
//!
//! Invariants:
//! 1. A node that is silent costs one look [`LIMIT`], and is then left alone for [`RETRY_NS`].
//! 2. [`View::sure_since_ns`] is an instant from which on the node has forgotten nothing: since
//!    then the connection has stood (no restart) and the epoch was the same (no flush).
//! 3. Every command that is sent is counted, so that it can be taken off the node's own counters.

use std::time::Duration;

use super::Kinds;
use crate::clock::{NS_PER_MS, now_ns};
use crate::cluster::epoch::EPOCH_KEY;
use crate::cluster::resp::{Connection, Reply, shown};
use crate::cluster::url::NodeUrl;

/// How long a node may take to answer a look.
const LIMIT: Duration = Duration::from_millis(100);
/// A node that did not answer is asked again after so long.
const RETRY_NS: u64 = 500 * NS_PER_MS;
/// A token has 32 digits; whatever is longer is no token, and its beginning says so.
const TOKEN_SHOWN: usize = 64;

/// How an owner has a name, by what the node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// A string, as SET leaves it.
    Exclusive,
    Shared,
    IntentExclusive,
    IntentShared,
    Permit,
    /// Nothing that the library writes.
    Strange,
}

/// An owner of a name, as a node shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) token: String,
    pub(super) access: Access,
}

/// What a node showed at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// [`u64::MAX`]: it may just have forgotten everything.
    pub(super) sure_since_ns: u64,
    /// Owners by name, in the order asked; what has expired is not among them.
    pub(super) names: Vec<Vec<Entry>>,
}

/// The nodes, and connections to them.
pub(super) struct Reader {
    nodes: Vec<Node>,
    /// Names can have several owners, in hashes.
    is_crowded: bool,
    /// Why a node refused a look, the first time one did.
    pub(super) refused: Option<String>,
}

struct Node {
    url: NodeUrl,
    connection: Option<Connection>,
    epoch: Option<String>,
    sure_since_ns: u64,
    retry_at_ns: u64,
    sent: Kinds,
}

impl Reader {
    pub(super) fn new(urls: Vec<NodeUrl>, is_crowded: bool) -> Self {
        let node = |url| Node {
            url,
            connection: None,
            epoch: None,
            sure_since_ns: u64::MAX,
            retry_at_ns: 0,
            sent: Kinds::new(),
        };
        Self { nodes: urls.into_iter().map(node).collect(), is_crowded, refused: None }
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Connects to nodes that can be tried (again).
    pub(super) fn connect(&mut self) {
        for node in &mut self.nodes {
            node.connect();
        }
    }

    /// Looks at `keys` on every node; `None` where one did not answer.
    pub(super) fn look(&mut self, keys: &[String]) -> Vec<Option<View>> {
        let commands = self.commands(keys);
        let slices: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
        // To all before any answer is read, so that they work side by side.
        for node in &mut self.nodes {
            node.send(&slices);
        }
        let (is_crowded, refused) = (self.is_crowded, &mut self.refused);
        let answer = |node: &mut Node| {
            let replies = node.answers(slices.len())?;
            let view = node.view(replies, keys.len(), is_crowded);
            match view {
                Ok(view) => Some(view),
                Err(text) => {
                    node.give_up();
                    refused.get_or_insert(text);
                    None
                }
            }
        };
        self.nodes.iter_mut().map(answer).collect()
    }

    /// The epoch comes last: a node that forgets between two commands then shows another one.
    fn commands<'a>(&self, keys: &'a [String]) -> Vec<Vec<&'a str>> {
        if !self.is_crowded {
            // One command, which no other one comes between.
            let mget = ["MGET", EPOCH_KEY].into_iter().chain(keys.iter().map(String::as_str));
            return vec![mget.collect()];
        }
        let mut commands = vec![vec!["TIME"]];
        for key in keys {
            commands.push(vec!["GET", key.as_str()]);
            commands.push(vec!["HGETALL", key.as_str()]);
        }
        commands.push(vec!["GET", EPOCH_KEY]);
        commands
    }

    /// Commands sent to each node so far.
    pub(super) fn sent(&self) -> Vec<Kinds> {
        self.nodes.iter().map(|node| node.sent.clone()).collect()
    }
}

impl Node {
    fn connect(&mut self) {
        if self.connection.is_some() || now_ns() < self.retry_at_ns {
            return;
        }
        (self.epoch, self.sure_since_ns) = (None, u64::MAX);
        let greeting =
            [("auth", self.url.password().is_some()), ("select", self.url.database() != 0)];
        greeting.into_iter().filter(|(_, is_sent)| *is_sent).for_each(|(kind, _)| self.count(kind));
        match Connection::open(&self.url, LIMIT) {
            Ok(connection) => self.connection = Some(connection),
            Err(_) => self.give_up(),
        }
    }

    /// A late answer would be taken for the next one.
    fn give_up(&mut self) {
        self.connection = None;
        self.retry_at_ns = now_ns().saturating_add(RETRY_NS);
    }

    fn count(&mut self, kind: &str) {
        *self.sent.entry(kind.to_owned()).or_default() += 1;
    }

    fn send(&mut self, commands: &[&[&str]]) {
        let Some(connection) = &mut self.connection else { return };
        let is_sent = connection.send(commands).is_ok();
        for kind in commands.iter().filter_map(|command| command.first()) {
            self.count(&kind.to_lowercase());
        }
        if !is_sent {
            self.give_up();
        }
    }

    fn answers(&mut self, count: usize) -> Option<Vec<Reply>> {
        let connection = self.connection.as_mut()?;
        let replies: std::io::Result<Vec<_>> = (0..count).map(|_| connection.answer()).collect();
        if replies.is_err() {
            self.give_up();
        }
        replies.ok()
    }

    /// Takes the replies apart; a refusal comes back as its text.
    fn view(&mut self, replies: Vec<Reply>, keys: usize, crowded: bool) -> Result<View, String> {
        let refusal = |reply: &Reply| format!("a node answers the witness {}", shown(reply));
        let mut replies = replies.into_iter();
        let (epoch, names) = if crowded {
            let Some(Reply::Array(time)) = replies.next() else {
                return Err("a node does not tell the witness its time".to_owned());
            };
            let now_ms = time_ms(&time).ok_or("a node does not tell the witness its time")?;
            let mut names = Vec::new();
            for _ in 0..keys {
                let (text, hash) = (replies.next(), replies.next());
                names.push(owners(text, hash, now_ms).map_err(|reply| refusal(&reply))?);
            }
            (replies.next().unwrap_or(Reply::Null), names)
        } else {
            let mut values = match replies.next() {
                Some(Reply::Array(values)) if values.len() == keys + 1 => values.into_iter(),
                other => return Err(refusal(&other.unwrap_or(Reply::Null))),
            };
            let epoch = values.next().unwrap_or(Reply::Null);
            let names = values.map(|value| value.text().map(exclusive).into_iter().collect());
            (epoch, names.collect())
        };
        match epoch {
            Reply::Null => (self.epoch, self.sure_since_ns) = (None, u64::MAX),
            Reply::Error(_) => return Err(refusal(&epoch)),
            epoch => {
                let epoch = epoch.text();
                if self.epoch != epoch {
                    (self.epoch, self.sure_since_ns) = (epoch, now_ns());
                }
            }
        }
        Ok(View { sure_since_ns: self.sure_since_ns, names })
    }
}

fn exclusive(value: String) -> Entry {
    let token = value.chars().take(TOKEN_SHOWN).collect();
    Entry { token, access: Access::Exclusive }
}

fn time_ms(time: &[Reply]) -> Option<u64> {
    let number = |at: usize| time.get(at)?.text()?.parse::<u64>().ok();
    Some(number(0)? * 1_000 + number(1)? / 1_000)
}

/// The owners of a name, by the answers to GET and HGETALL, one of which has the wrong type.
fn owners(text: Option<Reply>, hash: Option<Reply>, now_ms: u64) -> Result<Vec<Entry>, Reply> {
    let is_other_type = |text: &str| text.starts_with("WRONGTYPE");
    let mut owners = Vec::new();
    match text {
        Some(Reply::Error(error)) if !is_other_type(&error) => return Err(Reply::Error(error)),
        Some(reply) => owners.extend(reply.text().map(exclusive)),
        None => {}
    }
    match hash {
        Some(Reply::Array(fields)) => {
            let fields: Vec<String> = fields.iter().filter_map(Reply::text).collect();
            owners.extend(fields.chunks_exact(2).filter_map(|pair| entry(pair, now_ms)));
        }
        Some(Reply::Error(error)) if !is_other_type(&error) => return Err(Reply::Error(error)),
        _ => {}
    }
    Ok(owners)
}

/// A field of a hash, token = `<mode> <end>`; `None` once it has ended.
fn entry(pair: &[String], now_ms: u64) -> Option<Entry> {
    let [token, value] = pair else { return None };
    let token = token.chars().take(TOKEN_SHOWN).collect();
    let parts =
        value.split_once(' ').and_then(|(mode, end)| Some((mode, end.parse::<u64>().ok()?)));
    let Some((mode, end_ms)) = parts else {
        return Some(Entry { token, access: Access::Strange });
    };
    let access = match mode {
        "S" => Access::Shared,
        "IX" => Access::IntentExclusive,
        "IS" => Access::IntentShared,
        permit if permit.starts_with('P') => Access::Permit,
        _ => Access::Strange,
    };
    (end_ms >= now_ms).then_some(Entry { token, access })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterOptions;
    use crate::cluster::local::tests::real_cluster;

    fn entries(view: &View, name: usize) -> Vec<(&str, Access)> {
        view.names[name].iter().map(|entry| (entry.token.as_str(), entry.access)).collect()
    }

    #[test]
    fn strings_and_hashes_are_read_and_what_has_ended_is_not() {
        let options = ClusterOptions { nodes: 1, ..ClusterOptions::default() };
        let Some(cluster) = real_cluster(options) else { return };
        let url = cluster.urls()[0].clone();
        let mut writer = Connection::open(&url, LIMIT).unwrap();
        let mut call = |words: &[&str]| writer.call(words).unwrap();
        call(&["DEL", EPOCH_KEY]);
        call(&["SET", "a", "one", "PX", "100000"]);
        for (token, value) in [("r", "S 99999999999999"), ("dead", "S 1"), ("odd", "what?")] {
            call(&["HSET", "b", token, value]);
        }
        let keys = ["a", "b", "c"].map(ToOwned::to_owned);
        let mut reader = Reader::new(vec![url.clone()], true);
        reader.connect();
        let look = |reader: &mut Reader| reader.look(&keys).remove(0).unwrap();
        let first = look(&mut reader);
        assert_eq!(entries(&first, 0), [("one", Access::Exclusive)]);
        assert_eq!(entries(&first, 1), [("r", Access::Shared), ("odd", Access::Strange)]);
        assert!(first.names[2].is_empty());
        assert_eq!(first.sure_since_ns, u64::MAX, "it has no epoch");

        call(&["SET", EPOCH_KEY, "e1"]);
        let before_ns = now_ns();
        let (second, third) = (look(&mut reader), look(&mut reader));
        assert!((before_ns..=now_ns()).contains(&second.sure_since_ns));
        assert_eq!(third.sure_since_ns, second.sure_since_ns, "the same epoch, still connected");
        call(&["SET", EPOCH_KEY, "e2"]);
        assert!(look(&mut reader).sure_since_ns > second.sure_since_ns, "another epoch");
        let sent = &reader.sent()[0];
        assert_eq!((sent["get"], sent["hgetall"], sent["time"]), (4 * 4, 4 * 3, 4));

        let mut plain = Reader::new(vec![url], false);
        plain.connect();
        let view = look(&mut plain);
        assert_eq!(entries(&view, 0), [("one", Access::Exclusive)]);
        assert!(view.names[1].is_empty(), "a hash is nothing where names have one holder");
        assert_eq!(plain.sent()[0]["mget"], 1);
    }

    #[test]
    fn a_node_that_is_not_there_is_asked_again_later_and_then_is_not_trusted_at_once() {
        let options = ClusterOptions { nodes: 1, ..ClusterOptions::default() };
        let Some(cluster) = real_cluster(options) else { return };
        let url = cluster.urls()[0].clone();
        let mut writer = Connection::open(&url, LIMIT).unwrap();
        assert!(matches!(writer.call(&["SET", EPOCH_KEY, "e1"]), Ok(Reply::Simple(_))));
        let mut reader = Reader::new(vec![url], false);
        reader.connect();
        let before = reader.look(&[])[0].clone().unwrap();
        // The connection breaks, as it does when a server is started again.
        assert!(writer.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).is_ok());
        assert_eq!(reader.look(&[]), [None]);
        reader.connect();
        assert_eq!(reader.look(&[]), [None], "left alone for a while");
        reader.nodes[0].retry_at_ns = 0;
        reader.connect();
        let after = reader.look(&[])[0].clone().unwrap();
        assert!(after.sure_since_ns > before.sure_since_ns, "the same epoch may be a restored one");
    }
}
