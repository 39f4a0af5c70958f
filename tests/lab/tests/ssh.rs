//! The SSH servers treat commands and vanished clients as the real one does.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use restore_lab::{
    lab::{Front, Lab, LabBuilder},
    ssh::Moment,
};

const LIMIT: Duration = Duration::from_secs(20);

fn lab(front: Front) -> Option<Lab> {
    if front == Front::OpenSsh && restore_lab::ssh::OpenSsh::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "sshd is not installed");
        eprintln!("SKIPPED: sshd is not installed");
        return None;
    }
    Some(LabBuilder::new().front(front).backups(&[]).start().unwrap())
}

/// The operator's own `ssh`. It finds its home in the user database, so the lab's files are named.
fn ssh(lab: &Lab, text: &str) -> Command {
    ssh_with(lab, &[], text)
}

fn ssh_with(lab: &Lab, options: &[&str], text: &str) -> Command {
    let files = lab.operator().home().join(".ssh");
    let address = std::fs::read_to_string(files.join("config")).unwrap();
    let address = address.lines().next().unwrap().trim_start_matches("Host ").to_owned();
    let mut command = Command::new("ssh");
    command.arg("-F").arg(files.join("config")).arg("-i").arg(files.join("id_ed25519"));
    command.arg("-o").arg(format!("UserKnownHostsFile={}", files.join("known_hosts").display()));
    command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
    command.args(options).args([&address, text]);
    command.stdin(Stdio::null());
    command
}

fn run(lab: &Lab, text: &str) -> Output {
    ssh(lab, text).output().unwrap()
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !reached() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        std::thread::yield_now();
    }
}

#[rstest::rstest]
#[case(Front::Embedded)]
#[case(Front::OpenSsh)]
fn a_command_sees_the_node_and_its_status_comes_back(#[case] front: Front) {
    let Some(lab) = lab(front) else { return };
    let output = run(&lab, "qm status 101; cat /etc/pve/storage.cfg >/var/tmp/copy; echo $PWD; exit 7");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "status: running\n/root\n", "{output:?}");
    assert_eq!(output.status.code(), Some(7));
    assert!(lab.read("/var/tmp/copy").unwrap().starts_with("dir: local"));
    assert_eq!(lab.executions().unwrap().len(), 1);
}

#[rstest::rstest]
#[case(Front::Embedded)]
#[case(Front::OpenSsh)]
fn a_vanished_client_ends_a_bare_command_and_spares_a_detached_one(#[case] front: Front) {
    let Some(lab) = lab(front) else { return };
    let text = "echo $$ >/root/bare; (setsid sh -c 'echo $$ >/root/detached; exec sleep 60' </dev/null >/dev/null 2>&1 &) ; \
                while :; do echo more; done";
    let mut client = ssh(&lab, text).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "more\n");
    wait_for("the detached command", || !read(&lab, "/root/detached").is_empty());
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the bare command to end", || !runs(&read(&lab, "/root/bare")));
    assert!(runs(&read(&lab, "/root/detached")));
}

fn read(lab: &Lab, file: &str) -> String {
    lab.read(file).unwrap_or_default().trim().to_owned()
}

fn runs(pid: &str) -> bool {
    Path::new("/proc").join(pid).join("cwd").read_link().is_ok()
}

#[rstest::rstest]
#[case(Front::Embedded)]
#[case(Front::OpenSsh)]
fn one_connection_carries_several_commands_at_the_same_time(#[case] front: Front) {
    let Some(lab) = lab(front) else { return };
    let socket = format!("ControlPath={}", lab.operator().home().join("s").display());
    let start = |master: &str, text: &str| {
        let mut command = ssh_with(&lab, &["-o", &socket, "-o", &format!("ControlMaster={master}")], text);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut first = start("yes", "mkfifo /root/pipe && echo ready && cat");
    let mut ready = String::new();
    let mut said = BufReader::new(first.stdout.take().unwrap());
    said.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");

    // A named pipe opens when both its ends are: neither of these ends without the other.
    let reader = start("no", "cat /root/pipe; exit 3");
    let mut writer = start("no", "cat >/root/pipe");
    writer.stdin.take().unwrap().write_all(b"through\n").unwrap();
    assert!(writer.wait().unwrap().success());
    let read = reader.wait_with_output().unwrap();
    assert_eq!((read.stdout.as_slice(), read.status.code()), (b"through\n".as_slice(), Some(3)));

    first.stdin.take().unwrap().write_all(b"still here\n").unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "still here\n");
    assert!(first.wait().unwrap().success());
    assert_eq!(lab.executions().unwrap().len(), 3);
    if let Some(server) = lab.server() {
        assert_eq!((server.connections(), server.executions()), (1, 3));
    }
}

#[test]
fn a_cut_is_felt_by_the_client_and_comes_once() {
    let lab = lab(Front::Embedded).unwrap();
    let server = lab.server().unwrap();
    server.cut_at(Moment::Before(1));
    assert_eq!(run(&lab, "touch /root/never").status.code(), Some(255));
    assert!(!lab.path("/root/never").exists());

    server.cut_at(Moment::After(2));
    assert_eq!(run(&lab, "touch /root/done").status.code(), Some(255));
    assert!(lab.path("/root/done").exists());

    let mut client =
        ssh(&lab, "echo begun; exec cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut begun = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut begun).unwrap();
    server.cut_now();
    assert_eq!(client.wait().unwrap().code(), Some(255));

    assert!(run(&lab, "true").status.success());
}

#[test]
fn another_key_is_not_accepted() {
    let lab = lab(Front::Embedded).unwrap();
    let key = lab.operator().home().join("other");
    restore_lab::ssh::KeyPair::generate().unwrap().write(&key).unwrap();
    std::fs::copy(key, lab.operator().home().join(".ssh/id_ed25519")).unwrap();
    let output = run(&lab, "true");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert_eq!(lab.executions().unwrap().len(), 0);
}

#[test]
fn nothing_of_a_lab_outlives_it() {
    let lab = lab(Front::Embedded).unwrap();
    assert!(
        run(&lab, "(setsid sh -c 'echo $$ >/root/detached; exec sleep 60' </dev/null >/dev/null 2>&1 &)")
            .status
            .success()
    );
    wait_for("the detached command", || !read(&lab, "/root/detached").is_empty());
    let (pid, root) = (read(&lab, "/root/detached"), lab.root().to_owned());
    drop(lab);
    wait_for("the detached command to end", || !runs(&pid));
    assert!(!root.exists());
}
