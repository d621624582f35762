//! Counts the RESP2 and RESP3 values that pass by, in pieces of any size.
//!
//! It keeps no value and checks none: what it counts comes from a real client and a real server.

/// Where in a stream of values the last piece ended.
#[derive(Debug, Default)]
pub struct Frames {
    /// Values that the present frame still lacks.
    open: u64,
    /// Bytes of a string, and of its line end, still to come.
    skip: usize,
    line: Vec<u8>,
    is_push: bool,
    /// The next line begins a push's first element, its kind.
    is_kind: bool,
}

impl Frames {
    /// How many frames end in `bytes`, pushes apart: nobody asked for those, but for the one that
    /// confirms SUBSCRIBE.
    pub fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while let Some(&byte) = bytes.first() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
            } else {
                bytes = &bytes[1..];
                self.line.push(byte);
                if byte != b'\n' {
                    continue;
                }
                self.header();
            }
            if self.open == 0 && self.skip == 0 {
                ended += u64::from(!self.is_push);
            }
        }
        ended
    }

    /// Whether the last piece ended with a frame.
    pub fn is_at_boundary(&self) -> bool {
        self.open == 0 && self.skip == 0 && self.line.is_empty()
    }

    fn header(&mut self) {
        let kind = self.line[0];
        if self.open == 0 {
            (self.open, self.is_push) = (1, kind == b'>');
            self.is_kind = self.is_push;
        } else if std::mem::take(&mut self.is_kind) && self.line == b"$9\r\n" {
            // `subscribe`: no other kind that servers push has nine letters.
            self.is_push = false;
        }
        let text = String::from_utf8_lossy(&self.line[1..]);
        let count = text.trim_end().parse::<u64>().unwrap_or(0);
        let is_null = text.starts_with('-');
        self.open += match kind {
            b'*' | b'~' | b'>' => count,
            b'%' => 2 * count,
            // Attributes stand before the value that they belong to.
            b'|' => 2 * count + 1,
            _ => 0,
        };
        if matches!(kind, b'$' | b'=' | b'!') && !is_null {
            self.skip = usize::try_from(count).unwrap() + 2;
        }
        self.open -= 1;
        self.line.clear();
    }
}

#[test]
fn frames_are_counted_whole_and_in_pieces() {
    let text = b"+OK\r\n$-1\r\n*2\r\n$3\r\na\r\n\r\n:1\r\n>2\r\n+m\r\n_\r\n\
        %1\r\n+k\r\n*0\r\n*-1\r\n$0\r\n\r\n\
        >3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n>2\r\n$7\r\nmessage\r\n_\r\n";
    let ends = [5, 10, 27, 50, 55, 61, 91];
    assert_eq!(Frames::default().feed(text), 7);
    let mut frames = Frames::default();
    let mut counted = 0;
    let mut boundaries = Vec::new();
    for (index, byte) in text.iter().enumerate() {
        if frames.feed(&[*byte]) == 1 {
            counted += 1;
            boundaries.push(index + 1);
            assert!(frames.is_at_boundary());
        }
    }
    assert_eq!((counted, boundaries.as_slice()), (7, ends.as_slice()));
}
