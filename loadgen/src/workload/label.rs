//! The name of a workload.

use std::fmt;

/// Letters of a name: tables have room for so many.
const MOST_LETTERS: usize = 20;

/// A valid name, kept in place, so that what speaks of a workload can be copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    bytes: [u8; MOST_LETTERS],
    length: usize,
}

impl Label {
    /// Letters, digits, `-` and `_`, beginning with a letter: a name can stand in a path of
    /// `--set`, where a number counts, and in the braces of a threshold.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
        let mut bytes = [0; MOST_LETTERS];
        match bytes.get_mut(..text.len()) {
            Some(room) if begins && text.chars().all(known) => {
                room.copy_from_slice(text.as_bytes());
                Ok(Self { bytes, length: text.len() })
            }
            _ => {
                let shown: String = text.chars().take(40).collect();
                Err(format!(
                    "`{shown}` is no name of a workload; use 1 to {MOST_LETTERS} letters, digits, \
                     - and _, beginning with a letter"
                ))
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_words() {
        for name in ["a", "check-out_2", &"x".repeat(20)] {
            assert_eq!(Label::parse(name).unwrap().to_string(), name);
        }
        for bad in ["", "1", "2nd", "-a", "a.b", "a b", "a}", "ü", "aü", &"x".repeat(21)] {
            assert!(Label::parse(bad).unwrap_err().contains(&format!("`{bad}`")), "{bad}");
        }
    }
}
