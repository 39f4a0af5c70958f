//! The JSON, the metrics and the page.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{fs, path::Path, process::Command};

use restore_e2e::verify_backups;
use restore_lab::lab::Lab;
use serde_json::Value;

/// What a hostile guest is called.
const HOSTILE: &str = r#"<script>alert(1)</script>"'&{{evil}}\"#;

/// A lab with a damaged archive, a foreign file, and a guest whose name is an attack.
fn broken_lab() -> Lab {
    let lab = Lab::start().unwrap();
    let config = lab.read("/etc/pve/qemu-server/101.conf").unwrap();
    let named: Vec<String> = config
        .lines()
        .map(|line| if line.starts_with("name:") { format!("name: {HOSTILE}") } else { line.to_owned() })
        .collect();
    lab.write("/etc/pve/qemu-server/101.conf", &(named.join("\n") + "\n")).unwrap();
    lab.truncate_archive("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", 0).unwrap();
    lab.write("/var/lib/vz/dump/\u{1b}[31mnotes <b>.txt", "mine").unwrap();
    lab
}

fn docs(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn the_json_is_what_its_schema_says() {
    let schema: Value =
        serde_json::from_slice(&fs::read(docs("schema/verify-backups.schema.json")).unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let lab = broken_lab();
    let folder = lab.path("/var/lib/vz").display().to_string();
    for words in [&["--json"][..], &["--json", "--deep"], &["--json", "--local", &folder]] {
        let mut report = verify_backups(&lab, words).report();
        let wrong: Vec<String> =
            schema.iter_errors(&report).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{words:?}: {}", wrong.join("\n"));
        report["nodes"][0]["reached"] = "perhaps".into();
        assert!(!schema.is_valid(&report), "the schema takes anything");
    }
    let report = verify_backups(&lab, &["--json"]).exits(2).report();
    let guest =
        report["nodes"][0]["guests"].as_array().unwrap().iter().find(|guest| guest["vmid"] == 101).unwrap();
    assert_eq!(guest["name"], HOSTILE);
}

/// `promtool`, or a word about why the test is skipped. In CI it has to be there.
fn promtool(words: &[&str], input: &str) -> Option<std::process::Output> {
    use std::io::Write as _;
    let mut command = Command::new("promtool");
    command.args(words).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool: {error}, and in CI it has to be there");
            eprintln!("SKIPPED: promtool: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn prometheus_takes_the_metrics() {
    let lab = broken_lab();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backups.prom");
    let path = file.to_str().unwrap();
    fs::write(&file, "old").unwrap();
    verify_backups(&lab, &["--metrics", path]).exits(2);
    let metrics = fs::read_to_string(&file).unwrap();
    for line in [
        "pve_backup_last_run_exit_code 2",
        "pve_backup_node_reached{node=\"",
        "vmid=\"101\",kind=\"qemu\",name=\"<script>",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["backups.prom"], "nothing is left beside it");
    let Some(checked) = promtool(&["check", "metrics"], &metrics) else { return };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(String::from_utf8_lossy(&checked.stderr), "", "it has something to say");
}

#[test]
fn the_example_rules_fire() {
    let rules = docs("examples/prometheus-rules-test.yml");
    let Some(tested) = promtool(&["test", "rules", rules.to_str().unwrap()], "") else { return };
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stdout));
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_the_report_is_printed_all_the_same() {
    let lab = Lab::start().unwrap();
    let nowhere = lab.operator().project().join("nowhere/backups.prom");
    verify_backups(&lab, &["--no-state", "--metrics", nowhere.to_str().unwrap()])
        .exits(2)
        .says("cannot write")
        .says("nowhere/backups.prom")
        .says("pve-prod");
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let lab = broken_lab();
    let file = lab.operator().project().join("backups.html");
    verify_backups(&lab, &["--html", file.to_str().unwrap()]).exits(2);
    let page = fs::read_to_string(file).unwrap();
    assert!(page.contains("default-src 'none'"), "its own policy forbids what a mistake would load");
    for forbidden in ["<script", "src=", "href=", "@import", "url(", "<link", "<iframe", "\u{1b}", "onload"] {
        assert!(!page.contains(forbidden), "`{forbidden}` is in the page");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the name is shown as what it is");
    for seen in ["archive-empty", "What to do", "<svg", "101", "102"] {
        assert!(page.contains(seen), "`{seen}` is not in the page");
    }
}
