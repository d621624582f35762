//! What a node asks for at the door: a user name and a password.
//!
//! Neither `Debug` nor any other trait of these types shows the password; [`Secret::expose`] is
//! the one way to it, so that a search for that name finds every use. Memory is not wiped: a
//! process that can be read while it runs has the sockets too.

use std::fmt;

/// A user and its password, as AUTH and HELLO take them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    /// `None`: the server's default user, the one that `requirepass` guards.
    pub(crate) username: Option<String>,
    /// Empty for a user that needs none (`nopass`): AUTH takes an argument all the same.
    pub(crate) password: Secret,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself: to be written to a socket, and nowhere else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_user_and_never_the_password() {
        let password = Secret::new("hunter2".to_owned());
        let credentials = Credentials { username: Some("ada".to_owned()), password };
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(shown.contains("ada"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(credentials.password.expose(), "hunter2");
    }
}
