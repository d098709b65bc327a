// SPDX-License-Identifier: Apache-2.0
//! What one daemon answered, call by call, in words that do not depend on when and where it was asked.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use regex_lite::Regex;
use shimkeeper_client::Session;
use shimkeeper_proto::containerd::events as payload;
use shimkeeper_proto::containerd::services::events::v1::events_client::EventsClient;
use shimkeeper_proto::containerd::services::events::v1::{PublishRequest, SubscribeRequest};
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_testkit::TestDirs;
use tonic::{Response, Status, Streaming};

use crate::specs::Specs;
use crate::support::PATIENCE;

/// How an answer is called that was an event.
pub(super) const EVENTS: &str = "events of ";

/// The topic of events that say nothing but that there is a subscription.
const BEGUN: &str = "/mine/begun";

/// One daemon, and what it has answered.
pub(super) struct Transcript {
    /// Calls in the namespace of the script.
    pub(super) session: Session,
    /// Calls in none.
    pub(super) outside: Session,
    pub(super) namespace: String,
    pub(super) specs: Specs,
    dirs: String,
    answers: Vec<(String, String)>,
    events: Streaming<Envelope>,
    /// The topics that are still to come, by what they are about.
    expected: Vec<(String, &'static str)>,
    words: Vec<(Regex, &'static str)>,
}

impl Transcript {
    pub(super) async fn begin(socket: &Path, dirs: &TestDirs, namespace: &str) -> Self {
        let outside = Session::open(socket).await.unwrap();
        let session = outside.within(namespace);
        let filters = ["", "-team"].map(|of| format!("namespace=={namespace}{of}")).into();
        let events = subscribed(&session, filters).await;
        let words = [
            (r#"Any \{ type_url: "([^"]*)", value: b"(?:[^"\\]|\\.)*" \}"#, "Any($1)"),
            (r"Timestamp \{ seconds: -62135596800, nanos: 0 \}", "NEVER"),
            (r"Timestamp \{ seconds: [0-9]+, nanos: [0-9]+ \}", "TIME"),
            // Of what never ran, a shim tells an exit without a time, and sometimes none, so that it is supplied.
            (r"(TaskExit .*exited_at: )Some\((?:NEVER|TIME)\)", "$1…"),
            (r"\b(pid|pidns): [1-9][0-9]*", "$1: N"),
            (r" in /[^ ]*(:/[^ ]*)+:", " in PATH:"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        ];
        Self {
            session,
            outside,
            namespace: namespace.to_owned(),
            specs: Specs::of(dirs),
            dirs: dirs.path().display().to_string(),
            answers: Vec::new(),
            events,
            expected: Vec::new(),
            words: words.map(|(pattern, word)| (Regex::new(pattern).unwrap(), word)).into(),
        }
    }

    /// Notes down an answer. Boxed, because a script is a long row of them.
    pub(super) fn note<'a, T: Debug>(
        &'a mut self,
        call: &'a str,
        answer: impl Future<Output = Result<Response<T>, Status>> + 'a,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        let answer = Box::pin(answer);
        Box::pin(async move {
            let answer = match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(answer)) => format!("{:?}", answer.into_inner()),
                Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
                Err(_) => "no answer".to_owned(),
            };
            self.write(call, &answer);
        })
    }

    fn write(&mut self, call: &str, answer: &str) {
        assert!(self.answers.iter().all(|(known, _)| known != call), "{call} is played twice");
        let call = call.replace(&self.namespace, "NS");
        let answer = answer.replace(&self.dirs, "DIR").replace(&self.namespace, "NS");
        let plain =
            |text: String, (pattern, word): &(Regex, &str)| pattern.replace_all(&text, *word).into_owned();
        self.answers.push((call, self.words.iter().fold(answer, plain)));
    }

    /// Every call with its answer, in their order; then what was told of each container.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answers.iter().map(|(call, answer)| (call.as_str(), answer.as_str()))
    }

    /// This topic will come, about this container.
    pub(super) fn expect(&mut self, id: &str, topics: &[&'static str]) {
        self.expected.extend(topics.iter().map(|topic| (id.to_owned(), *topic)));
    }

    /// Reads the events, up to the last that are expected, or until none comes for so long.
    pub(super) async fn end(&mut self, patience: Duration) {
        let mut stories: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        while !self.expected.is_empty() {
            let Ok(event) = tokio::time::timeout(patience, self.events.message()).await else { break };
            let event = event.unwrap().unwrap();
            if event.topic == BEGUN {
                continue;
            }
            let (about, told) = told(&event.event.unwrap_or_default());
            self.expected.retain(|(id, topic)| (id, *topic) != (&about, event.topic.as_str()));
            // A record's events and a task's come from two, in no order.
            let whose = event.topic.split('/').nth(1).unwrap_or_default();
            stories.entry(format!("{EVENTS}{whose} {about}")).or_default().push((event.topic, told));
        }
        for (about, story) in stories {
            let mut topics = Vec::new();
            for (topic, told) in story {
                let number = topics.iter().filter(|known| **known == topic).count() + 1;
                self.write(&format!("{about} {topic} {number}"), &told);
                topics.push(topic);
            }
            self.write(&about, &topics.join(" "));
        }
    }

    /// A file for what it writes, as a URI.
    pub(super) fn output(&self, name: &str) -> String {
        format!("file://{}/{name}.out", self.dirs)
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        // A script that could not be played to its end: what came before it mostly says why.
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{:#?}", self.answers);
        }
    }
}

/// A subscription that is there. Go's server answers only with the first event, so some are made until one is seen.
async fn subscribed(session: &Session, filters: Vec<String>) -> Streaming<Envelope> {
    let (mut client, mut publisher) =
        (EventsClient::new(session.clone()), EventsClient::new(session.clone()));
    let mut subscribing = pin!(client.subscribe(SubscribeRequest { filters }));
    loop {
        let event = Some(Any::default());
        publisher.publish(PublishRequest { topic: BEGUN.into(), event }).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(100), &mut subscribing).await;
        if let Ok(answer) = answer {
            return answer.unwrap().into_inner();
        }
    }
}

/// What an event is about, and what it says.
fn told(any: &Any) -> (String, String) {
    macro_rules! as_one_of {
        ($($message:ident of $field:ident),+ $(,)?) => {$(
            if let Some(message) = shimkeeper_proto::unpack::<payload::$message>(any) {
                let message = message.unwrap();
                return (message.$field.clone(), format!("{message:?}"));
            }
        )+};
    }
    as_one_of!(
        ContainerCreate of id,
        ContainerUpdate of id,
        ContainerDelete of id,
        NamespaceCreate of name,
        NamespaceUpdate of name,
        NamespaceDelete of name,
        TaskCreate of container_id,
        TaskStart of container_id,
        TaskExit of container_id,
        TaskDelete of container_id,
        TaskExecAdded of container_id,
        TaskExecStarted of container_id,
        TaskPaused of container_id,
        TaskResumed of container_id,
    );
    (String::new(), format!("{any:?}"))
}
