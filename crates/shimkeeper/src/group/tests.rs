// SPDX-License-Identifier: Apache-2.0
//! Who sits where, and who is told to be the last.

use super::*;

fn place() -> (Namespace, Address) {
    ("ns".parse().unwrap(), Address::unix("/run/x"))
}

#[test]
fn the_last_one_is_told_and_nobody_sits_down_after() {
    let groups = Groups::default();
    let (namespace, address) = place();
    let before = groups.endings();
    let [one, two] = [(); 2].map(|()| groups.seat(&namespace, &address).unwrap());
    assert_eq!((one.others(), one.leave(), one.leave()), (1, Leaving::Stays, Leaving::Stays));
    assert_eq!((one.others(), two.others()), (1, 0), "one still clears up, and is no member");
    let three = groups.seat(&namespace, &address).unwrap();
    drop(three);
    assert_eq!((two.leave(), two.leave()), (Leaving::Last, Leaving::Last));
    let GroupEnding(over) = groups.seat(&namespace, &address).unwrap_err();
    assert!(!over.is_cancelled() && !groups.has_ended_since(before, &namespace, &address));
    drop(one);
    assert!(!over.is_cancelled());
    drop(two);
    assert!(over.is_cancelled() && groups.has_ended_since(before, &namespace, &address));
    assert!(!groups.has_ended_since(groups.endings(), &namespace, &address));
    assert_eq!(groups.seat(&namespace, &address).unwrap().leave(), Leaving::Last, "it begins anew");
}

#[test]
fn one_member_launches_at_a_time() {
    let groups = Groups::default();
    let (namespace, _) = place();
    let [one, two] = [(); 2].map(|()| groups.launching(&namespace, "pod"));
    let turn = one.try_acquire().unwrap();
    assert!(two.try_acquire().is_err() && groups.launching(&namespace, "other").try_acquire().is_ok());
    drop(turn);
    assert!(two.try_acquire().is_ok());
}

#[test]
fn namespaces_do_not_sit_together() {
    let groups = Groups::default();
    let (namespace, address) = place();
    let one = groups.seat(&namespace, &address).unwrap();
    let other = groups.seat(&"other".parse().unwrap(), &address).unwrap();
    assert_eq!((one.others(), other.others()), (0, 0));
}

#[test]
fn many_leave_at_once_and_one_is_the_last() {
    let groups = Groups::default();
    let (namespace, address) = place();
    let seats: Vec<_> = (0..16).map(|_| groups.seat(&namespace, &address).unwrap()).collect();
    let left: Vec<_> = std::thread::scope(|scope| {
        let leaving: Vec<_> = seats.iter().map(|seat| scope.spawn(|| seat.leave())).collect();
        leaving.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(left.iter().filter(|leaving| **leaving == Leaving::Last).count(), 1);
}

#[test]
fn an_end_that_is_refused_lets_others_in_again() {
    let groups = Groups::default();
    let (namespace, address) = place();
    let one = groups.seat(&namespace, &address).unwrap();
    let two = groups.seat(&namespace, &address).unwrap();
    assert_eq!(one.begin_to_end(), Err(1));
    drop(two);
    assert_eq!(one.begin_to_end(), Ok(()));
    assert!(groups.seat(&namespace, &address).is_err());
    one.stay();
    assert!(groups.seat(&namespace, &address).is_ok());
}
