// SPDX-License-Identifier: Apache-2.0
//! One shim, no policy: bundle, runtime resolution, launch, bootstrap, connection, Task API, log pump, identity.
