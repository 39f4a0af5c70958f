//! What proves a restored guest: ports, ping, and the checks that the operator writes.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use restore_e2e::{restore_vm, restore_vm_command, run};
use restore_lab::lab::{CT, Lab, LabBuilder, VM};
use serde_json::Value;

const PORT: u16 = 8080;

fn overrides(lab: &Lab) -> PathBuf {
    lab.operator().project().join("restore.toml")
}

/// Adds to the project's `restore.toml`.
fn write_checks(lab: &Lab, text: &str) {
    let before = fs::read_to_string(overrides(lab)).unwrap();
    fs::write(overrides(lab), format!("{before}\n{text}")).unwrap();
}

/// A web server on a guest's address. It gives one answer after another, and the last one from then on. Its port is free
/// again when it is dropped: another lab may get the address.
struct Service {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    fn start(lab: &Lab, vmid: u32, answers: &'static [(u16, &'static str)]) -> Self {
        let listener = TcpListener::bind((lab.guest_address(vmid).unwrap().ip(), PORT)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let clients = listener.incoming().take_while(|_| !stopped.load(Ordering::SeqCst));
            for (number, client) in clients.enumerate() {
                answer(client.unwrap(), answers[number.min(answers.len() - 1)]);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

/// A client that only connects is gone before it hears an answer.
fn answer(mut client: TcpStream, (status, body): (u16, &str)) {
    let heard = BufReader::new(client.try_clone().unwrap()).lines();
    for _ in heard.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {}
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    drop(client.write_all(format!("{head}{body}").as_bytes()));
}

fn check<'a>(report: &'a Value, title: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["title"].as_str().unwrap().contains(title));
    found.unwrap_or_else(|| panic!("no check `{title}`: {report:#}"))
}

#[track_caller]
fn saw(report: &Value, title: &str, status: &str, words: &str) {
    let check = check(report, title);
    let saw = check["saw"].as_str().unwrap();
    assert!(check["status"] == status && saw.contains(words), "{check:#}");
}

const CHECKS: &str = r#"
[[guests.101.checks]]
name = "the shop answers"
http = "http://{address}:8080/health?token=hunter2"
status = 200
text = "all is well"
within = 15

[[guests.101.checks]]
port = 8080

[[guests.101.checks]]
name = "it knows its name"
command = ["hostname"]

[[guests.102.checks]]
name = "the zone is there"
command = ["test", "-e", "/var/lib/dns/zone.bin"]
"#;

#[rstest::rstest]
fn the_operators_own_checks_are_asked(#[values(8, 9)] pve: u8) {
    let lab = LabBuilder::new().pve(pve).start().unwrap();
    // A service that is still coming up is asked again.
    let _service = Service::start(&lab, VM, &[(503, "starting"), (200, "starting"), (200, "all is well")]);
    write_checks(&lab, CHECKS);
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    saw(&report, "the shop answers", "passed", ":8080/health: status 200, with the text");
    saw(&report, "TCP port 8080 answers", "passed", "open");
    saw(&report, "it knows its name", "passed", "exit status 0");
    saw(&report, "as SSH", "passed", "SSH-2.0-lab");
    saw(&report, "to ping", "passed", "answers");
    let report = restore_vm(&lab, &["102", "--force", "--json"]).exits(0).report();
    saw(&report, "the zone is there", "passed", "exit status 0");
}

#[test]
fn a_check_that_fails_says_what_was_seen_last() {
    let lab = Lab::start().unwrap();
    let _service = Service::start(&lab, VM, &[(200, "nothing is well")]);
    let checks = CHECKS.replace("within = 15", "within = 1").replace(r#"["hostname"]"#, r#"["false"]"#);
    write_checks(
        &lab,
        &checks.replace(r#"["test", "-e", "/var/lib/dns/zone.bin"]"#, r#"["cat", "/nowhere"]"#),
    );
    let report = restore_vm(&lab, &["101", "--force", "--json", "--wait", "2"]).exits(4).report();
    saw(&report, "the shop answers", "failed", "status 200, without the text that is wanted, for 1");
    saw(&report, "it knows its name", "failed", "exit status 1, for 2");
    saw(&report, "as SSH", "passed", "SSH-2.0-lab");
    let ran = restore_vm(&lab, &["102", "--force", "--wait", "2"]).exits(4);
    let _ = ran.says("the zone is there: exit status 1: cat: /nowhere: No such file or directory, for 2");
}

#[test]
fn a_service_that_is_not_there_is_refused_and_a_wrong_status_named() {
    let lab = Lab::start().unwrap();
    write_checks(&lab, &CHECKS.replace("within = 15", "within = 1"));
    let report = restore_vm(&lab, &["101", "--force", "--json", "--wait", "1"]).exits(4).report();
    saw(&report, "the shop answers", "failed", "connection refused, for 1");
    let _service = Service::start(&lab, VM, &[(404, "all is well")]);
    let report = restore_vm(&lab, &["101", "--force", "--json", "--wait", "1"]).exits(4).report();
    saw(&report, "the shop answers", "failed", "status 404 instead of 200");
}

/// The journals of all runs.
fn journals(lab: &Lab) -> String {
    let folder = lab.operator().home().join(".local/state/pve-restore/runs");
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    paths.map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn no_secret_of_a_check_is_shown() {
    let lab = Lab::start().unwrap();
    let _service = Service::start(&lab, VM, &[(500, "the password is hunter2")]);
    let command =
        "\n[[guests.101.checks]]\ncommand = [\"mysqladmin\", \"-phunter2\", \"ping\"]\nwithin = 1\n";
    write_checks(
        &lab,
        &(CHECKS.replace("within = 15", "within = 1").replace("all is well", "hunter2") + command),
    );
    let ran = restore_vm(&lab, &["101", "--force", "-v", "--wait", "1"]).exits(4);
    let ran = ran.says("`mysqladmin` succeeds in the guest").says("status 500");
    assert!(!ran.to_string().contains("hunter2"), "{ran}");
    let journals = journals(&lab);
    assert!(journals.contains("\"proof\"") && !journals.contains("hunter2"), "{journals}");
}

#[test]
fn a_guest_that_never_comes_up_costs_the_longest_limit_and_not_the_sum() {
    let lab = Lab::start().unwrap();
    lab.change_settings(|settings| settings.guests.entry(VM).or_default().never_boots = true).unwrap();
    write_checks(&lab, &CHECKS.replace("within = 15", "within = 3"));
    let report = restore_vm(&lab, &["101", "--force", "--json", "--wait", "3"]).exits(4).report();
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["status"] == "failed").count();
    let seconds: f64 = checks.iter().map(|check| check["seconds"].as_f64().unwrap()).sum();
    assert_eq!(failed, 6, "agent, SSH, ping and three of the operator's own: {report:#}");
    assert!((3.0..9.0).contains(&seconds), "{seconds} s: {report:#}");
}

/// Puts another `ping` into the operator's path.
fn replace_ping(lab: &Lab, script: &str) {
    fs::write(lab.operator().home().join("bin/ping"), script).unwrap();
}

#[test]
fn silence_on_ping_counts_only_where_nothing_else_answers() {
    let lab = Lab::start().unwrap();
    replace_ping(&lab, "#!/bin/sh\nexit 1\n");
    let report = restore_vm(&lab, &["101", "--force", "--json", "--wait", "1"]).exits(0).report();
    saw(&report, "to ping", "skipped", "though it does on TCP: it may drop ping");
    write_checks(&lab, "[guests.102]\nports = []\n");
    let report = restore_vm(&lab, &["102", "--force", "--json", "--wait", "1"]).exits(4).report();
    saw(&report, "to ping", "failed", "no answer, for 1.0 s (`ping = false` in restore.toml");
    write_checks(&lab, "ping = false\n");
    let report = restore_vm(&lab, &["102", "--force", "--json", "--wait", "1"]).exits(0).report();
    assert!(!report.to_string().contains("to ping"), "{report:#}");
}

#[test]
fn without_a_ping_program_that_is_said() {
    let lab = Lab::start().unwrap();
    let mut command = restore_vm_command(&lab, &["102", "--force", "--json"]);
    command.env("PATH", lab.operator().project());
    let report = run(command).exits(0).report();
    saw(&report, "to ping", "skipped", "there is no `ping` program here");
}

#[rstest::rstest]
#[case(
    "[[guests.101.checks]]\nprt = 80\n",
    "restore.toml:8:1: unknown field `prt`, expected one of `name`, `port`"
)]
#[case(
    "[[guests.101.checks]]\nport = 80\ncommand = [\"true\"]\n",
    "restore.toml:7:1: a check asks one thing: either `port` or `http` or `command`"
)]
#[case(
    "[[guests.101.checks]]\nhttp = \"http://a/\"\nstatus = \"200\"\n",
    "restore.toml:9:10: invalid type: string \"200\""
)]
#[case("[[guests.101.checks]]\nname = \"empty\"\n", "restore.toml:7:1: this check asks nothing")]
fn what_cannot_be_meant_is_refused_with_its_place(#[case] text: &str, #[case] said: &str) {
    let lab = Lab::start().unwrap();
    write_checks(&lab, text);
    let _ = restore_vm(&lab, &["101", "--force"]).exits(1).says(said).says("nothing was changed");
    assert_eq!(lab.journal().unwrap().len(), 0, "the node was asked");
}

#[test]
fn a_failing_port_check_of_a_container_is_kept_and_exits_4() {
    let lab = Lab::start().unwrap();
    write_checks(&lab, "[guests.102]\nports = [2222, 81]\n");
    let report = restore_vm(&lab, &["102", "--force", "--json", "--wait", "1"]).exits(4).report();
    saw(&report, "on TCP 81", "failed", "connection refused, for 1.0 s");
    assert!(report["state"].as_str().unwrap().contains("kept"), "{report:#}");
    assert!(lab.guest_address(CT).is_some());
}
