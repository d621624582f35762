//! CLIENT INFO: what a client reads of it to see whether anybody stands between it and the server.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use redlatch::testing::TestNode;

use crate::server::Server;
use crate::wire::{frame, read_reply};

/// The fields of interest, in order, and the reply's type.
fn fields<S: Read + Write>(stream: S, resp: &str) -> (u8, Vec<String>) {
    let mut stream = BufReader::new(stream);
    let mut ask = |words: &[&str]| {
        stream.get_mut().write_all(&frame(words)).unwrap();
        read_reply(&mut stream).unwrap()
    };
    assert!(!ask(&["HELLO", resp]).is_empty());
    assert!(ask(&["CLIENT", "INFO", "more"]).starts_with(b"-ERR "));
    let reply = ask(&["client", "info"]);
    let text = String::from_utf8(reply.clone()).unwrap();
    let named = ["addr=", "laddr=", "db=", "resp="];
    let field = |name: &&str| text.split_whitespace().find(|word| word.starts_with(*name));
    (reply[0], named.iter().filter_map(field).map(str::to_owned).collect())
}

fn over_tcp(addr: SocketAddr, resp: &str) -> (u8, Vec<String>) {
    let stream = TcpStream::connect(addr).unwrap();
    let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let (kind, fields) = fields(stream, resp);
    let hide = |field: &String| {
        field.replace(&ours.to_string(), "OURS").replace(&theirs.to_string(), "THEIRS")
    };
    (kind, fields.iter().map(hide).collect())
}

fn over_unix(path: &str, resp: &str) -> (u8, Vec<String>) {
    let (kind, fields) = fields(UnixStream::connect(path).unwrap(), resp);
    // Valkey 9 frames it as an address.
    let framed = format!("[{path}:0]:0");
    let hide = |field: &String| field.replace(&framed, "PATH:0").replace(path, "PATH");
    (kind, fields.iter().map(hide).collect())
}

#[test]
fn both_ends_are_told_as_by_the_real_server() {
    let server = Server::start_virgin(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let node = runtime.block_on(TestNode::start()).unwrap();
    let path = server.dir().join("node.sock");
    let _unix = runtime.block_on(async { TestNode::start_unix(&path) }).unwrap();
    let path = path.to_str().unwrap();
    for (resp, kind) in [("2", b'$'), ("3", b'=')] {
        let expected = ["addr=OURS", "laddr=THEIRS", "db=0", &format!("resp={resp}")];
        for addr in [server.addr(), node.addr().unwrap()] {
            assert_eq!(over_tcp(addr, resp), (kind, expected.map(str::to_owned).to_vec()));
        }
        let expected = ["addr=PATH:0", "laddr=PATH:0", "db=0", &format!("resp={resp}")];
        for path in [server.unix_path().to_str().unwrap(), path] {
            assert_eq!(over_unix(path, resp), (kind, expected.map(str::to_owned).to_vec()));
        }
    }
}
