//! Secrets stay where they belong.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use restore_e2e::{States, run};
use restore_lab::{
    s3::{Embedded, Fault, S3Server},
    terraform::CANARY,
};

/// The files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            all.extend(below(&path));
        } else {
            all.push(path);
        }
    }
    all
}

/// A Terraform that writes down how it was called, each word on a line.
fn noting(states: &States<Embedded>) -> (PathBuf, PathBuf) {
    let (program, notes) = (states.folder().join("noting-terraform"), states.folder().join("argv"));
    let real = restore_lab::terraform::program().unwrap();
    // Whatever runs at that moment, with its arguments.
    let script = format!(
        "#!/bin/sh\nfor process in /proc/[0-9]*; do tr '\\0' '\\n' <$process/cmdline >>'{notes}' 2>/dev/null; done\nexec '{}' \"$@\"\n",
        real.display(),
        notes = notes.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, notes)
}

#[test]
fn no_secret_of_a_state_or_of_the_server_is_told() {
    let Some(mut states) = States::embedded() else { return };
    states.apply("prod", 1..=3);
    let (program, notes) = noting(&states);
    let secret = states.server.credentials().secret_key.clone();
    let mut said = String::new();
    let mut go = |states: &States<Embedded>, words: &[&str], code: i32| {
        let mut command = states.command(words);
        command.arg("-vvv").env("TF_BIN", &program);
        said += &run(command).exits(code).to_string();
    };
    for words in [
        &["--env", "prod", "--list"][..],
        &["--env", "prod", "--list", "--json"],
        &["--env", "prod", "--show", "previous"],
        &["--env", "prod", "--diff", "previous", "current"],
        &["--env", "prod", "--pull"],
        &["--env", "prod", "--restore", "serial:1", "--yes"],
        &["--env", "prod", "--restore", "serial:2", "--yes", "--json"],
    ] {
        go(&states, words, 0);
    }
    states.server.always(Fault::WrongSecret);
    go(&states, &["--env", "prod", "--list"], 1);
    states.server.heal();
    states.server.stop().unwrap();
    go(&states, &["--env", "prod", "--fallback", "--yes"], 0);
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    states.server.start_again().unwrap();
    fs::write(states.file("prod", "broken.tf"), "resource {").unwrap();
    go(&states, &["--env", "prod", "--return", "--yes"], 2);
    fs::remove_file(states.file("prod", "broken.tf")).unwrap();
    go(&states, &["--env", "prod", "--return", "--yes"], 0);

    let argv = fs::read_to_string(&notes).unwrap();
    assert!(argv.contains("-chdir="), "it notes: {argv}");
    let journals: Vec<PathBuf> = below(&states.memory().join("runs"));
    assert!(journals.len() >= 5, "{journals:?}");
    for canary in [CANARY, secret.as_str()] {
        assert!(!said.contains(canary), "said: {canary}");
        assert!(!argv.contains(canary), "an argument: {canary}");
        for file in below(&states.memory()) {
            let holds = fs::read(&file).unwrap().windows(canary.len()).any(|part| part == canary.as_bytes());
            let is_copy = file.starts_with(states.memory().join("states"));
            assert_eq!(holds, is_copy && canary == CANARY, "{canary} in {}", file.display());
        }
    }
    assert!(!states.memory().join("work").exists(), "no job is left");
}

#[test]
fn copies_are_for_nobody_else_whatever_the_umask() {
    let Some(mut states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let go = |states: &States<Embedded>, words: &str| {
        let plain = states.command(&[]);
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(format!("umask 000; exec \"$0\" {words}")).arg(plain.get_program());
        command.env_clear().envs(states.project.variables()).current_dir(states.project.root());
        run(command).exits(0);
    };
    go(&states, "--env prod --list");
    go(&states, "--env prod --restore previous --yes");
    states.server.stop().unwrap();
    go(&states, "--env prod --fallback --yes");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = below(&states.memory());
    assert!(files.iter().any(|file| file.extension().is_some_and(|end| end == "tfstate")), "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
        let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(states.memory()));
        for folder in folders {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }
    assert_eq!(mode(&states.file("prod", "fallback.tfstate")), 0o600);
}
