// SPDX-License-Identifier: Apache-2.0
//! What a damaged database still gives: every record that can be reached, over the table or over the index, and
//! whose check sum fits. Nothing that was not written is ever given back.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use crate::db;
use crate::records::{LeftOut, Records};

/// The highest row that is looked for by its number alone, where nothing else says how many there were.
const MOST_ROWS: i64 = 1 << 20;

/// Everything that can still be read in the store in `dir`, and what cannot.
pub(crate) fn salvage(dir: &Path) -> (Records, Vec<LeftOut>) {
    let (mut records, mut left_out) = (Records::default(), Vec::new());
    let path = db::path(dir);
    let connection = match db::connect(&path, false) {
        Ok(connection) => connection,
        Err(error) => {
            let what = path.display().to_string();
            return (records, vec![LeftOut { what, why: error.to_string() }]);
        }
    };
    for row in rows(&connection) {
        match db::by_row(&connection, row).optional() {
            Ok(None) => {}
            Ok(Some(found)) => {
                if let Err(error) = records.take(&found) {
                    let what = format!("{} {:?} in namespace {:?}", found.kind, found.id, found.namespace);
                    left_out.push(LeftOut { what, why: error.to_string() });
                }
            }
            Err(error) => {
                let what = format!("record number {row}");
                left_out.push(LeftOut { what, why: error.to_string() });
            }
        }
    }
    (records, left_out)
}

/// The numbers of all rows that there may be. Both trees are walked from both ends, so that damage in the middle
/// of one hides nothing; and whatever lies between is tried as well.
fn rows(connection: &Connection) -> BTreeSet<i64> {
    let mut rows = BTreeSet::new();
    for order in [
        "NOT INDEXED ORDER BY rowid",
        "NOT INDEXED ORDER BY rowid DESC",
        "ORDER BY kind, namespace, id",
        "ORDER BY kind DESC, namespace DESC, id DESC",
    ] {
        let Ok(mut statement) = connection.prepare(&format!("SELECT rowid FROM records {order}")) else {
            continue;
        };
        let Ok(found) = statement.query_map([], |row| row.get::<_, i64>(0)) else { continue };
        rows.extend(found.map_while(Result::ok));
    }
    let last = rows.last().copied().unwrap_or_default().min(MOST_ROWS);
    rows.extend(1..=last);
    rows
}
