//! A lab with a monitoring VM, and its operator.

use restore_e2e::{Ran, run};
use restore_lab::{
    lab::{Lab, LabBuilder},
    monitoring::{Fault, Options, Stack, is_installed},
};

/// How long a proof may wait for something that never comes, so that a test has an end.
pub const BRIEF: &str = "6";

/// A lab like this whose stack works, up to what is to be wrong; `None` where the real services are not installed.
pub fn lab_of(builder: LabBuilder, faults: &[Fault]) -> Option<Lab> {
    if !is_installed().unwrap() {
        return None;
    }
    let options = Options { faults: faults.to_vec(), ..Options::default() };
    let lab = builder.monitoring(options).start().unwrap();
    let is_waited_for = |fault: &Fault| {
        matches!(fault, Fault::PrometheusReplays(_) | Fault::PrometheusNeverReady | Fault::Closed(_))
    };
    if !faults.iter().any(is_waited_for) {
        stack(&lab).wait_until_ready().unwrap();
    }
    Some(lab)
}

/// One without backups, for proofs.
pub fn lab(faults: &[Fault]) -> Option<Lab> {
    lab_of(LabBuilder::new().small().backups(&[]), faults)
}

/// Its stack.
pub fn stack(lab: &Lab) -> &Stack {
    lab.stack().unwrap()
}

/// Runs `rebuild-monitoring` without a terminal.
pub fn rebuild_monitoring(lab: &Lab, words: &[&str]) -> Ran {
    let mut command = lab.command("rebuild-monitoring");
    command.args(words);
    run(command)
}

/// Only the proof, as JSON.
pub fn check(lab: &Lab, words: &[&str]) -> Ran {
    rebuild_monitoring(lab, &[&["--check-only", "--json"], words].concat())
}

/// What a check of a report saw, when it came out like this.
#[track_caller]
pub fn saw(ran: &Ran, id: &str, status: &str) -> String {
    let report = ran.report();
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == id);
    let check = check.unwrap_or_else(|| panic!("no check `{id}`: {ran}"));
    assert_eq!(check["status"], status, "`{id}`: {check}\n{ran}");
    check["saw"].as_str().unwrap().to_owned()
}

/// The names of the checks that failed.
pub fn failed(ran: &Ran) -> Vec<String> {
    let report = ran.report();
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["status"] == "failed")
        .map(|check| check["id"].as_str().unwrap().to_owned())
        .collect()
}
