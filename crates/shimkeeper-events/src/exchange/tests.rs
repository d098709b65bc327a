// SPDX-License-Identifier: Apache-2.0
//! Order, bounds and ends, with a subscriber that leaves at every point.

use std::task::{Context, Poll};
use std::thread;
use std::time::UNIX_EPOCH;

use shimkeeper_core::{Any, Namespace};

use super::*;
use crate::topic::Topic;

fn event(number: usize) -> Arc<Envelope> {
    let event = Any::new("test", number.to_be_bytes().to_vec());
    let envelope = Envelope::new(Namespace::default_namespace(), Topic::TASK_OOM, UNIX_EPOCH, event).unwrap();
    Arc::new(envelope)
}

fn number(envelope: &Envelope) -> usize {
    usize::from_be_bytes(envelope.event().value[..].try_into().unwrap())
}

fn all(exchange: &Exchange) -> Subscription {
    exchange.subscribe(Filters::everything(), Limits::default()).unwrap()
}

fn drain(subscription: &mut Subscription) -> Vec<usize> {
    std::iter::from_fn(|| subscription.try_next().unwrap()).map(|event| number(&event)).collect()
}

#[test]
fn everyone_gets_every_event_in_order() {
    let exchange = Exchange::new();
    let mut subscriptions: Vec<_> = (0..3).map(|_| all(&exchange)).collect();
    for n in 0..100 {
        assert_eq!(exchange.publish(&event(n)), 3);
    }
    for subscription in &mut subscriptions {
        assert_eq!(drain(subscription), (0..100).collect::<Vec<_>>());
    }
    let counters = exchange.counters();
    assert_eq!((counters.published, counters.delivered, counters.queued), (100, 300, 0));
}

