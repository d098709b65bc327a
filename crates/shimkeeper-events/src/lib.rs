// SPDX-License-Identifier: Apache-2.0
//! Task events: envelope, topic, exchange and filter. Knows no shim.
