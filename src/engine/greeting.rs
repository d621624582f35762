//! One connection's handshake over a stream, up to the verdict.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::algorithm::script;
use crate::endpoint::{self, Endpoint, Ends};
use crate::engine::connection::{Fault, READ_BYTES};
use crate::engine::node::NodeSettings;
use crate::resp::decode::{Decoded, Decoder};
use crate::resp::limits::Limits;
use crate::session::handshake::{
    Capabilities, Handshake, HandshakeConfig, Preferred, Previous, Progress, ScriptText,
};
use crate::session::stamp::{Caller, Intent};

/// A stream that is being greeted on.
pub(crate) struct Greeting<S> {
    pub(crate) stream: S,
    handshake: Handshake,
    pub(crate) decoder: Decoder,
    pub(crate) read: Vec<u8>,
    pub(crate) filled: usize,
    write: Vec<u8>,
}

/// What a greeting says and asks about the node's epoch.
#[derive(Debug)]
pub(crate) struct Stamping {
    pub(crate) intent: Intent<'static>,
    pub(crate) caller: Caller,
    pub(crate) previous: Option<Previous>,
    /// To listen on.
    pub(crate) channel: Option<String>,
    /// Of the stream, for whoever lets its grants count.
    pub(crate) ends: Ends,
}

/// Why a link did not come about, or ended.
#[derive(Debug)]
pub(crate) struct Setback {
    pub(crate) reason: String,
    /// A retry alone will not help.
    pub(crate) permanent: bool,
}

impl From<Fault> for Setback {
    fn from(fault: Fault) -> Self {
        Self { reason: fault.0, permanent: false }
    }
}

impl From<io::Error> for Setback {
    fn from(error: io::Error) -> Self {
        Self { reason: error.to_string(), permanent: false }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Greeting<S> {
    pub(crate) fn new(
        stream: S,
        endpoint: &Endpoint,
        settings: &NodeSettings,
        stamping: Stamping,
    ) -> Self {
        let credentials = endpoint.credentials();
        let resp2 = settings.resp2_only || endpoint.protocol() == Some(endpoint::Protocol::Resp2);
        let scripts = match stamping.intent {
            // Whoever does not stamp must not load: that an unstamped process does not know the
            // scripts is how a seal finds one that was restarted behind a proxy.
            Intent::Peek => Vec::new(),
            _ => script::ALL
                .iter()
                .map(|script| ScriptText { sha: script.sha, body: script.body })
                .collect(),
        };
        let mut handshake = Handshake::new(&HandshakeConfig {
            user: credentials.and_then(|known| known.username.clone()),
            password: credentials.map(|known| known.password.expose().to_owned()),
            database: endpoint.database(),
            client_name: endpoint.client_name().unwrap_or(&settings.client_name).to_owned(),
            protocol: if resp2 { Preferred::Resp2Only } else { Preferred::Resp3 },
            scripts,
            intent: stamping.intent,
            caller: stamping.caller,
            previous: stamping.previous,
            allow_eviction: settings.allow_eviction,
            channel: stamping.channel,
            ends: stamping.ends,
        });
        let mut write = Vec::new();
        handshake.start(&mut write);
        let decoder = Decoder::new(handshake.protocol(), Limits::DEFAULT);
        Self { stream, handshake, decoder, read: vec![0; READ_BYTES], filled: 0, write }
    }

    /// Ready: the greeting is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Capabilities, Setback>> {
        loop {
            while !self.write.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.write) {
                    Poll::Pending => break,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Ready(Ok(bytes)) => drop(self.write.drain(..bytes)),
                }
            }
            if self.filled == self.read.len() {
                self.read.resize(self.read.len() * 2, 0);
            }
            let Some(space) = self.read.get_mut(self.filled..) else { return Poll::Pending };
            let mut buffer = ReadBuf::new(space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) => {}
            }
            let bytes = buffer.filled().len();
            if bytes == 0 {
                let reason = "the server closed the connection during the handshake".into();
                return Poll::Ready(Err(Setback { reason, permanent: false }));
            }
            self.filled += bytes;
            if let Some(capabilities) = self.parse()? {
                return Poll::Ready(Ok(capabilities));
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Capabilities>, Setback> {
        let mut at = 0;
        let mut done = None;
        while let Some(input) = self.read.get(at..self.filled).filter(|input| !input.is_empty()) {
            let reply = match self.decoder.decode(input).map_err(Fault::from)? {
                Decoded::Incomplete => break,
                Decoded::Push { push, len } => {
                    self.handshake.handle_push(&push);
                    at += len;
                    continue;
                }
                Decoded::Reply { reply, len } => {
                    at += len;
                    reply
                }
            };
            let progress =
                self.handshake.handle_reply(&reply, &mut self.write).map_err(|error| Setback {
                    reason: error.to_string(),
                    permanent: error.is_permanent(),
                })?;
            self.decoder.set_protocol(self.handshake.protocol());
            if let Progress::Done(capabilities) = progress {
                done = Some(capabilities);
                break;
            }
        }
        self.read.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(done)
    }
}
