//! What TCP and unix sockets have in common: connecting, listening, and being cut off.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::race::{First, first};
use crate::cluster::url::Address;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// One end of a connection.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the close that follows a reset; a unix socket has none, its peer sees the end.
    fn abort(&self);
}

impl Socket for TcpStream {
    fn abort(&self) {
        // A socket that is beyond this is beyond a reset as well.
        let _ = self.set_zero_linger();
    }
}

impl Socket for UnixStream {
    fn abort(&self) {}
}

/// Connects to `address` within a bounded time.
pub(super) async fn connect(address: &Address) -> io::Result<Box<dyn Socket>> {
    let connecting = async {
        Ok(match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream) as Box<dyn Socket>
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    match first(connecting, tokio::time::sleep(CONNECT_LIMIT)).await {
        First::Left(connected) => connected,
        First::Right(()) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at `address`, also where an earlier listener of ours left its socket's file.
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => {
                TcpListener::bind((host.as_str(), *port)).await.map(Self::Tcp)
            }
            Address::Unix(path) => {
                let _ = std::fs::remove_file(path);
                UnixListener::bind(path).map(Self::Unix)
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}
