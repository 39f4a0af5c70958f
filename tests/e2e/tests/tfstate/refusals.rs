//! Bad input: clear words, and nothing is changed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use restore_e2e::{Ran, States};
use restore_lab::{
    lab::LabBuilder,
    s3::{Embedded, Engine, Options, S3Server},
    terraform::{self, Project},
};
use rstest::rstest;

/// Runs it, and wants that nothing was changed in the folder and the bucket.
#[track_caller]
fn refuses<S: S3Server>(states: &States<S>, words: &[&str], message: &str) {
    let (files, versions) = (states.files("prod"), states.versions("prod"));
    states.run(words).exits(1).says(message);
    assert_eq!(states.files("prod"), files);
    assert_eq!(states.versions("prod"), versions);
}

#[rstest]
fn versions_that_are_not_there(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=3);
    for (version, message) in [
        ("serial:99", "no version has serial 99"),
        ("serial:abc", "a serial is a number"),
        ("ffffffff-0000", "no version has the id"),
        ("abc", "at least 4 characters"),
        ("2001-01-01", "no version is as old as"),
    ] {
        for mode in ["--restore", "--show"] {
            refuses(&states, &["--env", "prod", mode, version, "--yes"], message);
        }
    }
    refuses(&states, &["--env", "nope", "--restore", "previous"], "there is no environment `nope`");
}

#[test]
fn the_beginning_of_an_id_that_two_versions_share() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=1);
    let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
    let good = admin.get(&bucket, "terraform.tfstate", None).unwrap();
    // Until two of them begin alike; the ids are random.
    let beginning = |id: &str| id.chars().take(4).collect::<String>();
    let shared = loop {
        admin.put(&bucket, "terraform.tfstate", &good).unwrap();
        let mut ids: Vec<String> =
            states.versions("prod").iter().map(|version| beginning(&version.id)).collect();
        ids.sort();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            break pair[0].clone();
        }
        assert!(ids.len() < 3000, "ids of this server are too different for this test");
    };
    refuses(
        &states,
        &["--env", "prod", "--restore", &shared, "--yes"],
        "2 versions have ids that begin with",
    );
}

#[rstest]
#[case(b"", "it is empty")]
#[case(b"<html>oops</html>", "is not JSON")]
#[case(b"{\"version\":4,\"serial\":5}", "lineage")]
#[case(b"{\"version\":5,\"serial\":5,\"lineage\":\"a\"}", "its format is 5")]
#[case(
    b"{\"version\":4,\"serial\":5,\"lineage\":\"11111111-2222-3333-4444-555555555555\",\"resources\":[]}",
    "another lineage"
)]
fn versions_that_cannot_be_used(#[case] bytes: &[u8], #[case] message: &str) {
    for engine in [Engine::Embedded, Engine::MinIo] {
        let Some(states) = States::start(engine) else { continue };
        states.apply("prod", 1..=2);
        let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
        let good = admin.get(&bucket, "terraform.tfstate", None).unwrap();
        let bad = admin.put(&bucket, "terraform.tfstate", bytes).unwrap();
        admin.put(&bucket, "terraform.tfstate", &good).unwrap();
        refuses(&states, &["--env", "prod", "--restore", &bad, "--yes"], message);
    }
}

#[rstest]
fn a_delete_marker_is_no_state(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    states.admin().delete(&terraform::bucket("prod"), "terraform.tfstate", None).unwrap();
    let marker = states.versions("prod")[0].id.clone();
    refuses(&states, &["--env", "prod", "--restore", &marker, "--yes"], "the state was deleted there");
    refuses(&states, &["--env", "prod", "--restore", "current", "--yes"], "the state was deleted there");
}

#[rstest]
fn a_state_that_is_broken_now_is_replaced(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    states.admin().put(&terraform::bucket("prod"), "terraform.tfstate", b"half a stat").unwrap();
    states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(0);
    assert!(!states.project.has_changes("prod").unwrap());
    assert_eq!(states.state("prod")["serial"], 3);
}

