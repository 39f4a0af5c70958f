//! What it costs to look at the history of a Terraform state, and to restore one.

use std::{
    error::Error,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use restore_e2e::States;
use restore_lab::{
    s3::{Embedded, Fault, S3Server},
    terraform,
};

use crate::{
    RUNS,
    figure::Figure,
    watch::{self, watch},
};

/// As many versions as a state of some years has.
const VERSIONS: u32 = 1000;
/// Of a link that is not the local network.
const LATENCY: Duration = Duration::from_millis(20);
/// So many versions are read in the plain way.
const SAMPLE: u32 = 50;
/// The key of a state.
const KEY: &str = "terraform.tfstate";
/// A large state.
const LARGE: usize = 1_000_000;

/// A history of many versions, listed.
pub fn history(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let states = with_versions(VERSIONS, 6_000)?;
    let list =
        || -> Result<f64, Box<dyn Error>> { Ok(watch::run(&mut listing(program, &states), &[0])?.seconds) };
    // The first one also keeps its copy.
    list()?;
    let near: Vec<f64> = (0..RUNS).map(|_| list()).collect::<Result<_, _>>()?;
    states.server.always(Fault::Slow(LATENCY));
    let far: Vec<f64> = (0..RUNS).map(|_| list()).collect::<Result<_, _>>()?;
    let plain = one_after_the_other(&states)?;
    let times = far.iter().zip(&near).map(|(far, near)| far / near).collect();
    Ok(vec![
        Figure::at_most("list of 1,000 versions", "s", 3.0, near),
        Figure::at_most("the same with 20 ms of latency", "s", 6.0, far)
            .beside("a GET after the other", plain),
        Figure::at_most("the same with 20 ms of latency", "times", 2.0, times),
    ])
}

/// Reading all versions with a request after the other, as a loop around a client would: measured on a few, and scaled.
fn one_after_the_other(states: &States<Embedded>) -> Result<f64, Box<dyn Error>> {
    let (admin, bucket) = (states.server.client()?, terraform::bucket("prod"));
    let versions = admin.versions(&bucket, KEY)?;
    let started = Instant::now();
    for version in versions.iter().take(SAMPLE as usize) {
        admin.get(&bucket, KEY, Some(&version.id))?;
    }
    Ok(started.elapsed().as_secs_f64() / f64::from(SAMPLE) * f64::from(VERSIONS))
}

/// A history of large states, listed.
pub fn large_states(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let states = with_versions(VERSIONS, LARGE)?;
    let memory = (0..RUNS)
        .map(|_| Ok(watch::run(&mut listing(program, &states), &[0])?.megabytes))
        .collect::<Result<_, Box<dyn Error>>>()?;
    Ok(vec![Figure::at_most("list of 1,000 versions of 1 MB: memory", "MB", 60.0, memory)])
}

/// A restore of a state, less what Terraform takes.
pub fn restore(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let run = || -> Result<f64, Box<dyn Error>> {
        let states = States::embedded().ok_or("there is no terraform")?;
        states.apply("prod", 1..=3);
        let (wrapper, times) = timing_in(&states.folder())?;
        let mut command = command(program, &states);
        command.args(["--env", "prod", "--restore", "serial:1", "--yes"]).env("TF_BIN", wrapper);
        let started = Instant::now();
        watch(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?, &[0])?;
        let took = started.elapsed().as_secs_f64();
        let terraform = fs::read_to_string(times)?.lines().filter_map(seconds).sum::<f64>();
        Ok(took - terraform)
    };
    let values = (0..RUNS).map(|_| run()).collect::<Result<_, _>>()?;
    Ok(vec![Figure::at_most("state: the program's own share", "s", 1.0, values)])
}

/// A project whose state has so many versions, of about so many bytes each.
pub fn with_versions(versions: u32, size: usize) -> Result<States<Embedded>, Box<dyn Error>> {
    let states = States::embedded().ok_or("there is no terraform")?;
    fill(&states, versions, size)?;
    Ok(states)
}

/// Writes versions of a state of about this many bytes, each another one.
pub fn fill<S: S3Server>(states: &States<S>, versions: u32, size: usize) -> Result<(), Box<dyn Error>> {
    let (admin, bucket) = (states.server.client()?, terraform::bucket("prod"));
    for serial in 1..=versions {
        admin.put(&bucket, KEY, state(serial, size).as_bytes())?;
    }
    Ok(())
}

fn state(serial: u32, size: usize) -> String {
    let instance = |n: usize| {
        format!(
            "{{\"mode\":\"managed\",\"type\":\"terraform_data\",\"name\":\"guest_{n}\",\"provider\":\"provider[\\\"terraform.io/builtin/terraform\\\"]\",\
             \"instances\":[{{\"schema_version\":0,\"attributes\":{{\"id\":\"{n}-{}\",\"input\":\"{}\"}}}}]}}",
            if n.is_multiple_of(7) { serial } else { 0 },
            "x".repeat(size / 20)
        )
    };
    let resources: Vec<String> = (0..20).map(instance).collect();
    format!(
        "{{\"version\":4,\"terraform_version\":\"1.11.4\",\"serial\":{serial},\"lineage\":\"5d1a4c7e-0000-0000-0000-000000000000\",\"outputs\":{{}},\"resources\":[{}]}}",
        resources.join(",")
    )
}

/// The versions of the state, listed.
pub fn listing<S: S3Server>(program: &Path, states: &States<S>) -> Command {
    let mut command = command(program, states);
    command.args(["--env", "prod", "--list"]);
    command
}

fn command<S: S3Server>(program: &Path, states: &States<S>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(states.project.variables()).current_dir(states.project.root());
    command
}

/// A Terraform that writes down when it was called and when it had ended.
pub fn timing_in(folder: &Path) -> Result<(PathBuf, PathBuf), Box<dyn Error>> {
    let (wrapper, times) = (folder.join("timing"), folder.join("times"));
    let real = terraform::program().ok_or("there is no terraform")?;
    let script = format!(
        "#!/bin/bash\nbegun=$EPOCHREALTIME\n'{}' \"$@\"\ncode=$?\necho \"$begun $EPOCHREALTIME\" >>'{}'\nexit $code\n",
        real.display(),
        times.display()
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok((wrapper, times))
}

pub fn seconds(line: &str) -> Option<f64> {
    let (begun, ended) = line.split_once(' ')?;
    Some(ended.parse::<f64>().ok()? - begun.parse::<f64>().ok()?)
}
