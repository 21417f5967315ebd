//! The queries for users and their keys. Both tables are declared in the form that
//! `diesel print-schema` prints.

use std::error::Error;

use api_key_runtime::admin::{Admin, KeySecret, NewKey};
use diesel::{connection::SimpleConnection as _, prelude::*};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use crate::connection::AnyConnection;

diesel::table! {
    users (id) {
        id -> BigInt,
        name -> Text,
    }
}

// This declaration has only the columns that this example uses. The schema in
// `api_key_runtime::store::postgres::schema` has all columns, but Diesel cannot join it to a table
// of another crate.
diesel::table! {
    api_keys (id) {
        id -> BigInt,
        name -> Text,
        user_id -> Nullable<BigInt>,
    }
}

diesel::joinable!(api_keys -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(api_keys, users);

const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("owners/migrations/postgres");
const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("owners/migrations/sqlite");

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The location of the database.
pub(crate) struct Place(String);

impl Place {
    /// Runs this example's migrations, and returns the location of the database.
    pub(crate) fn migrated(url: String) -> Result<Self, Failure> {
        let place = Self(url);
        match &mut place.connect()? {
            AnyConnection::Postgres(connection) => {
                connection.run_pending_migrations(POSTGRES_MIGRATIONS)?;
            }
            AnyConnection::Sqlite(connection) => {
                connection.run_pending_migrations(SQLITE_MIGRATIONS)?;
            }
        }
        Ok(place)
    }

    pub(crate) fn connect(&self) -> Result<AnyConnection, Failure> {
        if self.0.starts_with("postgres") {
            let connection = PgConnection::establish(&self.0)?;
            return Ok(AnyConnection::Postgres(connection));
        }
        let mut connection = SqliteConnection::establish(&self.0)?;
        // Without this pragma, SQLite ignores foreign keys, so it would delete a user and keep the
        // user's keys.
        connection.batch_execute("PRAGMA busy_timeout = 1000; PRAGMA foreign_keys = ON")?;
        Ok(AnyConnection::Sqlite(connection))
    }
}

/// Creates a user with the first key. The first statement of the transaction is a write. In SQLite,
/// a transaction that begins with a read fails at its first write if another transaction has
/// written in between.
pub(crate) fn sign_up(
    connection: &mut AnyConnection,
    admin: &Admin,
    name: &str,
) -> Result<KeySecret, Failure> {
    let user = diesel::insert_into(users::table).values(users::name.eq(name)).returning(users::id);
    let new = NewKey::new("first").allow_any();
    connection.transaction(|connection| {
        let (id, issued): (i64, _) = match connection {
            AnyConnection::Postgres(connection) => {
                (user.get_result(connection)?, admin.issue_in_transaction(connection, &new)?)
            }
            AnyConnection::Sqlite(connection) => {
                (user.get_result(connection)?, admin.issue_in_transaction(connection, &new)?)
            }
        };
        diesel::update(api_keys::table.find(issued.record.id))
            .set(api_keys::user_id.eq(id))
            .execute(connection)?;
        Ok(issued.secret)
    })
}

/// A user, and the names of the user's keys.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
}

/// Returns the owner of a key, or `None` if the key has no owner or was deleted.
pub(crate) fn of_key(connection: &mut AnyConnection, key: i64) -> Result<Option<Owner>, Failure> {
    let found: Option<(i64, String)> = api_keys::table
        .inner_join(users::table)
        .filter(api_keys::id.eq(key))
        .select((users::id, users::name))
        .first(connection)
        .optional()?;
    let Some((user, name)) = found else {
        return Ok(None);
    };
    let keys = api_keys::table
        .filter(api_keys::user_id.eq(user))
        .order(api_keys::id)
        .select(api_keys::name)
        .load(connection)?;
    Ok(Some(Owner { name, keys }))
}

/// Deletes the owner of a key. The database deletes the owner's keys.
pub(crate) fn delete_owner_of(connection: &mut AnyConnection, key: i64) -> Result<(), Failure> {
    let user: Option<Option<i64>> =
        api_keys::table.find(key).select(api_keys::user_id).first(connection).optional()?;
    if let Some(user) = user.flatten() {
        diesel::delete(users::table.find(user)).execute(connection)?;
    }
    Ok(())
}
