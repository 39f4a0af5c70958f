//! Runs the programs in a terminal of 80 columns and puts what they show into the documents.
//!
//! `restore-captures FILE…` replaces every fenced block of the files that follows a line `<!-- capture: NAME -->`. It needs
//! tmux, and Terraform for what is about states.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod guests;
mod screen;
mod states;
mod verify;

use std::{env, fs, io, process::ExitCode};

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
    let mut page = fs::read_to_string(file)?;
    for &(name, scene) in guests::SCENES.iter().chain(states::SCENES).chain(verify::SCENES) {
        if page.contains(&marker(name)) {
            page = replaced(&page, name, &scene()?)?;
        }
    }
    fs::write(file, page)
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
