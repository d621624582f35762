//! Replies as the engine sees them: the hot ones borrowed from the read buffer, the rest owned.
//!
//! An error reply is classified by its code word, never by its prose, which differs between
//! servers and versions.

/// One reply. Aggregates and the rare scalars of RESP3 come as a [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply<'a> {
    /// `+OK`, by far the most frequent status.
    Ok,
    /// `_`, and `$-1` or `*-1` in either protocol: some servers send these under RESP3 too.
    Null,
    Integer(i64),
    /// An array of one small integer, what SCRIPT EXISTS answers for one script.
    One(i64),
    Boolean(bool),
    Bulk(&'a [u8]),
    /// Any other status line.
    Simple(&'a [u8]),
    /// A simple error, or the bulk error of RESP3.
    Error(ErrorReply<'a>),
    Tree(Value),
}

impl Reply<'_> {
    /// The text of a bulk, status or verbatim reply.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Ok => Some(b"OK"),
            Self::Bulk(bytes) | Self::Simple(bytes) => Some(bytes),
            Self::Tree(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The kind of reply in words, without its content: content may be secret.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Ok | Self::Simple(_) => "a status",
            Self::Null => "nil",
            Self::Integer(_) => "an integer",
            Self::One(_) => "an array",
            Self::Boolean(_) => "a boolean",
            Self::Bulk(_) => "a string",
            Self::Error(_) => "an error",
            Self::Tree(value) => value.kind(),
        }
    }
}

/// An owned reply of any shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Boolean(bool),
    Double(f64),
    /// Bulk, simple and verbatim strings (without their format) and big numbers (their digits).
    Bytes(Vec<u8>),
    Error(Vec<u8>),
    /// Arrays, sets and pushes, in the order of the wire.
    Array(Vec<Self>),
    /// Pairs in the order of the wire, duplicates kept.
    Map(Vec<(Self, Self)>),
}

impl Value {
    /// The bytes of a string.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value behind `key`, in a map or in the flat array that RESP2 sends for one.
    pub(crate) fn field(&self, key: &[u8]) -> Option<&Self> {
        match self {
            Self::Map(pairs) => {
                pairs.iter().find(|(name, _)| name.as_bytes() == Some(key)).map(|(_, value)| value)
            }
            Self::Array(items) => items.chunks_exact(2).find_map(|pair| match pair {
                [name, value] if name.as_bytes() == Some(key) => Some(value),
                _ => None,
            }),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nil",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a boolean",
            Self::Double(_) => "a double",
            Self::Bytes(_) => "a string",
            Self::Error(_) => "an error",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
        }
    }
}

/// The text of an error reply, without its type byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorReply<'a>(&'a [u8]);

impl<'a> ErrorReply<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The bytes as they came.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The code word: everything before the first space.
    pub(crate) fn code(&self) -> &'a [u8] {
        self.0.split(|&byte| byte == b' ').next().unwrap_or_default()
    }

    pub(crate) fn class(&self) -> ErrorClass {
        match self.code() {
            b"ASK" | b"MOVED" => ErrorClass::Moved,
            b"BUSY" => ErrorClass::Busy,
            b"CLUSTERDOWN" => ErrorClass::ClusterDown,
            b"CROSSSLOT" => ErrorClass::CrossSlot,
            b"EPOCH" => ErrorClass::Epoch,
            b"INITIALISED" => ErrorClass::Initialised,
            b"LOADING" => ErrorClass::Loading,
            b"MASTERDOWN" => ErrorClass::MasterDown,
            b"MISCONF" => ErrorClass::Misconf,
            b"NOAUTH" => ErrorClass::NoAuth,
            b"NOPERM" => ErrorClass::NoPerm,
            b"NOPROTO" => ErrorClass::NoProto,
            b"NOREPLICAS" => ErrorClass::NoReplicas,
            b"NOSCRIPT" => ErrorClass::NoScript,
            b"OOM" => ErrorClass::Oom,
            b"READONLY" => ErrorClass::ReadOnly,
            b"WRONGPASS" => ErrorClass::WrongPass,
            b"WRONGTYPE" => ErrorClass::WrongType,
            // The one case without a code of its own: servers since 2.8 all start it like this.
            b"ERR" if self.starts_with_ignoring_case(b"ERR unknown command") => {
                ErrorClass::UnknownCommand
            }
            b"ERR" if self.starts_with_ignoring_case(b"ERR unknown subcommand") => {
                ErrorClass::UnknownCommand
            }
            _ => ErrorClass::Other,
        }
    }

    /// The text for people: control characters escaped, at most [`TEXT_CHARS`] characters.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // An escape is at most 10 characters long, so the bound on the input bounds the work.
        let bytes = self.0.get(..TEXT_CHARS * 4).unwrap_or(self.0);
        let mut chars_left = TEXT_CHARS;
        for character in String::from_utf8_lossy(bytes).chars() {
            let mut push = |character| {
                if let Some(left) = chars_left.checked_sub(1) {
                    chars_left = left;
                    text.push(character);
                }
            };
            if character.is_control() {
                character.escape_default().for_each(&mut push);
            } else {
                push(character);
            }
        }
        text
    }

    fn starts_with_ignoring_case(&self, prefix: &[u8]) -> bool {
        self.0.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}

/// What an error means for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ErrorClass {
    /// A script of somebody else has been running too long.
    Busy,
    ClusterDown,
    CrossSlot,
    /// One of the engine's scripts: the node has begun another epoch.
    Epoch,
    /// The engine's stamp script: a node that is to be initialised has an epoch.
    Initialised,
    Loading,
    MasterDown,
    Misconf,
    /// MOVED or ASK: the key lives on another node.
    Moved,
    NoAuth,
    NoPerm,
    NoProto,
    NoReplicas,
    NoScript,
    Oom,
    ReadOnly,
    /// The command or the subcommand is not known to this server.
    UnknownCommand,
    WrongPass,
    WrongType,
    Other,
}

impl ErrorClass {
    /// Whether the command certainly did not run, so that nothing has to be undone.
    ///
    /// The server decides all of these before the command starts. A script can meet them midway,
    /// at its first write; the engine's scripts write at their end, or only what may be repeated.
    /// [`ErrorClass::WrongType`] comes from a running command and is left out on purpose.
    pub(crate) fn is_definite_refusal(self) -> bool {
        match self {
            Self::Busy
            | Self::ClusterDown
            | Self::CrossSlot
            | Self::Epoch
            | Self::Initialised
            | Self::Loading
            | Self::MasterDown
            | Self::Misconf
            | Self::Moved
            | Self::NoAuth
            | Self::NoPerm
            | Self::NoProto
            | Self::NoReplicas
            | Self::NoScript
            | Self::Oom
            | Self::ReadOnly
            | Self::UnknownCommand
            | Self::WrongPass => true,
            Self::WrongType | Self::Other => false,
        }
    }

    /// Whether the node takes no writes, or nothing at all, for the time being.
    pub(crate) const fn is_passing(self) -> bool {
        matches!(self, Self::Busy | Self::Misconf | Self::NoReplicas | Self::Oom)
    }
}

/// Longer than the code and the sentence of any server, short enough for one line of a log.
pub(crate) const TEXT_CHARS: usize = 200;
