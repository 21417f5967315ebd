//! `app-key completions` and `app-key man`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Arguments;
use crate::{
    failure::Failure,
    text::{one_line, say},
};

pub(crate) const COMPLETIONS_AFTER_HELP: &str = "\
Examples:
  app-key completions bash > ~/.local/share/bash-completion/completions/app-key
  app-key completions zsh > ~/.zfunc/_app-key
  app-key completions fish > ~/.config/fish/completions/app-key.fish";

pub(crate) const MAN_AFTER_HELP: &str = "\
Examples:
  app-key man | man -l -
  app-key man --dir ~/.local/share/man/man1";

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell to print the completions for
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write one page for the command and one for each subcommand into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(asked: &Completions) -> Result<(), Failure> {
    // `generate` panics if a write fails, so the script is first written to memory.
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut Arguments::command(), "app-key", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

pub(crate) fn man(asked: &Man) -> Result<(), Failure> {
    let command = Arguments::command();
    let Some(folder) = &asked.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return Ok(io::stdout().write_all(&page)?);
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|source| Failure::File { verb: "write", path: folder.clone(), source })?;
    say(format_args!("Wrote the pages into {}.", one_line(&folder.display().to_string())));
    Ok(())
}
