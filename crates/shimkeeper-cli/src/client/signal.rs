// SPDX-License-Identifier: Apache-2.0
//! Signals as people write them: `KILL`, `SIGKILL`, `kill` or `9`. The numbers are those of Linux on every machine the
//! project is built for.

/// The signals that have names, from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

pub(super) const TERM: u32 = 15;
pub(super) const KILL: u32 = 9;

/// The number of a signal.
pub(super) fn parse_signal(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err("signals are from 1 to 64".to_owned())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    (1..)
        .zip(NAMES)
        .find(|(_, known)| *known == name)
        .map(|(number, _)| number)
        .ok_or_else(|| format!("{text:?} is no signal: expected a name or number, as in TERM or 15"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_signals() {
        assert_eq!(["TERM", "sigterm", "15"].map(parse_signal), [const { Ok(TERM) }; 3]);
        assert_eq!(
            [parse_signal("KILL"), parse_signal("SYS"), parse_signal("64")],
            [Ok(KILL), Ok(31), Ok(64)]
        );
        for wrong in ["", "0", "65", "SIG", "NONE", "-9"] {
            assert!(parse_signal(wrong).is_err(), "{wrong}");
        }
    }
}
