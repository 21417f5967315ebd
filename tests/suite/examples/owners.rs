//! Keys that belong to users.

use diesel_migrations::FileBasedMigrations;

use super::{Example, header, root, shell};
use crate::support::{
    Database, database_test,
    http::{self, request},
    wait_until,
};

const SOURCE: &str = include_str!("../../../examples/owners/main.rs");

fn serve(database: &Database) -> Example {
    Example::serving("owners", &[("DATABASE_URL", database.url())])
}

// E6, E9
database_test!(deleting_a_user_deletes_its_keys, |database: Database| {
    let example = serve(&database);
    let shown = header::paste_at(SOURCE, "owners", example.listens_at(), &database);
    let refused = header::NOT_GOOD;
    assert_eq!(shown, format!("Hello, ada. Your keys: first.\n{refused}"));
    assert!(database.texts("SELECT name FROM users").is_empty());
    assert!(database.rows().is_empty());
});

// E6
database_test!(deleting_a_user_ends_only_its_keys_in_every_process, |database: Database| {
    let (here, there) = (serve(&database), serve(&database));
    let places = [here.listens_at(), there.listens_at()];
    let sign_up = |name: &str| {
        let key = shell(&format!("curl -sS -d name={name} http://{}/users", places[0]), &[]);
        key.trim_end().to_owned()
    };
    let keys = ["ada", "grace"].map(sign_up);
    let status = |place, key: &String| http::get_with(place, "/me", key).status;
    for place in places {
        for key in &keys {
            wait_until("a new key is accepted", || status(place, key) == 200);
        }
    }
    let [ada, grace] = &keys;
    let bearer = format!("Authorization: Bearer {ada}");
    let deleted = request(places[0], "DELETE", "/me", &[&bearer]);
    assert_eq!(deleted.status, 204);
    for place in places {
        wait_until("the key ended with its user", || status(place, ada) == 401);
        assert_eq!(status(place, grace), 200);
    }
});

database_test!(a_key_without_an_owner_finds_and_deletes_no_user, |database: Database| {
    let example = serve(&database);
    let (key, _) = database.issue("127.0.0.1");
    let bearer = format!("Authorization: Bearer {key}");
    let status = |method: &str| request(example.listens_at(), method, "/me", &[&bearer]).status;
    wait_until("the key is accepted", || status("GET") == 404);
    assert_eq!(status("DELETE"), 204);
    assert_eq!(status("GET"), 404);
});

// F14
database_test!(its_migration_reverts_without_those_of_the_library, |database: Database| {
    let kind = if database.is_postgres() { "postgres" } else { "sqlite" };
    let (key, _) = database.issue("127.0.0.1");
    let folder = root().join("examples/owners/migrations").join(kind);
    let own = FileBasedMigrations::from_path(folder).unwrap();
    let (ran, reverted) = database.run_and_revert_last(&own);
    assert_eq!((ran, reverted.as_str()), (vec!["20260103000000".to_owned()], "20260103000000"));
    assert_eq!(database.rows().len(), 1);
    let example = Example::serving("middleware", &[("DATABASE_URL", database.url())]);
    let files = http::get_with(example.listens_at(), "/files/", &key);
    assert_eq!(files.status, 200, "the key table still works");
});
