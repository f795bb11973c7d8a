//! The schema and its history.

use rusqlite::Connection;

use crate::StoreError;

/// Every step from nothing to the present schema. Steps are only ever appended.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql"), include_str!("migrations/0003.sql")];

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
        let broken =
            connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get::<_, i64>(0))?;
        if broken > 0 {
            let detail = format!("{broken} rows refer to rows that are not there");
            return Err(StoreError::Damaged { path: "journal.db".into(), detail });
        }
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
}

/// Panics if SQLite would go through a whole table to answer a statement.
#[cfg(test)]
pub(crate) fn assert_no_scan(statement: &str) {
    let connection = Connection::open_in_memory().expect("memory can always be opened");
    migrate(&connection).expect("an empty database can be migrated");
    let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).expect("the statement is sound");
    (1..=plan.parameter_count())
        .for_each(|number| plan.raw_bind_parameter(number, 1).expect("there is such a parameter"));
    let mut rows = plan.raw_query();
    while let Some(row) = rows.next().expect("a plan can be read") {
        let detail: String = row.get("detail").expect("a plan has details");
        assert!(!detail.starts_with("SCAN") || detail == "SCAN CONSTANT ROW", "{detail}: {statement}");
    }
}
