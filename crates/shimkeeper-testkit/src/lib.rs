// SPDX-License-Identifier: Apache-2.0
//! What the tests share: the scripted fake shim, an event recorder, private directories.
