//! A key issued within a transaction of the application: it is committed or rolled back with the
//! rest of the transaction.

use api_key_runtime::{
    Error,
    admin::{Admin, KeyConnection, ListKeys, NewKey},
};
use diesel::{
    Connection, PgConnection, SqliteConnection,
    r2d2::{ConnectionManager, Pool},
};

use crate::support::{Database, Server, database_test, guarded_routes, http, wait_until};

/// The reason why a sign-up was rolled back.
#[derive(Debug)]
enum Failed {
    Key(Error),
    Database,
    Rethought,
}

impl From<diesel::result::Error> for Failed {
    fn from(_: diesel::result::Error) -> Self {
        Self::Database
    }
}

/// Inserts a user and issues a key in one transaction. An error from `before_the_end` rolls the
/// transaction back.
fn sign_up<C: Connection + KeyConnection>(
    connection: &mut C,
    admin: &Admin,
    before_the_end: impl FnOnce(&str) -> Result<(), Failed>,
) -> Result<String, Failed> {
    connection.transaction(|connection| {
        connection.batch_execute("INSERT INTO users (name) VALUES ('ada')")?;
        let new = NewKey::new("first").allow_any().owner("ada");
        let issued = admin.issue_in_transaction(connection, &new).map_err(Failed::Key)?;
        let key = issued.secret.expose_secret().to_owned();
        before_the_end(&key)?;
        Ok(key)
    })
}

fn on(
    database: &Database,
    admin: &Admin,
    before_the_end: impl FnOnce(&str) -> Result<(), Failed>,
) -> Result<String, Failed> {
    if database.is_postgres() {
        sign_up(&mut PgConnection::establish(database.url()).unwrap(), admin, before_the_end)
    } else {
        sign_up(&mut SqliteConnection::establish(database.url()).unwrap(), admin, before_the_end)
    }
}

// E6
database_test!(a_key_and_its_user_become_visible_with_the_commit, |database: Database| {
    let keys = database.keys();
    database.execute("CREATE TABLE users (name TEXT)").unwrap();
    let admin = keys.admin().unwrap();
    let server = Server::start(keys.clone(), guarded_routes);
    let status = |key: &str| http::get_with(server.address, "/guarded", key).status;
    let key = on(&database, admin, |key| {
        assert_eq!(status(key), 401, "the key is not committed yet");
        Ok(())
    })
    .unwrap();
    // The service cached that the key is unknown. The change feed removes this negative entry after
    // the commit.
    wait_until("the key is accepted", || status(&key) == 200);
    let [record] = admin.list(&ListKeys::new()).unwrap().try_into().unwrap();
    assert_eq!(record.owner.as_deref(), Some("ada"));
    assert_eq!(database.texts("SELECT name FROM users"), ["ada"]);
});

// E13
database_test!(a_sign_up_that_is_rolled_back_leaves_neither_user_nor_key, |database: Database| {
    let keys = database.keys();
    database.execute("CREATE TABLE users (name TEXT)").unwrap();
    let admin = keys.admin().unwrap();
    let failed = on(&database, admin, |_| Err(Failed::Rethought)).unwrap_err();
    assert!(matches!(failed, Failed::Rethought), "{failed:?}");
    assert!(admin.list(&ListKeys::new()).unwrap().is_empty());
    assert!(database.texts("SELECT name FROM users").is_empty());
    assert_eq!(on(&database, admin, |_| Ok(())).map(drop).map_err(|_| ()), Ok(()));
    assert_eq!(admin.list(&ListKeys::new()).unwrap().len(), 1);
});

// A6
database_test!(issuing_in_a_transaction_checks_the_pepper, |database: Database| {
    database.issue("0.0.0.0");
    database.execute("CREATE TABLE users (name TEXT)").unwrap();
    let pepper = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let admin = database.builder().pepper(pepper).build_admin().unwrap();
    let failed = on(&database, &admin, |_| Ok(())).unwrap_err();
    assert!(matches!(&failed, Failed::Key(error) if error.is_conflict()), "{failed:?}");
    assert_eq!(admin.list(&ListKeys::new()).unwrap().len(), 1);
    assert!(database.texts("SELECT name FROM users").is_empty());
});

// F14
database_test!(
    a_sign_up_over_the_only_connection_of_a_pool_needs_no_other,
    |database: Database| {
        database.migrate();
        database.execute("CREATE TABLE users (name TEXT)").unwrap();
        if database.is_postgres() {
            let manager = ConnectionManager::<PgConnection>::new(database.url());
            let pool = Pool::builder().max_size(1).build(manager).unwrap();
            let builder = api_key_runtime::AppKeys::builder().postgres_pool(pool.clone());
            let admin = builder.build_admin().unwrap();
            sign_up(&mut pool.get().unwrap(), &admin, |_| Ok(())).unwrap();
        } else {
            let manager = ConnectionManager::<SqliteConnection>::new(database.url());
            let pool = Pool::builder().max_size(1).build(manager).unwrap();
            let builder = api_key_runtime::AppKeys::builder().sqlite_pool(pool.clone());
            let admin = builder.build_admin().unwrap();
            sign_up(&mut pool.get().unwrap(), &admin, |_| Ok(())).unwrap();
        }
        assert_eq!(database.admin().list(&ListKeys::new()).unwrap().len(), 1);
        assert_eq!(database.texts("SELECT name FROM users"), ["ada"]);
    }
);
