// SPDX-License-Identifier: Apache-2.0
//! Protobuf messages and service stubs of the containerd shim protocol, generated from /proto.
