//! Files behind a key.

use std::{fs, path::PathBuf};

use actix_files::Files;
use actix_web::web;
use api_key_runtime::AppKeys;

use super::{ANY_KEY, bearer};
use crate::support::{Database, Server, http, own_folder};

/// A folder with an index, a file, and a folder without an index. Drop removes the outer folder.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = own_folder();
        fs::create_dir(folder.join("sub")).unwrap();
        for file in ["index.html", "cake.txt", "sub/crumb.txt"] {
            fs::write(folder.join(file), "a secret recipe").unwrap();
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn served(keys: AppKeys, folder: PathBuf) -> Server {
    Server::configured(move |config| {
        let files = |path: &str| {
            Files::new(path, &folder)
                .index_file("index.html")
                .show_files_listing()
                .redirect_to_slash_directory()
        };
        config
            .app_data(keys.clone())
            .service(web::scope("/files").wrap(ANY_KEY).service(files("/")))
            .service(web::scope("/mounted").wrap(ANY_KEY).service(files("/below")));
    })
}

// B8, B11, B12
#[test]
fn without_a_key_nothing_of_a_folder_is_shown() {
    let (database, folder) = (Database::sqlite(), Folder::new());
    let server = served(database.keys(), folder.0.clone());
    for root in ["/files", "/mounted/below"] {
        for path in [
            "",
            "/",
            "/index.html",
            "/cake.txt",
            "/sub",
            "/sub/",
            "/sub/crumb.txt",
            "/nowhere",
            "/%63ake.txt",
            "/sub/../cake.txt",
            "/sub/%2e%2e/cake.txt",
            "//cake.txt",
            "/./cake.txt",
            "/cake.txt?key=",
        ] {
            for method in ["GET", "HEAD", "POST", "OPTIONS", "PROPFIND"] {
                for lines in
                    [&[][..], &["Range: bytes=0-3"], &["If-None-Match: *"], &["X-API-Key: guess"]]
                {
                    let answer =
                        http::request(server.address, method, &format!("{root}{path}"), lines);
                    assert_eq!(answer.status, 401, "{method} {root}{path} {lines:?}");
                    assert!(!answer.text().contains("recipe"));
                    for header in ["etag", "last-modified", "location", "content-range"] {
                        assert_eq!(answer.header(header), None, "{method} {root}{path}");
                    }
                }
            }
        }
    }
}

// B11
#[test]
fn no_spelling_of_a_path_bypasses_the_scope() {
    let (database, folder) = (Database::sqlite(), Folder::new());
    let server = served(database.keys(), folder.0.clone());
    for target in [
        "/%66iles/cake.txt",
        "//files/cake.txt",
        "/./files/cake.txt",
        "/x/../files/cake.txt",
        "/FILES/cake.txt",
        "/files%2fcake.txt",
        "/files;x/cake.txt",
        "/files\\cake.txt",
        "/filescake.txt",
        "http://localhost/files/cake.txt",
        "http://localhost//files/cake.txt",
        "/mounted/../files/cake.txt",
    ] {
        let answer = http::get(server.address, target, &[]);
        assert!(
            matches!(answer.status, 400 | 401 | 404) && !answer.text().contains("recipe"),
            "{target}: {answer:?}"
        );
    }
}

// D5
#[test]
fn with_a_key_files_are_served_as_private() {
    let (database, folder) = (Database::sqlite(), Folder::new());
    let server = served(database.keys(), folder.0.clone());
    let key = bearer(&database.issue("0.0.0.0").0);
    let get = |path: &str, lines: &[&str]| {
        let lines = [&[key.as_str()], lines].concat();
        let answer = http::get(server.address, path, &lines);
        assert_eq!(answer.header("cache-control"), Some("private"), "{path}");
        assert_eq!(answer.header("vary"), Some("authorization, x-api-key"), "{path}");
        answer
    };
    let etag = get("/files/cake.txt", &[]);
    assert_eq!((etag.status, etag.text().as_str()), (200, "a secret recipe"));
    let etag = format!("If-None-Match: {}", etag.header("etag").unwrap());
    for (path, lines, status) in [
        ("/files/", &[][..], 200),
        ("/files/sub", &[], 307),
        ("/files/sub/", &[], 200),
        ("/files/nowhere", &[], 404),
        ("/files/cake.txt", &["Range: bytes=0-3"], 206),
        ("/files/cake.txt", &[&etag], 304),
        ("/mounted/below/sub/crumb.txt", &[], 200),
    ] {
        assert_eq!(get(path, lines).status, status, "{path} {lines:?}");
    }
}

/// The guard protects services, not folders. The documentation warns of this limit.
// B11
#[test]
fn a_guarded_folder_is_open_through_an_open_parent_folder() {
    let (database, folder) = (Database::sqlite(), Folder::new());
    let (keys, open) = (database.keys(), folder.0.clone());
    let server = Server::configured(move |config| {
        config
            .app_data(keys.clone())
            .service(web::scope("/sub").wrap(ANY_KEY).service(Files::new("/", open.join("sub"))))
            .service(Files::new("/", &open));
    });
    assert_eq!(http::get(server.address, "/sub/crumb.txt", &[]).status, 401);
    assert_eq!(http::get(server.address, "//sub/crumb.txt", &[]).status, 200);
}
