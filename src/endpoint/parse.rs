//! The grammar of node addresses.
//!
//! Hand-written: the forms are few, and every refusal is to say what would be accepted.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use super::text::{masked, unescape};
use super::{Address, Endpoint, EndpointError, Protocol};
use crate::credentials::{Credentials, Secret};

/// Longest address accepted.
pub(super) const BYTES_MAX: usize = 4096;
/// The highest number that SELECT can reach on a server with the most databases it can have.
pub(super) const DATABASE_MAX: u32 = 2_147_483_646;
/// `sun_path` of Linux without its final NUL.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest client name accepted; servers have no limit of their own.
pub(super) const CLIENT_NAME_BYTES_MAX: usize = 128;
/// The longest name that DNS can carry.
const HOST_BYTES_MAX: usize = 253;
const PORT_DEFAULT: u16 = 6379;

/// What is wrong: the variant that takes the masked address.
type Fault = fn(String) -> EndpointError;

pub(super) fn parse(address: &str) -> Result<Endpoint, EndpointError> {
    if address.is_empty() {
        return Err(EndpointError::Empty);
    }
    if address.len() > BYTES_MAX {
        return Err(EndpointError::TooLong(address.len()));
    }
    endpoint(address).map_err(|fault| fault(masked(address)))
}

fn endpoint(address: &str) -> Result<Endpoint, Fault> {
    if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(EndpointError::ControlCharacter);
    }
    let Some((scheme, rest)) = address.split_once("://") else { return bare(address) };
    match scheme.to_ascii_lowercase().as_str() {
        "redis" => tcp(rest),
        "unix" | "redis+unix" => unix(rest),
        "rediss" | "valkeys" => Err(EndpointError::TlsUnsupported),
        "redis+sentinel" | "rediss+sentinel" | "redis-sentinel" | "rediss-sentinel" => {
            Err(EndpointError::SentinelUnsupported)
        }
        _ => Err(EndpointError::UnknownScheme),
    }
}

fn bare(address: &str) -> Result<Endpoint, Fault> {
    if address.contains(['@', '/', '?', '#']) {
        return Err(EndpointError::SchemeMissing);
    }
    let (host, port) = host_and_port(address)?;
    let options = Options::default();
    Ok(options.endpoint(Address::Tcp { host, port }, None))
}

fn tcp(rest: &str) -> Result<Endpoint, Fault> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if tail.contains('@') {
        return Err(EndpointError::UnescapedUserInfo);
    }
    let (user_info, place) = match authority.rsplit_once('@') {
        Some((user_info, place)) => (Some(user_info), place),
        None => (None, authority),
    };
    let credentials = user_info.map_or(Ok(None), credentials)?;
    let (host, port) = host_and_port(place)?;
    let (path, query) = split_query(tail);
    let mut options = Options::default();
    if let Some(number) = path.strip_prefix('/').filter(|number| !number.is_empty()) {
        options.database = Some(database(number)?);
    } else if !matches!(path, "" | "/") {
        return Err(EndpointError::Database);
    }
    options.read(query)?;
    Ok(options.endpoint(Address::Tcp { host, port }, credentials))
}

fn unix(rest: &str) -> Result<Endpoint, Fault> {
    let (user_info, tail) = match rest.split_once('@') {
        _ if rest.starts_with('/') => (None, rest),
        Some(_) => {
            let (authority, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            // Behind a user, an `@` in the path may as well be the end of the password.
            match authority.strip_suffix('@') {
                Some(user_info) if !tail.contains('@') => (Some(user_info), tail),
                _ => return Err(EndpointError::UnescapedUserInfo),
            }
        }
        None => return Err(EndpointError::SocketPath),
    };
    let credentials = user_info.map_or(Ok(None), credentials)?;
    let (path, query) = split_query(tail);
    if path.contains('#') {
        return Err(EndpointError::SocketPath);
    }
    let path = unescape(path).ok_or(EndpointError::BadEscape as Fault)?.into_owned();
    let is_path = path.starts_with('/') && path.trim_end_matches('/').len() > 1;
    if !is_path || path.contains('\0') || path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(EndpointError::SocketPath);
    }
    let mut options = Options::default();
    options.read(query)?;
    Ok(options.endpoint(Address::Unix { path: PathBuf::from(path) }, credentials))
}

