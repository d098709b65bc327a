// SPDX-License-Identifier: Apache-2.0
//! A process in the foreground: its streams are copied to and from ours, our signals and our terminal's size go to it,
//! and its end is ours. Whose process it is, a manager's in this process or a daemon's, makes no difference here.
//!
//! [`supervise`] watches it, [`stdio`] copies, [`signals`] listens, [`terminal`] owns what is done to the user's, and
//! [`leave`] knows the keys by which one leaves without ending it.

pub(crate) mod exit_code;
pub(crate) mod leave;
pub(crate) mod signals;
pub(crate) mod stdio;
pub(crate) mod supervise;
pub(crate) mod terminal;
