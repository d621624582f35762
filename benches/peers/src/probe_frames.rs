//! The two frames of a slot of the probe, formatted once; only the token's digits change.

const TOKEN: usize = 24;

#[derive(Debug)]
pub(crate) struct Frames {
    acquire: Vec<u8>,
    release: Vec<u8>,
    acquire_token_at: usize,
    release_token_at: usize,
    next: u64,
}

impl Frames {
    pub(crate) fn new(key: &str, sha: &str) -> Self {
        let process = format!("{:08x}", std::process::id());
        let token = format!("{process}{:016x}", 0);
        let ttl = crate::cell::TTL.as_millis().to_string();
        let acquire = frame(&["SET", key, &token, "NX", "PX", &ttl]);
        let release = frame(&["EVALSHA", sha, "1", key, &token]);
        Self {
            acquire_token_at: find(&acquire, token.as_bytes()),
            release_token_at: find(&release, token.as_bytes()),
            acquire,
            release,
            next: 0,
        }
    }

    /// Gives both frames a token that this slot's key has not seen.
    pub(crate) fn next_token(&mut self) {
        self.next += 1;
        let mut digits = [b'0'; 16];
        let mut rest = self.next;
        for digit in digits.iter_mut().rev() {
            *digit = char::from_digit((rest & 15) as u32, 16).map_or(b'0', |digit| digit as u8);
            rest >>= 4;
        }
        for (frame, at) in
            [(&mut self.acquire, self.acquire_token_at), (&mut self.release, self.release_token_at)]
        {
            let end = at + TOKEN;
            if let Some(place) = frame.get_mut(end - digits.len()..end) {
                place.copy_from_slice(&digits);
            }
        }
    }

    pub(crate) fn acquire(&self) -> &[u8] {
        &self.acquire
    }

    pub(crate) fn release(&self) -> &[u8] {
        &self.release
    }
}

fn frame(args: &[&str]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", args.len());
    for arg in args {
        frame.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    frame.into_bytes()
}

fn find(frame: &[u8], token: &[u8]) -> usize {
    // The token comes last among equal texts: a key never looks like one.
    frame.windows(token.len()).rposition(|part| part == token).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_frames_carry_the_same_fresh_token() {
        let mut frames = Frames::new("peers:0001", &"a".repeat(40));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            frames.next_token();
            let text = String::from_utf8(frames.acquire().to_vec()).unwrap_or_default();
            let args: Vec<&str> = text.split("\r\n").collect();
            assert_eq!(args.len(), 14, "{text:?}");
            let token = args[6].to_owned();
            assert_eq!(token.len(), TOKEN);
            let release = String::from_utf8(frames.release().to_vec()).unwrap_or_default();
            assert_eq!(release.split("\r\n").nth(10), Some(token.as_str()));
            assert!(seen.insert(token));
        }
    }
}
