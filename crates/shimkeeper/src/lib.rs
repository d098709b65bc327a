// SPDX-License-Identifier: Apache-2.0
//! The library: a manager of containerd shims that does not believe them.
