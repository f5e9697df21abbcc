//! `portcullis completions` and `portcullis man`: what a shell and a reader know of this very build.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::args::Args;
use crate::output::{Failure, Printed};

#[derive(Debug, Subcommand)]
pub(crate) enum Page {
    /// Print what a shell needs to complete this command.
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Print the manual page, or write those of every subcommand.
    Man {
        /// Write a page for each subcommand into this directory, which must exist.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

pub(crate) fn run(page: Page) -> Result<Printed, Failure> {
    match page {
        Page::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "portcullis", &mut script);
            let script = text(script)?;
            let json = json!({ "shell": shell.to_string(), "script": script });
            Printed::new(script, json)
        }
        Page::Man { dir: None } => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command())
                .render(&mut page)
                .map_err(|error| Failure::io("the page", &error))?;
            let page = text(page)?;
            let json = json!({ "page": page });
            Printed::new(page, json)
        }
        Page::Man { dir: Some(dir) } => write(&dir),
    }
}

fn write(dir: &Path) -> Result<Printed, Failure> {
    let shown = dir.display();
    clap_mangen::generate_to(Args::command(), dir).map_err(|error| Failure::io(&format!("{shown}"), &error))?;
    Printed::new(format!("the manual pages are in {shown}"), json!({ "directory": dir }))
}

fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| Failure::io("the text", &std::io::Error::other(error)))
}
