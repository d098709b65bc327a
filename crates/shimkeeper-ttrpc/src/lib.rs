// SPDX-License-Identifier: Apache-2.0
//! ttrpc over tokio and prost: sans-IO framing, a client that never confuses one call with another, a bounded server.
