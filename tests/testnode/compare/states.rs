//! Epochs' records in a comparison: the server and the node have other ids and other times.
//!
//! A command's argument may be a template; each side gets it with its own ids and times filled in.
//! What comes back is masked the other way round: own ids become words, and times become distances
//! from now, rounded up to [`GRAIN_S`], for the server's time goes on between asking and masking.

use crate::server::Server;

/// Records before a script reads them: incarnation, began, opens, quarantine, fleet, seen. `@own`
/// is the side's incarnation, `@-8` its time 8 seconds ago.
pub const RECORDS: [&str; 16] = [
    "@own @-3600 @-3600 60000 f @0",
    "@own @-3600 @-3600 60000 f @-8",
    "@own @-3600 @-3600 60000 f @-20",
    "@own @-3600 @-3600 60000 g @0",
    "@own @-3600 @-3600 60000 g @-8",
    "@own @-3600 @-3600 60000 g @-20",
    "@own @-3600 @-3600 60000 g @20",
    "@own @-20 @20 40000 f @0",
    "@own @-20 @20 0 g @20",
    "other/other @-3600 @-3600 60000 f @0",
    "other/other @-20 @20 40000 g @-20",
    "@own @-3600 @-3600 60000 f",
    "@own @-3600  @-3600 60000 f @0",
    "@own @-3600 -1 60000 f @0",
    "@own @-3600 @-3600 60000 f @0 ",
    "corrupt",
];

/// What a client asks for, in ms, and what is no such number. No quarantine here ends within
/// moments of a whole grain.
pub const QUARANTINES: [&str; 12] = [
    "60000", "60000", "0", "40000", "200000", "2e4", " 100000 ", "-1", "abc", "nan", "inf", "1e17",
];

pub struct Identity {
    pub run_id: String,
    pub replid: String,
}

impl Identity {
    pub fn of(server: &Server) -> Self {
        let field = |name| server.info(name).expect("the server names itself");
        Self { run_id: field("run_id"), replid: field("master_replid") }
    }
}

/// One side's ids and its time.
pub struct View {
    run_id: String,
    incarnation: String,
    now_us: i64,
}

impl View {
    pub fn new(identity: &Identity, now_us: i64) -> Self {
        let incarnation = format!("{}/{}", identity.run_id, identity.replid);
        Self { run_id: identity.run_id.clone(), incarnation, now_us }
    }

    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// The arguments with templates filled in.
    pub fn filled(&self, args: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let fill = |arg: &Vec<u8>| match std::str::from_utf8(arg) {
            Ok(text) if RECORDS.contains(&text) => self.fill(text).into_bytes(),
            _ => arg.clone(),
        };
        args.iter().map(fill).collect()
    }

    fn fill(&self, record: &str) -> String {
        let word = |word: &str| match word.strip_prefix('@') {
            Some("own") => self.incarnation.clone(),
            Some(offset_s) => {
                (self.now_us + offset_s.parse::<i64>().unwrap() * 1_000_000).to_string()
            }
            None => word.to_owned(),
        };
        record.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }

    /// The reply without what only this side can say.
    pub fn masked(&self, reply: Vec<u8>) -> Vec<u8> {
        let reply = self.masked_ends(reply);
        if reply.starts_with(b"*6\r\n$") || reply.starts_with(b"*5\r\n$") {
            return self.masked_answer(&reply).unwrap_or(reply);
        }
        match reply.first() {
            Some(b'$') => self.masked_record(&reply).unwrap_or(reply),
            _ => reply,
        }
    }

    /// The stamp's answer: id, run id, time, end of quarantine, quarantine, fleet.
    fn masked_answer(&self, reply: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8(reply.to_vec()).ok()?;
        let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
        let run_id = lines.iter().position(|line| *line == self.run_id)?;
        for line in &mut lines {
            *line = self.masked_words(line).unwrap_or_else(|| std::mem::take(line));
        }
        lines[run_id] = "<run id>".to_owned();
        for line in &mut lines[run_id + 1..run_id + 3] {
            *line = format!(":{}", self.distance(line.strip_prefix(':')?)?);
        }
        Some(lines.join("\r\n").into_bytes())
    }

    /// The ends of a lock's entries, `<mode> <end>`, as distances; every ttl used is a multiple of
    /// 20 s.
    fn masked_ends(&self, reply: Vec<u8>) -> Vec<u8> {
        if !reply.starts_with(b"*") && !reply.starts_with(b"%") {
            return reply;
        }
        let Ok(text) = std::str::from_utf8(&reply) else { return reply };
        let line = |line: &str| {
            let (mode, ends) = line.split_once(' ')?;
            let is_end = ends.len() == 13 && mode.chars().all(|c| c.is_ascii_alphanumeric());
            let left_ms = ends.parse::<i64>().ok().filter(|_| is_end)? - self.now_us / 1_000;
            Some(format!("{mode} now+{}s", (left_ms + 19_999) / 20_000 * 20))
        };
        let lines = text.split("\r\n").map(|text| line(text).unwrap_or_else(|| text.to_owned()));
        lines.collect::<Vec<_>>().join("\r\n").into_bytes()
    }

    fn masked_record(&self, reply: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8(reply.to_vec()).ok()?;
        let (_, record) = text.strip_suffix("\r\n")?.split_once("\r\n")?;
        Some(self.masked_words(record)?.into_bytes())
    }

    /// `None` for what is no record.
    fn masked_words(&self, text: &str) -> Option<String> {
        let words: Vec<&str> = text.split(' ').collect();
        if words.len() < 5 {
            return None;
        }
        let word = |word: &&str| match *word {
            own if own == self.incarnation => "<own>".to_owned(),
            time if time.len() > 12 => self.distance(time).unwrap_or_else(|| time.to_owned()),
            other => other.to_owned(),
        };
        Some(words.iter().map(word).collect::<Vec<_>>().join(" "))
    }

    /// Seconds from now; 0 and what is beyond all times stay what they are.
    fn distance(&self, time_us: &str) -> Option<String> {
        let time_us: f64 = time_us.parse().ok()?;
        if time_us == 0.0 {
            return Some("0".to_owned());
        }
        if time_us.abs() > 1e17 {
            return Some("<beyond>".to_owned());
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let ahead_s = (time_us - self.now_us as f64) / 1e6 - SLACK_S;
        // Beyond every clock: a quarantine.
        (ahead_s < 1e9).then(|| format!("now{:+}s", (ahead_s / GRAIN_S).ceil() * GRAIN_S + 0.0))
    }
}

/// Divides every time above, and is more than a comparison takes.
const GRAIN_S: f64 = 4.0;
/// More than the fractions of a millisecond that some quarantines have.
const SLACK_S: f64 = 0.1;
