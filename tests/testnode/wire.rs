//! What the tests of the test node share: command frames, and whole replies as bytes.

use std::io::{self, BufRead};

/// The bytes of one command.
pub fn frame<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args.iter().map(AsRef::as_ref) {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Reads one whole reply of either protocol, as it is on the wire. Pushes are passed over.
pub fn read_reply(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    loop {
        let reply = read_message(input)?;
        if reply[0] != b'>' {
            return Ok(reply);
        }
    }
}

/// Reads one whole reply or push.
pub fn read_message(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    read_value(input, &mut message)?;
    Ok(message)
}

fn read_value(input: &mut impl BufRead, reply: &mut Vec<u8>) -> io::Result<()> {
    let start = reply.len();
    input.read_until(b'\n', reply)?;
    let line = String::from_utf8_lossy(&reply[start..]).into_owned();
    let Some(line) = line.strip_suffix("\r\n").filter(|line| !line.is_empty()) else {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{line:?}")));
    };
    let number = || line[1..].parse::<i64>().unwrap_or_else(|_| panic!("no number: {line:?}"));
    let elements = match line.as_bytes()[0] {
        b'+' | b'-' | b':' | b'_' => 0,
        b'$' | b'=' => {
            if let Ok(len) = usize::try_from(number()) {
                let at = reply.len();
                reply.resize(at + len + 2, 0);
                input.read_exact(&mut reply[at..])?;
            }
            0
        }
        b'*' | b'~' | b'>' => number().max(0),
        b'%' => number() * 2,
        other => panic!("unexpected reply type {:?}", char::from(other)),
    };
    for _ in 0..elements {
        read_value(input, reply)?;
    }
    Ok(())
}
