//! Runs the programs in a terminal of 80 columns and puts what they show into the documents.
//!
//! `restore-captures FILE…` replaces every fenced block of the files that follows a line `<!-- capture: NAME -->`. A file
//! `NAME.svg` becomes a picture of a restore. It needs tmux, and Terraform for what is about states.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod guests;
mod minio;
mod monitoring;
mod runbook;
mod screen;
mod states;
mod verify;

use std::{env, fs, io, path::Path, process::ExitCode};

use anstyle_svg::Term;

/// Plays something, and gives what was on the screen.
pub type Scene = fn() -> io::Result<String>;

fn main() -> ExitCode {
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: restore-captures FILE…");
        return ExitCode::from(64);
    }
    match files.iter().try_for_each(|file| run(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &str) -> io::Result<()> {
    if Path::new(file).extension().is_some_and(|extension| extension == "svg") {
        return fs::write(file, Term::new().render_svg(&guests::picture()?));
    }
    let mut page = fs::read_to_string(file)?;
    for &(name, scene) in all_scenes() {
        if page.contains(&marker(name)) {
            page = replaced(&page, name, &scene()?)?;
        }
    }
    if page.contains("<!-- step: ") {
        page = runbook::follow(&page)?;
    }
    fs::write(file, page)
}

fn all_scenes() -> impl Iterator<Item = &'static (&'static str, Scene)> {
    [guests::SCENES, states::SCENES, minio::SCENES, verify::SCENES, monitoring::SCENES].into_iter().flatten()
}

fn marker(name: &str) -> String {
    format!("<!-- capture: {name} -->\n```text\n")
}

fn replaced(page: &str, name: &str, screen: &str) -> io::Result<String> {
    let missing = || io::Error::other(format!("the block of `{name}` has no end"));
    let (before, rest) = page.split_once(&marker(name)).ok_or_else(missing)?;
    // The block may be empty: its end then stands right behind its beginning.
    let rest = format!("\n{rest}");
    let (_, after) = rest.split_once("\n```\n").ok_or_else(missing)?;
    Ok(format!("{before}{}{}\n```\n{after}", marker(name), screen.trim_end()))
}
