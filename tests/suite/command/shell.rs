//! Completions and the man page.

use std::{fs, process::Command};

use super::{command, outcome};
use crate::support::own_folder;

#[test]
fn completions_and_man_pages_name_every_subcommand() {
    let run = |line: &str| outcome(command("", line).env_remove("DATABASE_URL")).succeeded();
    let help = run("--help");
    let subcommands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(subcommands.contains(&"explain") && subcommands.len() > 12, "{help}");
    let page = run("man").replace('\\', "");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&format!("completions {shell}"));
        for name in &subcommands {
            assert!(script.contains(name), "{shell}: {name}");
            assert!(page.contains(&format!("app-key-{name}(1)")), "{name}");
        }
    }
    let folder = own_folder();
    let script = folder.join("completions");
    fs::write(&script, run("completions bash")).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());

    let ran = outcome(command("", "man --dir pages").current_dir(&folder));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    for name in &subcommands {
        let page = fs::read_to_string(folder.join(format!("pages/app-key-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{page}");
    }
}
