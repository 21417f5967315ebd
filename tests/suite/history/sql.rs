//! Changes by direct SQL. Each change is a transaction on a new connection.

use std::{thread, time::Duration};

use diesel::{
    Connection, PgConnection, QueryResult, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection, deserialize::QueryableByName, sql_query, sql_types,
};

use super::event::Outcome;

/// A connection whose methods return errors, because the database may be unavailable.
pub(super) enum Sql {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    Rollback,
}

impl Sql {
    pub(super) fn connect(url: &str) -> Option<Self> {
        if url.starts_with("postgres:") {
            return PgConnection::establish(url).ok().map(Self::Postgres);
        }
        let mut connection = SqliteConnection::establish(url).ok()?;
        connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON").ok()?;
        Some(Self::Sqlite(connection))
    }

    pub(super) fn execute(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Self::Postgres(connection) => connection.batch_execute(sql),
            Self::Sqlite(connection) => connection.batch_execute(sql),
        }
    }

    /// Runs one statement in a transaction that stays open for this time.
    pub(super) fn transaction(&mut self, statement: &str, open_for: Duration, end: End) -> Outcome {
        let begin = match self {
            Self::Postgres(_) => "BEGIN",
            Self::Sqlite(_) => "BEGIN IMMEDIATE",
        };
        let prepared = self.execute(begin).and_then(|()| self.execute(statement));
        thread::sleep(open_for);
        match (prepared, end) {
            // A failed transaction cannot commit later.
            (Err(_), _) => Outcome::Undone,
            (Ok(()), End::Rollback) => {
                let _ = self.execute("ROLLBACK");
                Outcome::Undone
            }
            (Ok(()), End::Commit) => match self.execute("COMMIT") {
                Ok(()) => Outcome::Done,
                Err(_) => Outcome::Unknown,
            },
        }
    }

    /// Returns the column `number` of the first row.
    pub(super) fn number(&mut self, sql: &str) -> Option<i64> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = sql_types::BigInt)]
            number: i64,
        }
        let query = sql_query(sql);
        let row: QueryResult<Row> = match self {
            Self::Postgres(connection) => query.get_result(connection),
            Self::Sqlite(connection) => query.get_result(connection),
        };
        row.ok().map(|row| row.number)
    }
}
