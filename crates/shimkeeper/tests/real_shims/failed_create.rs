// SPDX-License-Identifier: Apache-2.0
//! A create that fails says why, leaves nothing, and leaves the id free.

use shimkeeper::{Cause, Error, Kind, RuncOptions, Stdio, Step};

use crate::host::{Host, finish, task_key};

matrix! {
    real_a_command_that_does_not_exist,
    real_a_runtime_that_does_not_exist,
}

async fn real_a_command_that_does_not_exist(host: &Host) {
    let key = task_key("failed");
    let spec = host.spec(&key, ["/nope"]).to_json().unwrap();
    let error = host.try_create(host.request(key, spec)).await.unwrap_err();
    assert_eq!(error.step(), Step::Call("Create"), "{error}");
    assert!(matches!(error.cause(), Cause::Call(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("/nope") && text.contains("OCI runtime create failed"), "{text}");
    assert!(error.hint().unwrap().contains("root file system"), "{:?}", error.hint());
    assert_nothing_came_of(host, &error).await;
}

async fn real_a_runtime_that_does_not_exist(host: &Host) {
    let key = task_key("failed");
    let spec = host.spec(&key, ["/bin/true"]).to_json().unwrap();
    let request = host.request(key, spec).runc(RuncOptions::binary("/nonexistent/runc"));
    let error = host.try_create(request).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/nonexistent/runc"), "{text}");
    assert!(error.hint().unwrap().contains("OCI runtime is installed"), "{text}: {:?}", error.hint());
    assert_nothing_came_of(host, &error).await;
}

async fn assert_nothing_came_of(host: &Host, error: &Error) {
    let key = error.key().unwrap();
    assert_eq!(host.manager.get(key).unwrap_err().kind(), Kind::NotFound);
    assert!(host.manager.list().is_empty());
    assert_eq!(host.story.of(key), [""; 0], "it was never made");
    let left = host.dirs.leftovers();
    assert!(left.processes.is_empty() && left.bundles.is_empty() && left.work_dirs.is_empty(), "{left}");

    let task = host.create(key.id.as_str(), ["/bin/true"], Stdio::Null).await;
    task.start().await.unwrap();
    assert_eq!(finish(&task).await.status, 0);
}
