//! Ctrl-C while nothing is read yet.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use restore_e2e::{Ran, States};
use restore_lab::{
    lab::{Lab, LabBuilder},
    s3::Fault,
    terraform,
};
use rustix::process::{Pid, Signal, kill_process};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than anything that hangs here.
const SOON: Duration = Duration::from_secs(20);

/// Starts a program, waits until it has begun, and presses Ctrl-C: it has to end soon.
fn interrupted(mut command: Command, has_begun: impl Fn() -> bool) -> Ran {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !has_begun() {
        assert!(begun.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let pressed = Instant::now();
    let ran = Ran::new(&child.wait_with_output().unwrap());
    assert!(pressed.elapsed() < SOON, "it took {:?}: {ran}", pressed.elapsed());
    ran.exits(130).says("interrupted")
}

#[test]
fn a_node_that_hangs_is_not_waited_for() {
    let lab: Lab = LabBuilder::new().small().start().unwrap();
    lab.slow_down(&["pvesh"], 40_000).unwrap();
    let mut command = lab.command("verify-backups");
    command.arg("--no-state");
    let _ = interrupted(command, || !lab.executions().unwrap().is_empty());
}

#[test]
fn a_server_that_hangs_is_not_waited_for() {
    let Some(states) = States::embedded() else { return };
    states.admin().put(&terraform::bucket("prod"), "terraform.tfstate", b"{}").unwrap();
    states.server.begin_anew();
    states.server.always(Fault::Hang);
    let _ = interrupted(states.verify_command(&[]), || !states.server.requests().is_empty());
}
