// SPDX-License-Identifier: Apache-2.0
//! `ps --filter KEY=VALUE`: of several with the same key one has to fit, and of every key one, as docker has it.

use super::view::Summary;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    key: Key,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Id,
    Status,
    Label,
    Runtime,
    Image,
    Exited,
}

const STATUSES: [&str; 6] = ["created", "running", "stopped", "paused", "pausing", "unknown"];

pub(crate) fn parse_filter(text: &str) -> Result<Filter, String> {
    let wrong = || {
        format!(
            "{text:?} is no filter: expected id, status, label, runtime, image or exited, as in status=running"
        )
    };
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let key = match key {
        "id" => Key::Id,
        "status" => Key::Status,
        "label" => Key::Label,
        "runtime" => Key::Runtime,
        "image" => Key::Image,
        "exited" => Key::Exited,
        _ => return Err(wrong()),
    };
    let mut value = value.to_owned();
    if key == Key::Status {
        // Docker's word for it.
        if value == "exited" {
            "stopped".clone_into(&mut value);
        }
        if !STATUSES.contains(&value.as_str()) {
            return Err(format!("{value:?} is no status: expected one of {}", STATUSES.join(", ")));
        }
    }
    if key == Key::Exited && value.parse::<u32>().is_err() {
        return Err(format!("{value:?} is no exit status: expected a number"));
    }
    Ok(Filter { key, value })
}

/// Whether they ask for what has ended, too.
pub(super) fn ask_for_ended(filters: &[Filter]) -> bool {
    filters.iter().any(|filter| matches!(filter.key, Key::Status | Key::Exited))
}

/// Whether it passes.
pub(super) fn passes(filters: &[Filter], one: &Summary) -> bool {
    let fit = |key| filters.iter().any(|filter: &Filter| filter.key == key && filter.fits(one));
    filters.iter().all(|filter| fit(filter.key))
}

impl Filter {
    fn fits(&self, one: &Summary) -> bool {
        let value = self.value.as_str();
        let task = one.task.as_ref();
        match self.key {
            Key::Id => one.id.contains(value),
            Key::Status => task.is_some_and(|task| task.status == value),
            Key::Label => match value.split_once('=') {
                Some((name, value)) => one.labels.get(name).is_some_and(|label| label == value),
                None => one.labels.contains_key(value),
            },
            Key::Runtime => one.runtime.contains(value),
            Key::Image => one.image.contains(value),
            Key::Exited => {
                let exit = task.and_then(|task| task.exit.as_ref());
                exit.is_some_and(|exit| value.parse() == Ok(exit.status))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shimkeeper_proto::containerd::services::containers::v1::Container;
    use shimkeeper_proto::containerd::v1::types::{Process, Status};

    use super::*;
    use crate::client::view::TaskView;

    fn summary(id: &str, labels: &[(&str, &str)], status: Status, exit_status: u32) -> Summary {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let record = Container { id: id.to_owned(), labels, ..Container::default() };
        let task = Process { status: status.into(), exit_status, ..Process::default() };
        Summary::new(id, Some(&record), Some(TaskView::new(&task)))
    }

    #[test]
    fn of_every_key_one_has_to_fit() {
        let web = summary("web-1", &[("tier", "front"), ("new", "")], Status::Running, 0);
        let job = summary("job-1", &[("tier", "back")], Status::Stopped, 137);
        let passing = |filters: &[&str]| {
            let filters: Vec<Filter> = filters.iter().map(|filter| parse_filter(filter).unwrap()).collect();
            [&web, &job]
                .into_iter()
                .filter(|one| passes(&filters, one))
                .map(|one| one.id.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(passing(&[]), ["web-1", "job-1"]);
        assert_eq!(passing(&["id=1"]), ["web-1", "job-1"]);
        assert_eq!(passing(&["id=eb-"]), ["web-1"]);
        assert_eq!(passing(&["label=tier"]), ["web-1", "job-1"]);
        assert_eq!(passing(&["label=tier=back"]), ["job-1"]);
        assert_eq!(passing(&["label=tier=back", "label=new"]), ["web-1", "job-1"]);
        assert_eq!(passing(&["label=tier=back", "status=running"]), [""; 0]);
        assert_eq!(passing(&["status=exited"]), ["job-1"]);
        assert_eq!(passing(&["exited=137", "exited=1"]), ["job-1"]);
        assert_eq!(passing(&["exited=0"]), [""; 0], "what runs has not ended with 0");
        for wrong in ["", "id", "name=x", "status=dead", "exited=x"] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }
}
