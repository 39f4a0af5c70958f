//! Work outlives the connection and the program: cut off, found again, carried on or taken back.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use restore_e2e::{Ran, restore_vm, restore_vm_command, run, settings};
use restore_lab::lab::{CT, Lab, VM};

const CONFIG: &str = "/etc/pve/qemu-server/101.conf";

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

fn disks(lab: &Lab) -> Vec<String> {
    ["scsi0", "efidisk0"].iter().map(|key| lab.disk_sha256(CONFIG, key).unwrap()).collect()
}

/// Whether a job whose command begins with these words works on the node.
fn is_at_work(lab: &Lab, words: &[&str]) -> bool {
    let inside =
        |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let runs: Vec<_> = inside(&lab.path("/var/tmp/pve-restore")).collect();
    let mut jobs = runs.iter().flat_map(|run| inside(&run.join("jobs")));
    jobs.any(|job| {
        let command = std::fs::read_to_string(job.join("command")).unwrap_or_default();
        let begun = command.starts_with(&(words.join(" ") + " ")) && job.join("pid").exists();
        begun && !job.join("status").exists()
    })
}

fn start(lab: &Lab, words: &[&str]) -> Child {
    let mut command = restore_vm_command(lab, words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills the program while `words` is at work on the node.
fn kill_during(lab: &Lab, vmid: &str, words: &[&str]) {
    lab.slow_down(words, 1_500).unwrap();
    let mut child = start(lab, &[vmid, "--force"]);
    until("the work has begun", || is_at_work(lab, words));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[rstest::rstest]
#[case::safety_backup(&["vzdump"], "is still at work")]
#[case::shutdown(&["qm", "shutdown"], "--resume")]
#[case::restore(&["qmrestore"], "is still at work")]
#[case::start(&["qm", "start"], "--resume")]
fn a_killed_program_is_found_and_goes_on(#[case] words: &[&str], #[case] said: &str) {
    let lab = Lab::start().unwrap();
    let in_backup = disks(&lab);
    lab.write_to_guest(VM, "work since the last backup").unwrap();
    kill_during(&lab, "101", words);
    let _ = restore_vm(&lab, &["101", "--force"])
        .exits(1)
        .says("was cut off")
        .says(said)
        .says("restore-vm 101 --rollback");
    let report = restore_vm(&lab, &["101", "--resume", "--force", "--json"]).exits(0).report();
    assert_eq!(disks(&lab), in_backup, "{report:#}");
    assert_eq!(runs(&lab, words), 1, "what was begun is not begun again");
    let _ =
        restore_vm(&lab, &["101", "--resume", "--force"]).exits(1).says("no run of this guest was cut off");
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

/// How often the node was asked to run this.
fn runs(lab: &Lab, words: &[&str]) -> usize {
    let begins =
        |entry: &serde_json::Value| words.iter().enumerate().all(|(at, word)| entry["argv"][at] == *word);
    lab.journal().unwrap().iter().filter(|entry| begins(entry)).count()
}

#[rstest::rstest]
#[case::safety_backup(&["vzdump"], 1)]
#[case::shutdown(&["qm", "shutdown"], 2)]
#[case::restore(&["qmrestore"], 2)]
#[case::start(&["qm", "start"], 2)]
fn a_killed_program_is_found_and_taken_back(#[case] words: &[&str], #[case] code: i32) {
    let lab = Lab::start().unwrap();
    lab.write_to_guest(VM, "work since the last backup").unwrap();
    let (before, config) = (disks(&lab), settings(&lab, CONFIG).unwrap());
    kill_during(&lab, "101", words);
    let report = restore_vm(&lab, &["101", "--rollback", "--force", "--json"]).exits(code).report();
    assert_eq!((disks(&lab), settings(&lab, CONFIG).unwrap()), (before, config), "{report:#}");
    let status = lab.on_node(&["qm", "status", "101"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), "status: running");
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

#[test]
fn a_container_is_taken_back_as_well() {
    let lab = Lab::start().unwrap();
    lab.write_to_guest(CT, "work since the last backup").unwrap();
    let before = lab.disk_sha256("/etc/pve/lxc/102.conf", "rootfs").unwrap();
    kill_during(&lab, "102", &["pct", "restore"]);
    let _ = restore_vm(&lab, &["102", "--rollback", "--force"]).exits(2).says("rolled back");
    assert_eq!(lab.disk_sha256("/etc/pve/lxc/102.conf", "rootfs").unwrap(), before);
}

#[test]
fn a_dry_run_of_a_recovery_changes_nothing() {
    let lab = Lab::start().unwrap();
    kill_during(&lab, "101", &["qm", "shutdown"]);
    until("the shutdown is over", || runs(&lab, &["qm", "shutdown"]) == 1);
    let before = lab.inventory().unwrap();
    let _ = restore_vm(&lab, &["101", "--resume", "--dry-run"])
        .exits(0)
        .says("Steps that are left")
        .says("qmrestore");
    let _ = restore_vm(&lab, &["101", "--rollback", "--dry-run"]).exits(0).says("What is taken back");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn a_second_program_is_refused_and_told_who_works() {
    let lab = Lab::start().unwrap();
    lab.slow_down(&["qmrestore"], 2_500).unwrap();
    let mut first = start(&lab, &["101", "--force"]);
    until("the restore has begun", || is_at_work(&lab, &["qmrestore"]));
    let pid = format!("(pid {})", first.id());
    let _ = restore_vm(&lab, &["101", "--force"]).exits(1).says("another run works on this guest").says(&pid);
    let mut other = restore_vm_command(&lab, &["101", "--force"]);
    other.env("XDG_STATE_HOME", lab.operator().home().join("another-machine"));
    let refused: Ran = run(other).exits(1).says("is being worked on by restore-vm").says(&pid);
    assert!(refused.to_string().contains("nothing was changed"), "{refused}");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

#[rstest::rstest]
#[case::safety_backup(&["vzdump"])]
#[case::restore(&["qmrestore"])]
fn a_connection_that_breaks_is_made_again_and_the_run_goes_on(#[case] words: &[&str]) {
    let lab = Lab::start().unwrap();
    lab.slow_down(words, 1_500).unwrap();
    let mut command: Command = restore_vm_command(&lab, &["101", "--force"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the work has begun", || is_at_work(&lab, words));
    lab.server().unwrap().cut_now();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("lost the connection to pve-prod") && said.contains("connected again after"),
        "{said}"
    );
    assert_eq!(runs(&lab, words), 1);
    assert_eq!(lab.server().unwrap().connections(), 2);
}

#[test]
fn a_journal_of_another_version_is_not_guessed_at() {
    let lab = Lab::start().unwrap();
    kill_during(&lab, "101", &["qm", "shutdown"]);
    let runs = lab.operator().home().join(".local/state/pve-restore/runs");
    let journal = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, text.replace("\"archive\":{", "\"archived\":{")).unwrap();
    let _ =
        restore_vm(&lab, &["101", "--rollback", "--force"]).exits(1).says("was written by another version");
    std::fs::write(&journal, text.replace("{\"at\"", "{\"at")).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(1).says("cannot use the journal");
}
