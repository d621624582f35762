//! What each answer of a handshake means.

use super::{Capabilities, Fence, Handshake, HandshakeError, ScriptText, State, Step};
use crate::resp::reply::{ErrorClass, ErrorReply, Reply};
use crate::session::stamp::Stamp;

impl Handshake {
    pub(super) fn apply(&mut self, step: Step, reply: &Reply<'_>) -> Result<(), HandshakeError> {
        if let Reply::Error(error) = reply {
            self.check_server_state(step, *error)?;
        }
        match step {
            Step::Auth => match reply {
                Reply::Ok => Ok(()),
                Reply::Error(error) => Err(self.refusal(step.command(), *error)),
                _ => Err(unexpected(step.command(), reply)),
            },
            Step::ClientId => {
                if let Reply::Integer(id) = reply {
                    self.found.client_id = Some(*id);
                }
                Ok(())
            }
            // Refused, any of the three: every write is sealed.
            Step::Caching => {
                self.watch.is_armed = *reply == Reply::Ok;
                Ok(())
            }
            Step::ClientInfo => {
                self.watch.client_info = reply.as_bytes().map(<[u8]>::to_vec);
                Ok(())
            }
            Step::Epoch => {
                self.watch.epoch = reply.as_bytes().map(<[u8]>::to_vec);
                Ok(())
            }
            Step::CommandInfo => self.on_command_info(reply),
            Step::Fence => {
                // Closed now or closed before: either way nothing of it runs any more.
                let done = matches!(reply, Reply::Integer(_));
                self.found.fence = if done { Fence::Done } else { Fence::Refused };
                Ok(())
            }
            Step::Hello => self.on_hello(reply),
            Step::Ignored => Ok(()),
            Step::InfoMemory => {
                let evicts = reply.as_bytes().and_then(Capabilities::eviction);
                self.watch.keeps_all = reply.as_bytes().is_some() && evicts.is_none();
                match evicts {
                    Some(policy) if !self.config.allow_eviction => {
                        Err(HandshakeError::Evicts { policy })
                    }
                    _ => Ok(()),
                }
            }
            Step::InfoReplication => {
                if let Some(text) = reply.as_bytes() {
                    self.found.read_info_replication(text);
                }
                self.found.check()
            }
            Step::InfoServer => {
                if let Some(text) = reply.as_bytes() {
                    self.found.read_info_server(text);
                    self.watch.read_info_server(text);
                }
                self.found.check()
            }
            Step::ScriptExists => match reply {
                Reply::One(1) => Ok(()),
                Reply::Error(error) => Err(self.refusal(step.command(), *error)),
                _ => Err(unexpected(step.command(), reply)),
            },
            Step::ScriptLoad(script) => self.on_script_load(script, reply),
            Step::Select => self.on_select(reply),
            Step::Stamp => self.on_stamp(reply),
            // Refused: whoever waits for a lock there is not told.
            Step::Subscribe => match reply {
                Reply::Error(_) => Ok(()),
                _ => Err(unexpected(step.command(), reply)),
            },
            Step::Tracking => {
                self.found.tracks = *reply == Reply::Ok;
                Ok(())
            }
        }
    }

    /// Errors that no command answers with because of itself count even where errors are ignored.
    fn check_server_state(&self, step: Step, error: ErrorReply<'_>) -> Result<(), HandshakeError> {
        match error.class() {
            ErrorClass::Busy
            | ErrorClass::Loading
            | ErrorClass::MasterDown
            | ErrorClass::NoAuth => Err(self.refusal(step.command(), error)),
            _ => Ok(()),
        }
    }

    fn on_hello(&mut self, reply: &Reply<'_>) -> Result<(), HandshakeError> {
        match reply {
            Reply::Error(error) => match error.class() {
                ErrorClass::NoProto | ErrorClass::UnknownCommand => {
                    self.state = State::Draining;
                    Ok(())
                }
                _ => Err(self.refusal("HELLO", *error)),
            },
            Reply::Tree(fields) if self.found.read_hello(fields) => self.found.check(),
            _ => Err(unexpected("HELLO", reply)),
        }
    }

    fn on_select(&self, reply: &Reply<'_>) -> Result<(), HandshakeError> {
        match reply {
            Reply::Ok => Ok(()),
            Reply::Error(error) if error.class() == ErrorClass::Other => {
                let database = self.config.database;
                Err(HandshakeError::DatabaseRefused { database, text: error.text() })
            }
            Reply::Error(error) => Err(self.refusal("SELECT", *error)),
            _ => Err(unexpected("SELECT", reply)),
        }
    }

    fn on_stamp(&mut self, reply: &Reply<'_>) -> Result<(), HandshakeError> {
        if let Reply::Error(error) = reply {
            return Err(match error.class() {
                ErrorClass::ReadOnly => HandshakeError::NotAMaster,
                ErrorClass::Initialised => HandshakeError::Initialised,
                // Its own right, those of the commands inside and those on the keys look alike.
                ErrorClass::NoPerm => HandshakeError::NoPermission { command: STAMP_RIGHTS },
                _ => self.refusal(Step::Stamp.command(), *error),
            });
        }
        self.found.stamp = Some(Stamp::read(reply).ok_or_else(|| unexpected("EVAL", reply))?);
        Ok(())
    }

    fn on_script_load(&self, script: ScriptText, reply: &Reply<'_>) -> Result<(), HandshakeError> {
        match reply {
            Reply::Bulk(sha) if *sha == script.sha.as_bytes() => Ok(()),
            Reply::Bulk(_) => Err(HandshakeError::ScriptMismatch { expected: script.sha }),
            Reply::Error(error) => Err(self.refusal("SCRIPT LOAD", *error)),
            _ => Err(unexpected("SCRIPT LOAD", reply)),
        }
    }

    fn on_command_info(&mut self, reply: &Reply<'_>) -> Result<(), HandshakeError> {
        match reply {
            Reply::Tree(commands) if self.found.read_command_info(commands) => Ok(()),
            // Forbidden or unknown: scripts do the same work.
            Reply::Error(_) => Ok(()),
            _ => Err(unexpected("COMMAND INFO", reply)),
        }
    }

    /// The error for a refused command, with the server's text where that is harmless.
    fn refusal(&self, command: &'static str, error: ErrorReply<'_>) -> HandshakeError {
        HandshakeError::of_refusal(command, error, self.config.password.as_deref())
    }
}

/// What the stamp script takes.
const STAMP_RIGHTS: &str = "EVAL, or for GET, SET, INFO, TIME or the keys `redlatch:*` in it";

fn unexpected(command: &'static str, reply: &Reply<'_>) -> HandshakeError {
    HandshakeError::UnexpectedReply { command, found: reply.kind() }
}
