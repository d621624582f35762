//! Streams to nodes. The only module that names a socket type.
//!
//! The driver is generic over [`Transport`], so that a simulation runs the same driver over
//! in-memory streams.

use std::future::Future;
use std::io;
#[cfg(unix)]
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::endpoint::{Address, Endpoint, Ends};

/// Opens byte streams to endpoints.
pub(crate) trait Transport: Send + Sync + Unpin + 'static {
    /// What it opens.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects; the caller bounds the wait.
    fn dial(&self, endpoint: &Endpoint) -> Dialing<Self::Stream>;

    /// The ends of a stream that was dialled, where they are known: whether anybody can stand
    /// between us and the server's process.
    fn ends(&self, _stream: &Self::Stream) -> Ends {
        Ends::Unknown
    }
}

/// A connection attempt under way.
pub(crate) type Dialing<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// The operating system's sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets {
    /// After this long without an acknowledgement the kernel gives a TCP connection up.
    pub(crate) user_timeout: Duration,
}

impl Transport for Sockets {
    type Stream = Stream;

    fn dial(&self, endpoint: &Endpoint) -> Dialing<Stream> {
        let user_timeout = self.user_timeout;
        match endpoint.transport() {
            Address::Tcp { host, port } => {
                let (host, port) = (host.clone(), *port);
                Box::pin(async move {
                    let stream = TcpStream::connect((host.as_str(), port)).await?;
                    tune(&stream, user_timeout)?;
                    Ok(Stream::Tcp(stream))
                })
            }
            #[cfg(unix)]
            Address::Unix { path } => {
                let path = path.clone();
                Box::pin(async move { UnixStream::connect(path).await.map(Stream::Unix) })
            }
            #[cfg(not(unix))]
            Address::Unix { .. } => {
                Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
            }
        }
    }

    fn ends(&self, stream: &Stream) -> Ends {
        let ends = match stream {
            Stream::Tcp(stream) => stream.local_addr().and_then(|ours| {
                let theirs = stream.peer_addr()?;
                Ok(Ends::Tcp { ours, theirs })
            }),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.peer_cred().and_then(|listener| {
                let peer = stream.peer_addr()?;
                let process = listener.pid().and_then(|pid| u32::try_from(pid).ok());
                let ends = peer.as_pathname().zip(process);
                let known = |(path, process)| Ends::Unix { path: Path::to_path_buf(path), process };
                Ok(ends.map(known).unwrap_or_default())
            }),
        };
        // Broken already, as the handshake will find.
        ends.unwrap_or_default()
    }
}

fn tune(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    // Batches are formed here: Nagle would only hold the last one back (redis-rs#2195, +39-68 %).
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(15)))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(user_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    Ok(())
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets hold nothing back on our side.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(unix)]
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