#[test]
fn filters_decide_who_gets_it() {
    let exchange = Exchange::new();
    let mut oom =
        exchange.subscribe(Filters::parse([r#"topic=="/tasks/oom""#]).unwrap(), Limits::default()).unwrap();
    let mut exit =
        exchange.subscribe(Filters::parse([r#"topic=="/tasks/exit""#]).unwrap(), Limits::default()).unwrap();
    assert_eq!(exchange.publish(&event(1)), 1);
    assert_eq!((drain(&mut oom), drain(&mut exit)), (vec![1], vec![]));
}

#[test]
fn the_slow_one_gets_what_was_queued_and_then_the_reason_and_nobody_else_notices() {
    let exchange = Exchange::new();
    let limits = Limits { events: 3, bytes: usize::MAX };
    let mut slow = exchange.subscribe(Filters::everything(), limits).unwrap();
    let mut quick = all(&exchange);
    for n in 0..10 {
        exchange.publish(&event(n));
    }
    assert_eq!(drain(&mut quick), (0..10).collect::<Vec<_>>());
    let counters = exchange.counters();
    assert_eq!((counters.subscribers, counters.ended_too_slow, counters.delivered), (1, 1, 13));
    for n in 0..3 {
        assert_eq!(number(&slow.try_next().unwrap().unwrap()), n);
    }
    for _ in 0..2 {
        let ended = slow.try_next().unwrap_err();
        assert!(matches!(ended, Ended::TooSlow { queued: 3, .. }));
        assert_eq!(ended.kind(), Kind::ResourceExhausted);
    }
}

#[test]
fn a_queue_is_bounded_in_bytes_but_lets_one_event_in() {
    let exchange = Exchange::new();
    let limits = Limits { events: usize::MAX, bytes: 1 };
    let mut subscription = exchange.subscribe(Filters::everything(), limits).unwrap();
    assert_eq!(exchange.publish(&event(0)), 1);
    assert_eq!(number(&subscription.try_next().unwrap().unwrap()), 0);
    exchange.publish(&event(1));
    assert_eq!(exchange.publish(&event(2)), 0);
    assert_eq!(number(&subscription.try_next().unwrap().unwrap()), 1);
    assert!(subscription.try_next().is_err());
}

#[tokio::test]
async fn closing_ends_everyone_after_what_was_queued() {
    let exchange = Exchange::new();
    let mut subscription = all(&exchange);
    exchange.publish(&event(1));
    exchange.close();
    exchange.close();
    assert_eq!(exchange.publish(&event(2)), 0);
    assert_eq!(number(&subscription.next().await.unwrap().unwrap()), 1);
    assert_eq!(subscription.next().await.unwrap().map(|event| number(&event)), None);
    let error = exchange.subscribe(Filters::everything(), Limits::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn one_who_waits_is_woken_by_an_event_and_by_the_end() {
    let exchange = Exchange::new();
    let mut subscription = all(&exchange);
    let (event_seen, _) = tokio::join!(subscription.next(), async { exchange.publish(&event(7)) });
    assert_eq!(number(&event_seen.unwrap().unwrap()), 7);
    let (end, ()) = tokio::join!(subscription.next(), async { exchange.close() });
    assert!(end.unwrap().is_none());
}

#[tokio::test]
async fn a_cancelled_wait_loses_no_event() {
    let exchange = Exchange::new();
    let mut subscription = all(&exchange);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    {
        let mut waiting = std::pin::pin!(subscription.next());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        exchange.publish(&event(1));
        // Dropped here, woken but not polled again.
    }
    assert!(matches!(subscription.poll_next(&mut cx), Poll::Ready(Ok(Some(_)))));
}

#[test]
fn dropping_a_subscription_frees_its_queue_and_its_place() {
    let exchange = Exchange::with_max_subscribers(1);
    let subscription = all(&exchange);
    let first = event(1);
    exchange.publish(&first);
    assert_eq!(Arc::strong_count(&first), 2);
    let error = exchange.subscribe(Filters::everything(), Limits::default()).unwrap_err();
    assert_eq!(error, SubscribeError::TooMany { max: 1 });
    drop(subscription);
    assert_eq!(Arc::strong_count(&first), 1);
    assert_eq!(exchange.counters().subscribers, 0);
    let _another = all(&exchange);
}

#[test]
fn publishers_at_once_are_seen_in_one_order_by_all_and_leaving_disturbs_nobody() {
    const PUBLISHERS: usize = 4;
    const EVENTS: usize = 500;
    let exchange = Exchange::new();
    let mut stay: Vec<_> = (0..3).map(|_| all(&exchange)).collect();
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let exchange = exchange.clone();
            scope.spawn(move || {
                for n in 0..EVENTS {
                    exchange.publish(&event(publisher * EVENTS + n));
                }
            });
        }
        let exchange = &exchange;
        scope.spawn(move || {
            // Comes and goes in the middle of broadcasts, before and behind those that stay.
            for _ in 0..EVENTS {
                drop((all(exchange), all(exchange)));
            }
        });
    });
    let seen: Vec<_> = stay.iter_mut().map(drain).collect();
    assert_eq!(seen[0].len(), PUBLISHERS * EVENTS);
    assert!(seen.iter().all(|one| one == &seen[0]), "one order for all");
    for publisher in 0..PUBLISHERS {
        let own: Vec<_> = seen[0].iter().filter(|n| *n / EVENTS == publisher).copied().collect();
        assert_eq!(own, (publisher * EVENTS..(publisher + 1) * EVENTS).collect::<Vec<_>>());
    }
}

#[test]
fn who_is_expected_gets_first_what_was_published_for_it_and_each_event_once() {
    let exchange = Exchange::new();
    let mut early = all(&exchange);
    exchange.publish_to_expected(&event(0));
    exchange.expect();
    exchange.publish_to_expected(&event(1));
    exchange.publish(&event(2));
    let limits = Limits { events: 1, bytes: 1 };
    let mut late = exchange.subscribe(Filters::everything(), limits).unwrap();
    exchange.publish_to_expected(&event(3));
    let none = Filters::parse(["topic==\"/tasks/exit\""]).unwrap();
    assert_eq!(
        exchange.subscribe(none, limits).unwrap().queued(),
        0,
        "filters hold for what was before, too"
    );
    exchange.expect_no_more();
    exchange.publish_to_expected(&event(4));
    assert_eq!(all(&exchange).queued(), 0);
    assert_eq!(drain(&mut early), [0, 1, 2, 3, 4]);
    assert_eq!(number(&late.try_next().unwrap().unwrap()), 1);
    assert!(late.try_next().is_err(), "its own limits hold for what comes after");
}

#[test]
fn what_is_kept_for_those_who_are_expected_is_bounded() {
    let exchange = Exchange::new();
    exchange.expect();
    for n in 0..Limits::default().events + 7 {
        exchange.publish_to_expected(&event(n));
    }
    assert_eq!(all(&exchange).queued(), Limits::default().events);
}

#[test]
fn whoever_subscribes_meanwhile_has_each_event_once() {
    const EVENTS: usize = 300;
    let exchange = Exchange::new();
    exchange.expect();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EVENTS {
                exchange.publish_to_expected(&event(n));
            }
        });
        let mut seen: Vec<_> = (0..EVENTS).map(|_| all(&exchange)).collect();
        let last = all(&exchange);
        while last.queued() < EVENTS {
            thread::yield_now();
        }
        seen.push(last);
        for mut one in seen {
            assert_eq!(drain(&mut one), (0..EVENTS).collect::<Vec<_>>());
        }
    });
}
