//! The cakes: their table and its queries.

use diesel::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{connection::AnyConnection, jsend::Failure};

diesel::table! {
    cakes (id) {
        id -> BigInt,
        name -> Text,
        price_cents -> BigInt,
    }
}

/// The maximum number of cakes in a list.
const MAX_LISTED: i64 = 100;
const MAX_NAME_CHARS: usize = 100;
const MAX_PRICE_CENTS: i64 = 1_000_000;

#[derive(Debug, Queryable, Serialize)]
pub(crate) struct Cake {
    pub(crate) id: i64,
    name: String,
    price_cents: i64,
}

/// A new cake, as a caller describes it.
#[derive(Debug, Deserialize, Insertable)]
#[diesel(table_name = cakes)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCake {
    name: String,
    price_cents: i64,
}

impl NewCake {
    /// Checks the constraints of the table, so that the caller gets a readable message.
    pub(crate) fn check(self) -> Result<Self, Failure> {
        if self.name.trim().is_empty()
            || self.name.chars().count() > MAX_NAME_CHARS
            || self.name.contains('\0')
        {
            return Err(Failure::Invalid { field: "name", why: "a name has 1 to 100 characters" });
        }
        if !(0..=MAX_PRICE_CENTS).contains(&self.price_cents) {
            return Err(Failure::Invalid {
                field: "price_cents",
                why: "a price is 0 to 1000000 cents",
            });
        }
        Ok(self)
    }
}

/// Returns up to [`MAX_LISTED`] cakes, the newest first.
pub(crate) fn list(connection: &mut AnyConnection) -> QueryResult<Vec<Cake>> {
    cakes::table.order(cakes::id.desc()).limit(MAX_LISTED).load(connection)
}

pub(crate) fn find(connection: &mut AnyConnection, id: i64) -> QueryResult<Option<Cake>> {
    cakes::table.find(id).first(connection).optional()
}

/// Inserts a cake. An [`AnyConnection`] does not support `RETURNING`, so each arm uses the
/// connection of one database.
pub(crate) fn insert(connection: &mut AnyConnection, cake: &NewCake) -> QueryResult<Cake> {
    let statement = diesel::insert_into(cakes::table).values(cake).returning(cakes::all_columns);
    match connection {
        AnyConnection::Postgres(connection) => statement.get_result(connection),
        AnyConnection::Sqlite(connection) => statement.get_result(connection),
    }
}

/// Deletes a cake. Returns whether the cake existed.
pub(crate) fn delete(connection: &mut AnyConnection, id: i64) -> QueryResult<bool> {
    let deleted = diesel::delete(cakes::table.find(id)).execute(connection)?;
    Ok(deleted > 0)
}