#[rstest]
fn a_bucket_that_keeps_no_versions(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    states.admin().set_versioning(&terraform::bucket("prod"), "Suspended").unwrap();
    refuses(&states, &["--env", "prod", "--restore", "serial:1", "--yes"], "keeps no versions");
    states.run(&["--env", "prod", "--list"]).exits(0).says("keeps no versions");
}

#[rstest]
fn no_bucket(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    let backend = states.file("prod", "backend.tf");
    let text = fs::read_to_string(&backend).unwrap().replace("tfstate-prod", "tfstate-gone");
    fs::write(&backend, text).unwrap();
    for mode in [&["--list"][..], &["--restore", "previous", "--yes"], &["--pull"]] {
        let words: Vec<&str> = ["--env", "prod"].into_iter().chain(mode.iter().copied()).collect();
        states.run(&words).exits(1).says("tfstate-gone").says("there is no such bucket");
    }
}

#[rstest]
fn wrong_credentials(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    let with = |key: &str, secret: &str, words: &[&str]| -> Ran {
        let mut command = states.command(words);
        command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
        restore_e2e::run(command)
    };
    let files = states.files("prod");
    let right = states.server.credentials().access_key.clone();
    for (key, code) in [(right.as_str(), "SignatureDoesNotMatch"), ("nobody", "InvalidAccessKeyId")] {
        for mode in ["--list", "--fallback", "--pull"] {
            let ran = with(key, "wrong-secret-99", &["--env", "prod", mode, "--yes"]).exits(1);
            let ran = ran.says(code).says("AWS_SECRET_ACCESS_KEY");
            assert!(!format!("{ran}").contains("wrong-secret-99"), "{ran}");
        }
    }
    assert_eq!(states.files("prod"), files);
}

#[test]
fn an_environment_without_s3() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.project.comment_out_backend("lab").unwrap();
    for mode in ["--list", "--fallback", "--return", "--pull"] {
        states.run(&["--env", "lab", mode]).exits(1).says("lab").says("state list");
    }
    // The others are served.
    states.run(&["--all", "--pull"]).exits(1).says("prod: serial 2").says("left out");
    fs::write(states.file("lab", "backend.tf"), "terraform {\n  backend \"http\" {}\n}\n").unwrap();
    states.run(&["--env", "lab", "--list"]).exits(1).says("`http`");
}

#[test]
fn no_minio_block_anywhere_and_no_endpoint() {
    let Some(states) = States::embedded() else { return };
    let tfvars = states.file("monitoring", "terraform.tfvars");
    let text = fs::read_to_string(&tfvars).unwrap();
    fs::write(&tfvars, text.split("\nminio = {").next().unwrap()).unwrap();
    let backend = states.file("prod", "backend.tf");
    let text = fs::read_to_string(&backend).unwrap();
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("endpoints")).collect();
    fs::write(&backend, without.join("\n")).unwrap();
    let mut command = states.command(&["--env", "prod", "--list"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let _ = restore_e2e::run(command).exits(1).says("minio");
}

#[test]
fn no_terraform_or_one_that_is_none() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let tools = states.folder().join("tools");
    fs::create_dir(&tools).unwrap();
    for name in [
        "bash", "sh", "cat", "rm", "mkdir", "mv", "ls", "date", "setsid", "flock", "sleep", "tail", "timeout",
    ] {
        for folder in ["/usr/bin", "/bin"] {
            let program = std::path::Path::new(folder).join(name);
            if program.exists() && !tools.join(name).exists() {
                std::os::unix::fs::symlink(program, tools.join(name)).unwrap();
            }
        }
    }
    let mut command = states.command(&["--env", "prod", "--restore", "previous", "--yes"]);
    command.env("PATH", &tools).env_remove("TF_BIN");
    let _ = restore_e2e::run(command).exits(1).says("neither `terraform` nor `tofu`").says("--terraform-bin");
    let words = ["--env", "prod", "--restore", "previous", "--yes", "--terraform-bin"];
    let absent = words.iter().copied().chain(["/no/such/terraform"]).collect::<Vec<_>>();
    refuses(&states, &absent, "is not a program that can be run");
    let fake = states.folder().join("fake");
    fs::write(&fake, "#!/bin/sh\necho 'Terraform v1.2.9'\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let old = words.iter().copied().chain([fake.to_str().unwrap()]).collect::<Vec<_>>();
    refuses(&states, &old, "1.6");
    // What only reads needs none.
    let mut command = states.command(&["--env", "prod", "--list"]);
    command.env("PATH", &tools).env_remove("TF_BIN");
    let _ = restore_e2e::run(command).exits(0);
}

#[test]
fn a_restore_during_a_fallback() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    refuses(&states, &["--env", "prod", "--restore", "previous", "--yes"], "end the fallback first");
}