fn split_query(tail: &str) -> (&str, Option<&str>) {
    tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)))
}

/// `user`, `user:password` or `:password`; nothing at all is no credentials.
fn credentials(user_info: &str) -> Result<Option<Credentials>, Fault> {
    if user_info.contains(['/', '?', '#']) {
        return Err(EndpointError::UnescapedUserInfo);
    }
    let (username, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let bad_escape: Fault = EndpointError::BadEscape;
    let username = unescape(username).ok_or(bad_escape)?.into_owned();
    let password = unescape(password).ok_or(bad_escape)?.into_owned();
    if username.is_empty() && password.is_empty() {
        return Ok(None);
    }
    let username = Some(username).filter(|username| !username.is_empty());
    Ok(Some(Credentials { username, password: Secret::new(password) }))
}

fn host_and_port(place: &str) -> Result<(String, u16), Fault> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let host: Fault = EndpointError::Host;
        let (address, tail) = bracketed.split_once(']').ok_or(host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| host)?;
        let port = match tail.strip_prefix(':') {
            Some(number) => port(number)?,
            None if tail.is_empty() => PORT_DEFAULT,
            None => return Err(EndpointError::Host),
        };
        return Ok((address.to_string(), port));
    }
    let (host, number) = match place.split_once(':') {
        Some((_, tail)) if tail.contains(':') => return Err(EndpointError::BracketsMissing),
        Some((host, number)) => (host, Some(number)),
        None => (place, None),
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(is_name) {
        return Err(EndpointError::Host);
    }
    Ok((host.to_ascii_lowercase(), number.map_or(Ok(PORT_DEFAULT), port)?))
}

fn port(number: &str) -> Result<u16, Fault> {
    let port = decimal(number).and_then(|port| u16::try_from(port).ok());
    port.filter(|&port| port != 0).ok_or(EndpointError::Port)
}

fn database(number: &str) -> Result<u32, Fault> {
    decimal(number).filter(|&number| number <= DATABASE_MAX).ok_or(EndpointError::Database)
}

/// Digits only: `u32::from_str` would take a sign.
fn decimal(number: &str) -> Option<u32> {
    number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()))
}

/// What may follow the place of a node.
#[derive(Default)]
struct Options {
    database: Option<u32>,
    protocol: Option<Protocol>,
    client_name: Option<String>,
}

impl Options {
    fn read(&mut self, query: Option<&str>) -> Result<(), Fault> {
        query.map_or(Ok(()), |query| query.split('&').try_for_each(|one| self.parameter(one)))
    }

    fn parameter(&mut self, parameter: &str) -> Result<(), Fault> {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let given_before = match name {
            "db" => self.database.replace(database(value)?).is_some(),
            "protocol" => self.protocol.replace(protocol(value)?).is_some(),
            "client_name" => self.client_name.replace(client_name(value)?).is_some(),
            _ => return Err(EndpointError::UnknownParameter),
        };
        if given_before { Err(EndpointError::DuplicateParameter) } else { Ok(()) }
    }

    fn endpoint(self, address: Address, credentials: Option<Credentials>) -> Endpoint {
        let Self { database, protocol, client_name } = self;
        let database = database.unwrap_or(0);
        Endpoint { address, credentials, database, protocol, client_name }
    }
}

fn protocol(version: &str) -> Result<Protocol, Fault> {
    match version {
        "2" => Ok(Protocol::Resp2),
        "3" => Ok(Protocol::Resp3),
        _ => Err(EndpointError::Protocol),
    }
}

/// CLIENT SETNAME takes only what CLIENT LIST can print on its line.
fn client_name(name: &str) -> Result<String, Fault> {
    let name = unescape(name).ok_or(EndpointError::BadEscape as Fault)?.into_owned();
    let is_printable = name.bytes().all(|b| b.is_ascii_graphic());
    if (1..=CLIENT_NAME_BYTES_MAX).contains(&name.len()) && is_printable {
        Ok(name)
    } else {
        Err(EndpointError::ClientName)
    }
}
