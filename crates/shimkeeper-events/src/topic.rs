// SPDX-License-Identifier: Apache-2.0
//! What an event is about. The only way to have a topic is to have parsed it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use shimkeeper_core::{HasKind, IdError, Kind, check_identifier};

/// Longest topic, in bytes. The protocol names no limit; this one keeps a hostile peer from growing our queues.
const MAX_LEN: usize = 1024;

/// A topic: `/` and at least one component, every component an identifier (`/tasks/exit`).
///
/// Cheap to clone; the topics of the protocol are never allocated.
#[derive(Clone)]
pub struct Topic(Text);

/// Why a text is no topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The text is empty.
    #[error("topic must not be empty")]
    Empty,
    /// The text does not begin with `/`.
    #[error("topic {topic:?} must start with '/'")]
    NoSlash {
        /// The text, as it came.
        topic: String,
    },
    /// The text is longer than 1024 bytes.
    #[error("topic is {len} bytes long, at most {MAX_LEN} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A component is no identifier.
    #[error("topic {topic:?} has an invalid component")]
    Component {
        /// The text, as it came.
        topic: String,
        /// What is wrong with the component.
        #[source]
        source: IdError,
    },
}

#[derive(Clone)]
enum Text {
    Known(&'static str),
    Other(Arc<str>),
}

macro_rules! known {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Topic {
            $($(#[$doc])* pub const $name: Self = Self(Text::Known($text));)*

            /// Every topic the protocol defines.
            pub const KNOWN: &'static [Self] = &[$(Self::$name),*];

            fn known(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

known! {
    /// A task was created.
    TASK_CREATE = "/tasks/create";
    /// The init process of a task runs.
    TASK_START = "/tasks/start";
    /// A process of a task ended.
    TASK_EXIT = "/tasks/exit";
    /// A task was deleted.
    TASK_DELETE = "/tasks/delete";
    /// The kernel killed a process of a task for want of memory.
    TASK_OOM = "/tasks/oom";
    /// An exec was added to a task.
    TASK_EXEC_ADDED = "/tasks/exec-added";
    /// An exec runs.
    TASK_EXEC_STARTED = "/tasks/exec-started";
    /// A task was paused.
    TASK_PAUSED = "/tasks/paused";
    /// A task was resumed.
    TASK_RESUMED = "/tasks/resumed";
    /// A task was checkpointed.
    TASK_CHECKPOINTED = "/tasks/checkpointed";
    /// A container record was created.
    CONTAINER_CREATE = "/containers/create";
    /// A container record was changed.
    CONTAINER_UPDATE = "/containers/update";
    /// A container record was deleted.
    CONTAINER_DELETE = "/containers/delete";
    /// A namespace was created.
    NAMESPACE_CREATE = "/namespaces/create";
    /// A namespace was changed.
    NAMESPACE_UPDATE = "/namespaces/update";
    /// A namespace was deleted.
    NAMESPACE_DELETE = "/namespaces/delete";
    /// A sandbox was created.
    SANDBOX_CREATE = "/sandboxes/create";
    /// A sandbox runs.
    SANDBOX_START = "/sandboxes/start";
    /// A sandbox ended.
    SANDBOX_EXIT = "/sandboxes/exit";
}

// === impl Topic ===

impl Topic {
    /// The topic as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Known(text) => text,
            Text::Other(text) => text,
        }
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        if let Some(topic) = Self::known(text) {
            return Ok(topic);
        }
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(TopicError::TooLong { len: text.len() });
        }
        let components =
            text.strip_prefix('/').ok_or_else(|| TopicError::NoSlash { topic: text.to_owned() })?;
        for component in components.split('/') {
            check_identifier("topic component", component)
                .map_err(|source| TopicError::Component { topic: text.to_owned(), source })?;
        }
        Ok(Self(Text::Other(text.into())))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Topic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Topic {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl HasKind for TopicError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_topics_of_the_protocol_and_others_of_that_form() {
        assert_eq!(Topic::KNOWN.len(), 19);
        for topic in Topic::KNOWN {
            assert_eq!(&topic.as_str().parse::<Topic>().unwrap(), topic);
        }
        for text in ["/a", "/a/b/c", "/runtime.v2/x-y_z"] {
            assert_eq!(text.parse::<Topic>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_what_has_no_slash_an_empty_component_or_a_strange_one() {
        assert_eq!("".parse::<Topic>(), Err(TopicError::Empty));
        assert!(matches!("tasks/exit".parse::<Topic>(), Err(TopicError::NoSlash { .. })));
        for bad in ["/", "//", "/tasks/", "//exit", "/tasks/?", "/tasks/exit\n", "/../x"] {
            assert!(matches!(bad.parse::<Topic>(), Err(TopicError::Component { .. })), "{bad:?}");
        }
        let long = "/a".repeat(513);
        assert_eq!(long.parse::<Topic>(), Err(TopicError::TooLong { len: 1026 }));
    }

    #[test]
    fn a_topic_is_equal_however_it_is_stored() {
        assert_eq!(Topic(Text::Other("/tasks/exit".into())), Topic::TASK_EXIT);
    }
}
