// SPDX-License-Identifier: Apache-2.0
//! The end of a connection: once, for everybody, and with its reason.

use shimkeeper_core::{HasKind, Kind};
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_shim::{Call, CloseReason};
use tokio::time::timeout;

use crate::fake::{APIS, Behaviour, FakeShim, LONG, drivers_end};

#[tokio::test]
async fn a_killed_shim_ends_the_connection_for_every_waiter_and_every_call() {
    for api in APIS {
        let mut shim = FakeShim::start(api, Behaviour::HangOnWait);
        let connection = shim.dial().await;
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let connection = connection.clone();
                shim.tasks.spawn(async move { connection.closed().await })
            })
            .collect();
        let in_flight = {
            let connection = connection.clone();
            let request = task::WaitRequest::default();
            shim.tasks.spawn(async move { connection.wait(&Call::unbounded(), &request).await })
        };
        shim.has_seen("Wait").await;
        shim.kill();
        for waiter in waiters {
            let reason = timeout(LONG, waiter).await.expect("closed() fires").unwrap();
            assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Reset), "{api}: {reason}");
            assert_eq!(connection.close_reason(), Some(reason), "{api}: the same for everybody");
        }
        let error = timeout(LONG, in_flight).await.expect("the call ends").unwrap().unwrap_err();
        assert!(error.is_closed(), "{api}: {error}");
        assert_eq!(error.kind(), Kind::Unavailable);
        let late =
            connection.connect(&Call::unbounded(), &task::ConnectRequest::default()).await.unwrap_err();
        assert!(late.is_closed(), "{api}: {late}");
        assert_eq!(Some(connection.closed().await), connection.close_reason());
        drop(connection);
        drivers_end(&shim.tasks).await;
    }
}

#[tokio::test]
async fn our_own_close_is_an_end_like_any_other() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::HangOnWait);
        let connection = shim.dial().await;
        let in_flight = {
            let connection = connection.clone();
            let request = task::WaitRequest::default();
            shim.tasks.spawn(async move { connection.wait(&Call::unbounded(), &request).await })
        };
        shim.has_seen("Wait").await;
        connection.close();
        connection.close();
        assert_eq!(timeout(LONG, connection.closed()).await, Ok(CloseReason::Local), "{api}");
        let error = timeout(LONG, in_flight).await.expect("the call ends").unwrap().unwrap_err();
        assert!(error.is_closed(), "{api}: {error}");
        // The clone is still there: a closed connection needs no drop to let go of its socket and its tasks.
        drivers_end(&shim.tasks).await;
    }
}

#[tokio::test]
async fn a_share_ends_by_itself_and_the_last_one_closes_the_wire() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::HangOnWait);
        let first = shim.dial().await;
        let second = first.share().expect("the wire is open");
        let waiting = {
            let (first, request) = (first.clone(), task::WaitRequest::default());
            shim.tasks.spawn(async move { first.wait(&Call::unbounded(), &request).await })
        };
        shim.has_seen("Wait").await;
        first.close();
        first.close();
        let error = timeout(LONG, waiting).await.expect("its calls end").unwrap().unwrap_err();
        assert!(error.is_closed(), "{api}: {error}");
        assert_eq!(first.close_reason(), Some(CloseReason::Local), "{api}");
        assert_eq!(second.close_reason(), None, "{api}");
        second.connect(&Call::within(LONG), &task::ConnectRequest::default()).await.unwrap();
        let third = first.share().expect("the wire is open, though this share is not");
        drop(second);
        third.connect(&Call::within(LONG), &task::ConnectRequest::default()).await.unwrap();
        third.close();
        assert!(first.share().is_none(), "{api}: the wire is closed for good");
        // Two handles are still there.
        drivers_end(&shim.tasks).await;
    }
}

#[tokio::test]
async fn a_killed_shim_ends_every_share() {
    for api in APIS {
        let mut shim = FakeShim::start(api, Behaviour::Answer);
        let first = shim.dial().await;
        let second = first.share().expect("the wire is open");
        shim.kill();
        let reasons = timeout(LONG, async { [first.closed().await, second.closed().await] }).await.unwrap();
        assert_eq!(reasons[0], reasons[1], "{api}");
        assert_ne!(reasons[0], CloseReason::Local, "{api}");
        second.close();
        first.close();
        drivers_end(&shim.tasks).await;
    }
}

#[tokio::test]
async fn the_last_clone_closes_the_connection() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::Answer);
        let connection = shim.dial().await;
        let clone = connection.clone();
        drop(connection);
        clone.connect(&Call::within(LONG), &task::ConnectRequest::default()).await.unwrap();
        drop(clone);
        drivers_end(&shim.tasks).await;
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_the_connection_alone() {
    for api in APIS {
        let shim = FakeShim::start(api, Behaviour::HangOnWait);
        let connection = shim.dial().await;
        {
            let request = task::WaitRequest::default();
            let call = Call::unbounded();
            tokio::select! {
                answer = connection.wait(&call, &request) => panic!("{api}: {answer:?}"),
                () = shim.has_seen("Wait") => {}
            }
        }
        connection.connect(&Call::within(LONG), &task::ConnectRequest::default()).await.unwrap();
        assert_eq!(connection.close_reason(), None, "{api}");
    }
}