#[test]
fn encrypted_states_are_taken_as_they_are() {
    let Some(states) = States::embedded() else { return };
    let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
    let encrypted = |serial: u32| {
        format!(
            "{{\"serial\":{serial},\"lineage\":\"8d1c9b2e-0000-0000-0000-000000000000\",\"meta\":{{\"key_provider.pbkdf2.x\":\"e30=\"}},\"encrypted_data\":\"c2VjcmV0{serial}\",\"encryption_version\":\"v0\"}}"
        )
    };
    for serial in 1..=2 {
        admin.put(&bucket, "terraform.tfstate", encrypted(serial).as_bytes()).unwrap();
    }
    states.run(&["--env", "prod", "--list"]).exits(0).says("encrypted");
    states.run(&["--env", "prod", "--show", "current"]).exits(0).says("what it holds cannot be seen");
    states.run(&["--env", "prod", "--diff", "previous", "current"]).exits(1).says("encrypted");
    // A Terraform without the key cannot plan with it: the state stays, the check says so.
    let ran = states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(4);
    ran.says("written as it is, with its old serial");
    assert_eq!(admin.get(&bucket, "terraform.tfstate", None).unwrap(), encrypted(1).as_bytes());
}

#[rstest]
#[case("8")]
#[case("9")]
fn nothing_left_anywhere_gives_import_blocks(#[case] pve: &str) {
    if !terraform::is_installed().unwrap() {
        return;
    }
    let lab = LabBuilder::new().pve(pve.parse().unwrap()).start().unwrap();
    let mut server = Embedded::start(&Options::default()).unwrap();
    let project = Project::add_to(lab.operator().project(), &server).unwrap();
    server.stop().unwrap();
    let run = |words: &[&str]| {
        let mut command = lab.command("restore-tfstate");
        command.args(words).envs(project.variables());
        restore_e2e::run(command)
    };
    let before = lab.inventory().unwrap();
    let ran = run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    ran.says("The state of prod is lost").says("connection refused");
    let file = project.environment("prod").join("recovered_imports.tf");
    let text = fs::read_to_string(&file).unwrap();
    for words in [
        "to = proxmox_virtual_environment_vm.",
        "id = \"pve-prod/101\"",
        "to = proxmox_virtual_environment_container.",
        "id = \"pve-prod/102\"",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(lab.inventory().unwrap(), before, "the node is only looked at");
    // Valid HCL, as Terraform sees it.
    let output =
        project.command("prod", &["fmt", "-check", "recovered_imports.tf"]).unwrap().output().unwrap();
    assert!(output.status.success(), "{output:?}\n{text}");
    // Again: the same. A file that somebody else wrote stays.
    run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    fs::write(&file, "# mine\n").unwrap();
    run(&["--env", "prod", "--fallback", "--yes"]).exits(1).says("was not written by this program");
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");
}
