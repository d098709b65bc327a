// SPDX-License-Identifier: Apache-2.0
//! Identifiers. The only way to have one is to have parsed it, so joining it to a path is always safe.
//!
//! Grammar (containerd's `identifiers` package): 1 to 76 bytes, `[A-Za-z0-9]+([._-][A-Za-z0-9]+)*`. So an
//! identifier is never empty, `.`, `..`, hidden, or able to climb out of a directory.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest identifier, in bytes.
const MAX_LEN: usize = 76;

/// Why a text is no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{what} must not be empty")]
    Empty {
        /// What the identifier names.
        what: &'static str,
    },
    /// The text is longer than 76 bytes.
    #[error("{what} is {len} bytes long, at most {MAX_LEN} are allowed")]
    TooLong {
        /// What the identifier names.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The text has a character, or an order of characters, that an identifier may not have.
    #[error("{what} {id:?} is invalid: letters and digits, joined by single '.', '_' or '-', are allowed")]
    Pattern {
        /// What the identifier names.
        what: &'static str,
        /// The text, as it came.
        id: String,
    },
    /// The identifier is taken for the runtime's own use.
    #[error("{what} {id:?} is reserved: choose another")]
    Reserved {
        /// What the identifier names.
        what: &'static str,
        /// The text, as it came.
        id: String,
    },
}

/// Checks a text against the grammar of identifiers, for names that have no type of their own.
///
/// # Errors
/// [`IdError`], with `what` as the name of the thing.
pub fn check_identifier(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > MAX_LEN {
        return Err(IdError::TooLong { what, len: text.len() });
    }
    let words_are_plain = text
        .split(['.', '_', '-'])
        .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()));
    if words_are_plain { Ok(()) } else { Err(IdError::Pattern { what, id: text.to_owned() }) }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, reserved: $reserved:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_identifier($what, text)?;
                let reserved: &[&str] = $reserved;
                if reserved.contains(&text) {
                    return Err(IdError::Reserved { what: $what, id: text.to_owned() });
                }
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

identifier! {
    /// A namespace: the scope in which task ids are unique.
    Namespace, "namespace", reserved: &[]
}
identifier! {
    /// The id of a task, and of the container it runs.
    TaskId, "task id", reserved: &[]
}
identifier! {
    /// The id of an exec: an extra process of a task.
    ///
    /// A shim keeps `<exec id>.pid` in the bundle, so an exec called `init` would overwrite, and at its end
    /// remove, the pid file of the container itself.
    ExecId, "exec id", reserved: &["init"]
}

identifier! {
    /// The id of a sandbox: what several tasks may be in.
    SandboxId, "sandbox id", reserved: &[]
}

impl SandboxId {
    /// The id under which a shim that is launched for the sandbox, and its bundle, go.
    pub(crate) fn to_task_id(&self) -> TaskId {
        TaskId(self.0.clone())
    }

    pub(crate) fn of_task_id(id: &TaskId) -> Self {
        Self(id.0.clone())
    }
}

impl Namespace {
    /// The namespace of clients that name none.
    pub fn default_namespace() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_containerd_accepts() {
        for text in ["a", "A1", "default", "a.b", "a-b_c.d", "0", &"x".repeat(76)] {
            assert_eq!(text.parse::<TaskId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_everything_that_could_leave_a_directory_or_hide_in_it() {
        let bad =
            [".", "..", ".a", "a.", "a..b", "a--b", "-a", "a/b", "/a", "../x", "a\n", "a b", "ä", "a\0", "_"];
        for text in bad {
            assert!(matches!(text.parse::<TaskId>(), Err(IdError::Pattern { .. })), "{text:?}");
        }
        assert!(matches!("".parse::<Namespace>(), Err(IdError::Empty { what: "namespace" })));
        assert!(matches!("x".repeat(77).parse::<ExecId>(), Err(IdError::TooLong { len: 77, .. })));
    }

    #[test]
    fn an_exec_may_not_take_the_name_of_init() {
        assert!(matches!("init".parse::<ExecId>(), Err(IdError::Reserved { .. })));
        assert!("init".parse::<TaskId>().is_ok());
        assert!("version".parse::<Namespace>().is_ok());
    }
}
