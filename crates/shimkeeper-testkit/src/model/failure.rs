// SPDX-License-Identifier: Apache-2.0
//! What a shim answers instead of a result: a gRPC code and a text.

/// An error status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) text: String,
}

const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;
const FAILED_PRECONDITION: i32 = 9;
const UNIMPLEMENTED: i32 = 12;

impl Failure {
    pub(crate) fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self::new(UNKNOWN, text)
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(INVALID_ARGUMENT, text)
    }

    pub(crate) fn unimplemented(text: impl Into<String>) -> Self {
        Self::new(UNIMPLEMENTED, text)
    }

    pub(crate) fn no_container() -> Self {
        Self::new(NOT_FOUND, "container not created: not found")
    }

    pub(crate) fn no_process(exec_id: &str) -> Self {
        Self::new(NOT_FOUND, format!("process does not exist {exec_id}: not found"))
    }

    pub(crate) fn exists(id: &str) -> Self {
        Self::new(ALREADY_EXISTS, format!("id {id}: already exists"))
    }

    pub(crate) fn already_finished() -> Self {
        Self::new(NOT_FOUND, "process already finished: not found")
    }

    pub(crate) fn not_created() -> Self {
        Self::new(FAILED_PRECONDITION, "process not created: failed precondition")
    }
}
