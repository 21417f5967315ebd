//! The table of the Flask recipe, as its ORM creates it.

use super::Database;

/// Three keys in the form of the recipe: 43 characters of base64.
pub(crate) const KEYS: [&str; 3] = [
    "rAdk2Jw8qL0fXyTz5bN1cVmP7hG4sKeU6iO9aRtWnBE",
    "gQm3pN8yZkT2uB7hL4fEaG6iR9nXcYtMq1oJ5sVxCw0",
    "hHk8rN2pQ7vX4cT1mY6wB3jH9sL5dF0gAeUoKiCnRxV",
];

/// Creates the table `api_auth` with these rows: key, IP address, description.
pub(crate) fn create(database: &Database, rows: &[(&str, &str, &str)]) {
    let (id, time) = if database.is_postgres() {
        ("SERIAL", "TIMESTAMP WITHOUT TIME ZONE")
    } else {
        ("INTEGER", "DATETIME")
    };
    database
        .execute(&format!(
            "CREATE TABLE api_auth (date_created {time}, date_modified {time}, id {id} NOT NULL, \
             key VARCHAR(120), ip VARCHAR(120), description VARCHAR(255), PRIMARY KEY (id), UNIQUE (key))"
        ))
        .unwrap();
    for (key, ip, description) in rows {
        database
            .execute(&format!(
                "INSERT INTO api_auth (key, ip, description) VALUES ('{key}', '{ip}', '{description}')"
            ))
            .unwrap();
    }
}
