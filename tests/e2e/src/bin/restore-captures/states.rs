//! `restore-tfstate`.

use std::io;

use restore_e2e::States;
use restore_lab::{
    s3::{Embedded, S3Server as _},
    terraform,
};
use serde_json::{Value, json};

use crate::{Scene, screen::Screen};

pub const SCENES: &[(&str, Scene)] = &[
    ("state-list", list),
    ("state-restore", restore),
    ("state-down", down),
    ("state-fallback", fallback),
    ("state-return", go_back),
    ("state-conflict", conflict),
    ("state-locked", locked),
];

/// The key of every environment's state.
const KEY: &str = "terraform.tfstate";

/// Three environments, of one of which there are five versions.
fn states() -> io::Result<States<Embedded>> {
    let states = States::embedded().ok_or_else(|| io::Error::other("there is no terraform"))?;
    states.apply("lab", 1..=1);
    states.apply("monitoring", 1..=1);
    states.apply("prod", 1..=5);
    Ok(states)
}

fn open(states: &States<Embedded>, line: &str) -> io::Result<Screen> {
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    Screen::open(line, &states.command(&words))
}

fn list() -> io::Result<String> {
    let states = states()?;
    ends(&states, &open(&states, "restore-tfstate --env prod --list")?)
}

fn restore() -> io::Result<String> {
    let states = states()?;
    let screen = open(&states, "restore-tfstate --env prod --restore serial:3")?;
    screen.wait_for("[y/N]")?;
    screen.enter("y")?;
    ends(&states, &screen)
}

fn down() -> io::Result<String> {
    let mut states = states()?;
    states.server.stop()?;
    ends(&states, &open(&states, "restore-tfstate --env prod --list")?)
}

/// A server that is gone, with a copy of every state here.
fn kept() -> io::Result<States<Embedded>> {
    let mut states = states()?;
    states.run(&["--all", "--pull"]).exits(0);
    states.server.stop()?;
    Ok(states)
}

fn fallback() -> io::Result<String> {
    let states = kept()?;
    let screen = open(&states, "restore-tfstate --all --fallback")?;
    screen.wait_for("[y/N]")?;
    screen.enter("y")?;
    ends(&states, &screen)
}

/// Fallen back, with a change made meanwhile, and the server is there again.
fn changed() -> io::Result<States<Embedded>> {
    let mut states = kept()?;
    states.run(&["--all", "--fallback", "--yes"]).exits(0);
    states.project.release("prod", 6)?;
    states.project.apply("prod")?;
    states.server.start_again()?;
    Ok(states)
}

fn go_back() -> io::Result<String> {
    let states = changed()?;
    let screen = open(&states, "restore-tfstate --all --return")?;
    screen.wait_for("[y/N]")?;
    screen.enter("y")?;
    ends(&states, &screen)
}

/// The bucket was written to as well.
fn conflict() -> io::Result<String> {
    let states = changed()?;
    let bucket = terraform::bucket("prod");
    let mut theirs: Value = serde_json::from_slice(&states.admin().get(&bucket, KEY, None)?)?;
    theirs["serial"] = (theirs["serial"].as_u64().unwrap_or_default() + 1).into();
    theirs["outputs"]["release"]["value"] = 99.into();
    states.admin().put(&bucket, KEY, theirs.to_string().as_bytes())?;
    ends(&states, &open(&states, "restore-tfstate --env prod --return")?)
}

/// An apply of somebody else's was killed, and its lock is there still.
fn locked() -> io::Result<String> {
    let states = states()?;
    let taken = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(3);
    let lock = json!({
        "ID": "0f273cf4-9998-e44f-9f07-9b743eaa4e54", "Operation": "OperationTypeApply", "Info": "",
        "Who": "operator@desk", "Version": "1.11.4", "Created": taken.to_string(), "Path": KEY,
    });
    let key = format!("{KEY}.tflock");
    states.admin().put(&terraform::bucket("prod"), &key, lock.to_string().as_bytes())?;
    ends(&states, &open(&states, "restore-tfstate --env prod --restore previous")?)
}

/// What is on the screen when the program has ended; the lab's folder is written as an operator's home would be.
fn ends(states: &States<Embedded>, screen: &Screen) -> io::Result<String> {
    let folder = states.folder().display().to_string();
    Ok(screen.ends()?.replace(&folder, "/home/operator"))
}
