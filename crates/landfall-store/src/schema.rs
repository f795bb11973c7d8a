//! The schema and its history.

use rusqlite::Connection;

use crate::StoreError;

/// Every step from nothing to the present schema. Steps are only ever appended.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql")];

/// The schema this binary writes.
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// The schema in the file.
pub(crate) fn version(connection: &Connection) -> Result<u32, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Brings the file to the present schema. Runs inside the caller's transaction: all of it or nothing.
pub(crate) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(StoreError::Newer { found, known: VERSION });
    }
    for step in &MIGRATIONS[found as usize..] {
        connection.execute_batch(step)?;
    }
    if found != VERSION {
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}
