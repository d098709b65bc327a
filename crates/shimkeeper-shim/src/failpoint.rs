// SPDX-License-Identifier: Apache-2.0
//! Places where a test has this process die, as if by `kill -9`: between any two steps that a restart has to tell apart.
//!
//! `SHIMKEEPER_FAILPOINT=NAME`, `NAME@3` at the third time it comes there, `NAME+20` so many milliseconds after it did.
//! Compiled into tests only: they ask for the feature `failpoints` as a development dependency, and an optimised build
//! has none of it even so.

/// Dies here, if that is what the environment asks for.
#[inline]
pub fn hit(name: &str) {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    armed::hit(name);
    #[cfg(not(all(feature = "failpoints", debug_assertions)))]
    let _ = name;
}

#[cfg(all(feature = "failpoints", debug_assertions))]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use rustix::process::{Signal, getpid, kill_process};

    /// Names the place.
    const ENV: &str = "SHIMKEEPER_FAILPOINT";

    static CHOSEN: LazyLock<Option<Chosen>> =
        LazyLock::new(|| std::env::var(ENV).ok().and_then(|text| Chosen::parse(&text)));

    #[derive(Debug)]
    struct Chosen {
        name: String,
        /// How often to pass before.
        left: AtomicU32,
        delay: Duration,
    }

    impl Chosen {
        fn parse(text: &str) -> Option<Self> {
            let (text, delay) = text.split_once('+').unwrap_or((text, "0"));
            let (name, time) = text.split_once('@').unwrap_or((text, "1"));
            let left = AtomicU32::new(time.parse::<u32>().ok()?.checked_sub(1)?);
            Some(Self { name: name.to_owned(), left, delay: Duration::from_millis(delay.parse().ok()?) })
        }
    }

    pub(super) fn hit(name: &str) {
        let Some(chosen) = CHOSEN.as_ref().filter(|chosen| chosen.name == name) else { return };
        let one_less = |left: u32| left.checked_sub(1);
        if chosen.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return;
        }
        if chosen.delay.is_zero() {
            die();
        }
        // In the middle of whatever comes next.
        let delay = chosen.delay;
        std::thread::spawn(move || {
            let ends = Instant::now() + delay;
            while let Some(left) = ends.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                std::thread::park_timeout(left);
            }
            die();
        });
    }

    fn die() -> ! {
        // No handler, no destructor, no buffer written: what the kernel does when memory is short.
        let _ = kill_process(getpid(), Signal::KILL);
        std::process::abort()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_place_a_time_and_a_delay() {
            let read =
                |text: &str| Chosen::parse(text).map(|c| (c.name, c.left.into_inner(), c.delay.as_millis()));
            assert_eq!(read("C1"), Some(("C1".into(), 0, 0)));
            assert_eq!(read("D6@2+15"), Some(("D6".into(), 1, 15)));
            assert_eq!(read("C1@0"), None);
            assert_eq!(read("C1+x"), None);
        }
    }
}
