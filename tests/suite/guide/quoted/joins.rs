use std::error::Error;

use api_key_runtime::{AppKeys, admin::{Admin, IssuedKey, NewKey}};
use diesel::{SqliteConnection, connection::SimpleConnection as _, prelude::*};

diesel::table! {
    users (id) {
        id -> BigInt,
        name -> Text,
    }
}

// As `diesel print-schema` prints it. Columns that no query names may be left out.
diesel::table! {
    api_keys (id) {
        id -> BigInt,
        user_id -> Nullable<BigInt>,
    }
}

diesel::joinable!(api_keys -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(api_keys, users);

fn connect(url: &str) -> Result<SqliteConnection, Box<dyn Error>> {
    let mut connection = SqliteConnection::establish(url)?;
    // SQLite alone, on every connection.
    connection.batch_execute("PRAGMA foreign_keys = ON")?;
    Ok(connection)
}

fn sign_up(
    connection: &mut SqliteConnection,
    admin: &Admin,
    name: &str,
) -> Result<IssuedKey, Box<dyn Error>> {
    connection.immediate_transaction(|connection| {
        let user: i64 = diesel::insert_into(users::table)
            .values(users::name.eq(name))
            .returning(users::id)
            .get_result(connection)?;
        let new = NewKey::new("first key").allow_any();
        let issued = admin.issue_in_transaction(connection, &new)?;
        diesel::update(api_keys::table.find(issued.record.id))
            .set(api_keys::user_id.eq(user))
            .execute(connection)?;
        Ok(issued)
    })
}

/// In a handler: `web::block(move || user_of(&mut pool.get()?, key.id()))`.
fn user_of(connection: &mut SqliteConnection, key: i64) -> QueryResult<String> {
    api_keys::table
        .inner_join(users::table)
        .filter(api_keys::id.eq(key))
        .select(users::name)
        .first(connection)
}

fn delete_user(connection: &mut SqliteConnection, name: &str) -> QueryResult<usize> {
    diesel::delete(users::table.filter(users::name.eq(name))).execute(connection)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut connection = connect("shop.db")?;
    let admin = AppKeys::builder().database_url("shop.db").build_admin()?;
    let key = sign_up(&mut connection, &admin, "ada")?;
    println!("{}", user_of(&mut connection, key.record.id)?);
    delete_user(&mut connection, "ada")?;
    Ok(())
}
