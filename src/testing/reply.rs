//! Writes replies as Redis 7.0 does, in RESP2 or RESP3.

/// Appends replies to a connection's output.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    pub(super) resp3: bool,
}

impl<'a> Reply<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, resp3: bool) -> Self {
        Self { out, resp3 }
    }

    pub(super) fn ok(&mut self) {
        self.simple("OK");
    }

    pub(super) fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error whose text starts with its code (`ERR ...`, `NOAUTH ...`).
    pub(super) fn error(&mut self, text: impl AsRef<[u8]>) {
        self.line(b'-', text.as_ref());
    }

    pub(super) fn integer(&mut self, value: i64) {
        self.line(b':', itoa::Buffer::new().format(value).as_bytes());
    }

    /// A count of things in memory.
    pub(super) fn count(&mut self, value: usize) {
        self.line(b':', itoa::Buffer::new().format(value).as_bytes());
    }

    pub(super) fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    pub(super) fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    pub(super) fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// A map of `pairs` entries: keys and values follow in turn.
    pub(super) fn map(&mut self, pairs: usize) {
        match self.resp3 {
            true => self.header(b'%', pairs),
            false => self.header(b'*', pairs * 2),
        }
    }

    pub(super) fn set(&mut self, len: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, len);
    }

    /// A push of `len` parts, which RESP2 takes for a reply.
    pub(super) fn push(&mut self, len: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, len);
    }

    /// Text for people, such as INFO.
    pub(super) fn verbatim(&mut self, text: &str) {
        if !self.resp3 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() + 4);
        self.out.extend_from_slice(b"txt:");
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    fn header(&mut self, kind: u8, len: usize) {
        self.line(kind, itoa::Buffer::new().format(len).as_bytes());
    }

    /// A line break inside the text would end the reply early; the server writes a blank instead.
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend(text.iter().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            other => *other,
        }));
        self.out.extend_from_slice(b"\r\n");
    }
}
