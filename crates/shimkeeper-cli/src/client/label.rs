// SPDX-License-Identifier: Apache-2.0
//! Labels: ours, and as people write them. What a daemon takes for one is the daemon's to say.

/// Where the output goes: the URI that the shim is told.
pub(super) const LOG_LABEL: &str = "shimkeeper.log";

/// What can be typed into while nobody is attached.
pub(super) const INPUT_LABEL: &str = "shimkeeper.input";

/// `NAME=VALUE`. One without a value would be dropped by the daemon: containerd takes it for one to be removed.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or_default();
    if name.is_empty() || value.is_empty() {
        return Err(format!("{text:?} is no label: expected NAME=VALUE"));
    }
    if name.starts_with("shimkeeper.") {
        return Err(format!("labels that begin with \"shimkeeper.\" are ours, as {name:?}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_a_name_and_a_value() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for wrong in ["", "a", "a=", "=b", "shimkeeper.log=x"] {
            assert!(parse_label(wrong).is_err(), "{wrong}");
        }
    }
}
