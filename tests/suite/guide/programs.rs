//! Programs that chapters show. Doctests compile these programs, and the tests here run their
//! functions.

use std::fs;

use super::chapter;
use crate::support::{Database, markdown, own_folder};

/// Foreign keys from API keys to users, in the chapter on joins.
#[allow(dead_code)]
mod joins {
    include!("quoted/joins.rs");

    use api_key_runtime::admin::ListKeys;

    use super::{Database, chapter, markdown};

    #[test]
    fn a_key_is_issued_and_deleted_with_its_user() {
        let database = Database::sqlite();
        database.migrate();
        database.execute(markdown::blocks_in(&chapter("joins"), "sql")[0]).unwrap();
        let mut connection = connect(database.url()).unwrap();
        let admin = AppKeys::builder().database_url(database.url()).build_admin().unwrap();
        let keys = || admin.list(&ListKeys::new()).unwrap().len();

        let key = sign_up(&mut connection, &admin, "ada").unwrap();
        assert_eq!(user_of(&mut connection, key.record.id).unwrap(), "ada");
        assert!(sign_up(&mut connection, &admin, "ada").is_err(), "the name is taken");
        assert_eq!(keys(), 1, "no key without its user");
        assert_eq!(delete_user(&mut connection, "ada"), Ok(1));
        assert_eq!(keys(), 0);
    }
}

/// Migrations of two owners in one folder, in the chapter on migrations.
#[allow(dead_code)]
mod migrated {
    include!("quoted/migrations.rs");

    use super::{fs, own_folder};

    #[test]
    fn copied_migrations_run_before_those_of_the_service() {
        let folder = own_folder();
        let all = folder.join("migrations");
        let own = all.join("2026-01-01-000000_create_users");
        fs::create_dir_all(&own).unwrap();
        let up = "CREATE TABLE users (key_id INTEGER REFERENCES api_keys (id));";
        fs::write(own.join("up.sql"), up).unwrap();
        fs::write(own.join("down.sql"), "DROP TABLE users;").unwrap();
        migrations::copy(&all, DatabaseKind::Sqlite).unwrap();
        let url = folder.join("shop.db").to_str().unwrap().to_owned();
        assert_eq!(migrate(&all, &url).unwrap(), 4);
        AppKeys::builder().database_url(&url).build().unwrap();
        fs::remove_dir_all(folder).unwrap();
    }
}

/// Spans without keys, in the chapter on the log.
#[allow(dead_code)]
mod spans {
    include!("quoted/spans.rs");

    use std::sync::Arc;

    use actix_web::test::{TestRequest, init_service};
    use api_key_runtime::test_util::TestKeys;
    use tracing_subscriber::fmt::format::FmtSpan;

    use super::{fs, own_folder};

    #[test]
    fn spans_of_requests_hold_no_key() {
        let path = own_folder().join("spans");
        let subscriber = tracing_subscriber::fmt()
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(Arc::new(fs::File::create(&path).unwrap()))
            .finish();
        let _installed = tracing::subscriber::set_default(subscriber);
        let keys = TestKeys::with(|builder| builder.key_locations([KeyLocation::query("key")]));
        let key = keys.issue("");
        let status = actix_web::rt::System::new().block_on(async {
            let app = App::new().app_data(keys.app_keys.clone()).service(orders);
            let app = init_service(app.wrap(TracingLogger::<Redacted>::new())).await;
            let uri = format!("/orders?key={}", key.secret.expose_secret());
            TestRequest::get().uri(&uri).send_request(&app).await.status()
        });
        assert_eq!(status, 200);
        let spans = fs::read_to_string(&path).unwrap();
        let id = key.record.id;
        let expected = format!("target=\"/orders?key=[redacted]\" status=200 app_key={id}");
        assert!(spans.contains(&expected), "{spans}");
        assert!(!spans.contains(&key.secret.expose_secret()[12..]), "{spans}");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}

#[test]
fn chapters_show_the_programs_that_run_here() {
    for (name, program) in [
        ("joins", include_str!("quoted/joins.rs")),
        ("migrations", include_str!("quoted/migrations.rs")),
        ("logs", include_str!("quoted/spans.rs")),
    ] {
        let text = chapter(name);
        let shown = markdown::blocks_in(&text, "rust,no_run");
        assert!(shown.contains(&program), "{name}.md has another program");
    }
}
