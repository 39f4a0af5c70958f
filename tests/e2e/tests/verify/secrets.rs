//! Secrets stay where they belong.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use restore_lab::{
    lab::{Lab, LabBuilder},
    s3::{Embedded, Fault, Options, S3Server},
    terraform::{self, CANARY, Project},
};

const TOKEN: &str = "root@pam!tf=canary-token-91b7";
const PASSWORD: &str = "canary-password-5d20";
const LICENCE: &str = "canary-environment-77aa";

/// The files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() && !path.is_symlink() { below(&path) } else { vec![path] })
        .collect()
}

/// The arguments of whatever runs on this machine, which plays the operator's and the node, while something is done.
fn arguments_during(act: impl FnOnce() + Send) -> String {
    let (over, seen) = (AtomicBool::new(false), Mutex::new(String::new()));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let processes = fs::read_dir("/proc").unwrap().flatten();
                let all: Vec<u8> = processes
                    .flat_map(|process| fs::read(process.path().join("cmdline")).unwrap_or_default())
                    .collect();
                let text = String::from_utf8_lossy(&all).into_owned();
                let mut seen = seen.lock().unwrap();
                // What was seen before need not be kept again.
                if !seen.ends_with(&text) {
                    seen.push_str(&text);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        act();
        over.store(true, Ordering::SeqCst);
    });
    seen.into_inner().unwrap()
}

struct Scene {
    lab: Lab,
    server: Embedded,
    project: Project,
}

impl Scene {
    fn start() -> Self {
        let lab = LabBuilder::new().small().start().unwrap();
        let server = Embedded::start(&Options::default()).unwrap();
        let project = Project::add_to(lab.operator().project(), &server).unwrap();
        project.make_buckets(&server).unwrap();
        project.init("prod").unwrap();
        for release in 1..=2 {
            project.release("prod", release).unwrap();
            project.apply("prod").unwrap();
        }
        let secrets =
            format!("proxmox_api_token = \"{TOKEN}\"\ntelegram = {{ password = \"{PASSWORD}\" }}\n");
        fs::write(project.environment("prod").join("more.auto.tfvars"), secrets).unwrap();
        Self { lab, server, project }
    }

    fn run(&self, words: &[&str]) -> String {
        let mut command = self.lab.command("verify-backups");
        command.args(words).envs(self.project.variables()).env("TF_VAR_licence", LICENCE);
        restore_e2e::run(command).to_string()
    }
}

#[test]
fn no_secret_is_told_by_any_run() {
    if !terraform::is_installed().unwrap() {
        return;
    }
    let mut scene = Scene::start();
    let secret = scene.server.credentials().secret_key.clone();
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name).display().to_string();
    let (metrics, html) = (path("m.prom"), path("p.html"));
    let folder = scene.lab.path("/var/lib/vz").display().to_string();
    let mut said = String::new();
    let argv = arguments_during(|| {
        for words in [
            &["-vv"][..],
            &["-vvv", "--deep", "--json", "--metrics", &metrics, "--html", &html],
            &["-vvv", "--local", &folder],
            &["-vvv", "--ready"],
            &["-vv", "--ready", "--json"],
        ] {
            said += &scene.run(words);
        }
        scene.server.always(Fault::WrongSecret);
        said += &scene.run(&["-vvv"]);
        scene.server.heal();
        fs::write(scene.project.environment("lab").join("broken.auto.tfvars"), format!("x = \"{PASSWORD}"))
            .unwrap();
        said += &scene.run(&["-vvv"]);
        said += &scene.run(&["-vvv", "--ready"]);
        scene.server.stop().unwrap();
        said += &scene.run(&["-vvv", "--env", "prod"]);
    });
    assert!(
        said.contains("ready-tfvars") && said.contains("state-could-not-check"),
        "all of it was tried:\n{said}"
    );
    assert!(argv.contains("verify-backups"), "arguments were seen");
    let node = scene.lab.executions().unwrap().join("\n")
        + &scene.lab.journal().unwrap().iter().map(ToString::to_string).collect::<String>();
    assert!(node.contains("pvesh"), "and those of the node");
    let memory = scene.lab.operator().home().join(".local/state/pve-restore");
    let copies = memory.join("states");
    assert!(below(&memory).iter().any(|file| file.starts_with(&copies)), "the state was kept");
    for canary in [CANARY, TOKEN, PASSWORD, LICENCE, secret.as_str()] {
        assert!(!said.contains(canary), "said: {canary}");
        assert!(!argv.contains(canary), "an argument here: {canary}");
        assert!(!node.contains(canary), "on the node: {canary}");
        for file in below(&memory).into_iter().chain(below(out.path())) {
            let holds = fs::read(&file).unwrap().windows(canary.len()).any(|part| part == canary.as_bytes());
            assert_eq!(
                holds,
                file.starts_with(&copies) && canary == CANARY,
                "{canary} in {}",
                file.display()
            );
        }
    }
    for file in below(&memory) {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}
