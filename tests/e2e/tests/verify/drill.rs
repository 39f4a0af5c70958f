//! Drills: throw-away guests that prove a backup, and of which nothing is left.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use restore_e2e::{Ran, run, verify_backups};
use restore_lab::{
    lab::{CT, Fault, Inventory, Lab, LabBuilder, VM},
    sim::GuestKind,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

const THROW_AWAY: &str = "/etc/pve/qemu-server/9900.conf";

/// A third guest, which has an agent.
const THIRD: u32 = 105;

fn builder() -> LabBuilder {
    let jobs = "vzdump: all\n\tschedule 21:00\n\tstorage local\n\tall 1\n\texclude 9901\n";
    LabBuilder::new().small().file("/etc/pve/jobs.cfg", jobs)
}

pub(super) fn lab() -> Lab {
    let lab = builder().start().unwrap();
    overrides(&lab, "");
    lab
}

/// Guests of this lab come up at once, or never.
fn overrides(lab: &Lab, more: &str) {
    let text = format!("[prove]\nports = [2222]\nssh_port = 2222\nwait = 3\n{more}");
    fs::write(lab.operator().project().join("restore.toml"), text).unwrap();
}

pub(super) fn command(lab: &Lab, words: &[&str]) -> std::process::Command {
    let mut command = lab.command("verify-backups");
    command.args(["--no-state", "--max-age", "90000d", "--force", "--drill"]).args(words);
    command
}

fn drill(lab: &Lab, words: &[&str]) -> Ran {
    run(command(lab, words))
}

/// Makes a backup of guests as they are now.
fn back_up(lab: &Lab, guests: &[&str]) {
    let words =
        [&["vzdump"], guests, &["--storage", "local", "--compress", "zstd", "--remove", "0"]].concat();
    assert!(lab.on_node(&words).unwrap().status.success());
}

fn guest(report: &Value, vmid: u32) -> &Value {
    let guests = report["nodes"][0]["guests"].as_array().unwrap();
    guests.iter().find(|guest| guest["vmid"] == vmid).unwrap_or_else(|| panic!("no {vmid}: {report:#}"))
}

fn codes(of: &Value) -> Vec<&str> {
    of["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// The node, without what the programs may leave for others to see.
fn all(lab: &Lab) -> Inventory {
    lab.inventory().unwrap()
}

/// Nothing on the node is other than before, and no folder of a run is left.
#[track_caller]
fn is_as_before(lab: &Lab, before: &Inventory) {
    let (now, before) = (all(lab).files, &before.files);
    let differs: Vec<_> = now.iter().filter(|(path, content)| before.get(*path) != Some(content)).collect();
    assert!(differs.is_empty(), "new or other: {differs:#?}");
    let gone: Vec<_> = before.keys().filter(|path| !now.contains_key(*path)).collect();
    assert!(gone.is_empty(), "gone: {gone:#?}");
    let runs = lab.path("/var/tmp/pve-restore");
    assert!(!runs.exists(), "{} is left", runs.display());
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Kills the program as soon as something is true.
fn kill_when(lab: &Lab, words: &[&str], what: &str, holds: impl FnMut() -> bool) {
    let mut child =
        command(lab, words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until(what, holds);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Whether a command is at work on the node, or was.
fn was_begun(lab: &Lab, words: &[&str]) -> bool {
    let text = words.join(" ");
    lab.executions().unwrap().iter().any(|execution| execution.contains(&text))
}

#[rstest::rstest]
fn of_three_guests_one_does_not_boot_and_the_others_are_proven(#[values(8, 9)] pve: u8) {
    let lab = builder().pve(pve).more_vms(&[THIRD]).start().unwrap();
    overrides(
        &lab,
        "[[guests.102.checks]]\nname = \"its zone is there\"\ncommand = [\"test\", \"-e\", \"/var/lib/dns/zone.bin\"]\n",
    );
    lab.add_to_config(GuestKind::Vm, THIRD, "agent: 1").unwrap();
    lab.break_disk(VM).unwrap();
    back_up(&lab, &["101", "105"]);
    let before = all(&lab);
    let ran = drill(&lab, &["--json"]).exits(2);
    let report = ran.report();
    assert_eq!(codes(guest(&report, VM)), ["drill-not-booted"], "{ran}");
    assert_eq!(guest(&report, VM)["drill"]["proof"], "failed");
    for vmid in [CT, THIRD] {
        let guest = guest(&report, vmid);
        assert_eq!(codes(guest), Vec::<&str>::new(), "{ran}");
        let drill = &guest["drill"];
        assert_eq!((&drill["proof"], &drill["now"]), (&"proven".into(), &true.into()), "{ran}");
        assert_eq!(drill["archive"], guest["archives"][0]["id"], "the newest");
        for time in ["restore_seconds", "boot_seconds", "took_seconds", "age_seconds"] {
            assert!(drill[time].as_f64().unwrap() > 0.0, "{time}: {ran}");
        }
    }
    is_as_before(&lab, &before);
    let schema = include_str!("../../../../docs/schema/verify-backups.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let wrong: Vec<_> = schema.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // It is on record: what failed is told again, and nothing is restored for it.
    let later = verify_backups(&lab, &["--no-state", "--max-age", "90000d", "-v"]).exits(2);
    let _ =
        later.says("101: drill-not-booted: its system did not come up").says("102: drilled").says("proven");
}

#[test]
fn a_container_whose_init_hangs_has_not_booted_though_programs_run_in_it() {
    let lab = lab();
    lab.break_container(CT).unwrap();
    back_up(&lab, &["102"]);
    let before = all(&lab);
    let _ = drill(&lab, &["102"]).exits(2).says("102: drill-not-booted").says("its init says `starting`");
    is_as_before(&lab, &before);
}

#[test]
fn a_vm_without_an_agent_runs_and_no_more_is_said_of_it() {
    let lab = builder().more_vms(&[THIRD]).start().unwrap();
    let report = drill(&lab, &["105", "--json"]).exits(1).report();
    assert_eq!(codes(guest(&report, THIRD)), ["drill-boot-unknown"]);
    assert_eq!(guest(&report, THIRD)["drill"]["proof"], "started");
}

#[test]
fn a_check_of_the_operator_fails_in_the_guest() {
    let lab = lab();
    overrides(
        &lab,
        "[[guests.102.checks]]\nname = \"the mail is there\"\ncommand = [\"test\", \"-e\", \"/var/mail\"]\n",
    );
    let before = all(&lab);
    let _ = drill(&lab, &["102"]).exits(2).says("102: drill-check-failed: the mail is there: exit status 1");
    is_as_before(&lab, &before);
}

#[test]
fn a_damaged_archive_fails_the_restore() {
    let lab = lab();
    lab.truncate_archive("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", 90).unwrap();
    let before = all(&lab);
    let _ = drill(&lab, &["101"])
        .exits(2)
        .says("101: drill-restore-failed: `qmrestore local:backup/vzdump-qemu-101")
        .says("exit code 133");
    is_as_before(&lab, &before);
}

#[test]
fn a_plain_tar_that_was_cut_is_not_proven_by_a_restore_that_succeeds() {
    let lab = builder().compress("0").start().unwrap();
    overrides(&lab, "");
    let archive = lab.archive("vzdump-lxc-102-2026_01_30-01_00_04.tar");
    // The two empty blocks at its end are gone, and nothing else: GNU tar does not mind.
    let bytes = fs::read(&archive).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    fs::write(&archive, &bytes[..end.next_multiple_of(512)]).unwrap();
    let _ = drill(&lab, &["102"]).exits(2).says("102: drill-restore-failed").says("the archive has no end");
}

#[test]
fn only_guests_that_are_named_are_drilled_and_one_that_is_nowhere_is_an_error() {
    let lab = lab();
    let file = |name: &str| lab.operator().project().join(name).display().to_string();
    let words = ["102", "--json", "--metrics", &file("drill.prom"), "--html", &file("drill.html")];
    let report = drill(&lab, &words).exits(0).report();
    assert_eq!(guest(&report, CT)["drill"]["proof"], "proven");
    assert_eq!(guest(&report, VM)["drill"], Value::Null);
    let metrics = fs::read_to_string(file("drill.prom")).unwrap();
    for metric in [
        "timestamp_seconds",
        "proven",
        "point_timestamp_seconds",
        "restore_seconds",
        "boot_seconds",
        "duration_seconds",
    ] {
        assert_eq!(
            metrics.matches(&format!("\npve_backup_drill_{metric}{{")).count(),
            1,
            "{metric}: {metrics}"
        );
    }
    assert!(fs::read_to_string(file("drill.html")).unwrap().contains("drilled just now"));
    assert!(!was_begun(&lab, &["qmrestore"]));
    let _ = drill(&lab, &["102", "666"]).exits(2).says("no node has a guest 666 or a backup of it");
}

#[test]
fn a_guest_without_a_backup_is_told_and_the_others_are_drilled() {
    let lab = lab();
    lab.write("/etc/pve/qemu-server/107.conf", "memory: 512\nname: forgotten\n").unwrap();
    let before = all(&lab);
    let report = drill(&lab, &["102", "107", "--json"]).exits(2).report();
    assert_eq!(codes(guest(&report, 107)), ["guest-no-backup", "drill-not-done"]);
    assert_eq!(guest(&report, CT)["drill"]["proof"], "proven");
    is_as_before(&lab, &before);
    let report = drill(&lab, &["--json"]).exits(2).report();
    assert_eq!(codes(guest(&report, 107)), ["guest-no-backup"], "nobody asked for it");
}

#[test]
fn a_full_storage_and_a_node_without_memory_are_found_before_anything_is_made() {
    let lab = lab();
    lab.change_settings(|settings| {
        let thin = settings.storages.entry("local-lvm".to_owned()).or_default();
        // Room for what is in the backup, not for all that the container may write.
        thin.reserved = thin.total - (1 << 30);
    })
    .unwrap();
    let before = all(&lab);
    let _ =
        drill(&lab, &["102"]).exits(2).says("102: drill-not-done: its disks may take 2.0 GiB on `local-lvm`");
    lab.change_settings(|settings| settings.memory = 512 << 20).unwrap();
    let _ = drill(&lab, &["101"]).exits(2).says("101: drill-not-done: it takes 512.0 MiB of memory");
    assert!(!was_begun(&lab, &["pct", "restore"]) && !was_begun(&lab, &["qmrestore"]));
    is_as_before(&lab, &before);
}

#[test]
fn a_storage_that_fills_up_meanwhile_leaves_nothing() {
    let lab = lab();
    lab.fault(&["qmrestore"], None, &Fault::FullAfter(64 << 10)).unwrap();
    let before = all(&lab);
    // That says nothing about the backup.
    let ran = drill(&lab, &["101"]).exits(2).says("101: drill-not-done: its storage filled up meanwhile");
    assert!(!ran.stdout.contains("drill-restore-failed"), "{ran}");
    is_as_before(&lab, &before);
}

#[test]
fn nothing_is_looked_at_for_a_drill_that_nobody_can_agree_to() {
    let lab = lab();
    let ran = verify_backups(&lab, &["--no-state", "--deep", "--drill"]).exits(2);
    let _ = ran.says("a drill needs an answer");
    assert!(lab.executions().unwrap().is_empty());
}

#[test]
fn a_number_that_nobody_knows_is_refused_before_anything_is_read() {
    let lab = lab();
    let _ = drill(&lab, &["777", "--deep"]).exits(2).says("no node has a guest 777");
    assert!(!was_begun(&lab, &["zstd", "-q"]), "nothing was unpacked");
}

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() {
    let lab = lab();
    let before = all(&lab);
    let _ = drill(&lab, &["--dry-run"])
        .exits(0)
        .says("Drill 2 guests")
        .says("This is a dry run: nothing will be changed.")
        .says("qmrestore local:backup/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst")
        .says("pct destroy 9902")
        .says("Passed over on")
        .says("9901 (named in a file of the cluster)");
    is_as_before(&lab, &before);
    assert!(!lab.operator().home().join(".local/state/pve-restore/runs").exists(), "no journal");
}

#[test]
fn without_a_terminal_and_without_a_yes_nothing_begins() {
    let lab = lab();
    let before = all(&lab);
    let _ = verify_backups(&lab, &["--no-state", "--drill"]).exits(2).says("say `--yes`");
    is_as_before(&lab, &before);
}

#[test]
fn guests_in_the_range_that_no_drill_made_are_passed_over() {
    let lab = lab();
    // One looks like a throw-away guest, and its description comes from one.
    let mark = "#pve-restore drill 20261127T030101.123456Z-verify-backups-drill made 9903 from 101 and throws it away\n";
    lab.write(THROW_AWAY, &format!("{mark}memory: 128\nname: kept\n")).unwrap();
    lab.write("/etc/pve/firewall/9902.fw", "[OPTIONS]\n").unwrap();
    let before = all(&lab);
    let ran = drill(&lab, &["101"]);
    assert!(
        was_begun(&lab, &["qmrestore", "local:backup/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", "9903"]),
        "{ran}"
    );
    is_as_before(&lab, &before);
}

#[test]
fn while_it_runs_the_copy_is_marked_and_has_no_link_and_nothing_of_the_node() {
    let lab = lab();
    lab.add_to_config(GuestKind::Vm, VM, "hookscript: local:snippets/x.pl").unwrap();
    lab.add_to_config(GuestKind::Vm, VM, "protection: 1").unwrap();
    back_up(&lab, &["101"]);
    lab.slow_down(&["qm", "guest"], 1_000).unwrap();
    let mut child = command(&lab, &["101"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("it runs", || lab.path("/run/qemu-server/9900.pid").exists());
    let config = lab.read(THROW_AWAY).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(config.starts_with("#pve-restore drill "), "{config}");
    let card = config.lines().find(|line| line.starts_with("net0:")).unwrap();
    assert!(card.ends_with(",link_down=1") && !card.contains("BC:24:11:00:00:65"), "{config}");
    for key in ["onboot", "hookscript", "protection"] {
        assert!(!config.contains(key), "{key} is in\n{config}");
    }
}

#[rstest::rstest]
#[case::restore(&["qmrestore"])]
#[case::mark(&["tee"])]
#[case::start(&["qm", "start"])]
#[case::boot(&["qm", "guest"])]
#[case::destroy(&["qm", "destroy"])]
fn a_killed_drill_is_cleaned_by_the_next(#[case] during: &[&str]) {
    let lab = lab();
    lab.watch_tools().unwrap();
    lab.slow_down(during, 1_500).unwrap();
    let before = all(&lab);
    kill_when(&lab, &["101"], "it is at work", || was_begun(&lab, during));
    let _ = drill(&lab, &["101"]).exits(0).says("cut off in step").says("proven");
    is_as_before(&lab, &before);
}

#[test]
fn a_dry_run_shows_what_would_be_taken_back_and_takes_nothing_back() {
    let lab = lab();
    lab.slow_down(&["qm", "guest"], 1_500).unwrap();
    kill_when(&lab, &["101"], "it runs", || was_begun(&lab, &["qm", "guest"]));
    until("nothing is at work", || !lab.is_busy());
    let left = all(&lab);
    let dry = drill(&lab, &["102", "--dry-run"])
        .exits(1)
        .says("cut off in step 5 of 6")
        .says("drill-left: VM 9900");
    assert!(all(&lab) == left, "{dry}");
}

#[test]
fn what_is_left_is_found_without_its_journal_and_told_by_every_look() {
    let lab = lab();
    lab.slow_down(&["qm", "guest"], 1_500).unwrap();
    let before = all(&lab);
    kill_when(&lab, &["101"], "it runs", || was_begun(&lab, &["qm", "guest"]));
    fs::remove_dir_all(lab.operator().home().join(".local/state/pve-restore/runs")).unwrap();
    let look =
        verify_backups(&lab, &["--no-state", "--max-age", "90000d"]).exits(1).says("drill-left: VM 9900");
    assert!(!look.stdout.contains("9900: guest-no-backup"), "{look}");
    let _ = drill(&lab, &["102"]).exits(0).says("Remove VM 9900 on pve-prod, which a drill of 101 left");
    is_as_before(&lab, &before);
}

#[test]
fn what_another_machine_drills_is_left_alone() {
    let lab = lab();
    lab.slow_down(&["qm", "guest"], 1_500).unwrap();
    let before = all(&lab);
    kill_when(&lab, &["101"], "it runs", || was_begun(&lab, &["qm", "guest"]));
    fs::remove_dir_all(lab.operator().home().join(".local/state/pve-restore/runs")).unwrap();
    let runs = lab.path("/var/tmp/pve-restore");
    let run_folder = fs::read_link(runs.join("guest-9900")).unwrap();
    let owner = runs.join(run_folder).join("owner");
    let text = fs::read_to_string(&owner).unwrap();
    fs::write(&owner, text.replace('@', "@another-")).unwrap();
    let _ = drill(&lab, &["102"]).exits(1).says("drill-left: VM 9900 is being drilled by verify-backups");
    assert!(lab.path(THROW_AWAY).exists() && lab.path("/run/qemu-server/9900.pid").exists());
    fs::write(&owner, text).unwrap();
    let _ = drill(&lab, &["102"]).exits(0);
    is_as_before(&lab, &before);
}

#[rstest::rstest]
#[case::restore(&["qmrestore"])]
#[case::boot(&["qm", "guest"])]
#[case::destroy(&["qm", "destroy"])]
fn ctrl_c_removes_the_throw_away_guest(#[case] during: &[&str]) {
    let lab = lab();
    lab.slow_down(during, 1_500).unwrap();
    let before = all(&lab);
    let child = command(&lab, &["101", "102"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it is at work", || was_begun(&lab, during));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let _ = Ran::new(&child.wait_with_output().unwrap())
        .exits(130)
        .says("nothing on any node is other than it was before");
    is_as_before(&lab, &before);
    assert!(!was_begun(&lab, &["pct", "restore"]), "no other begins");
}

/// Puts a script in front of one of the node's programs.
fn wrap(lab: &Lab, program: &str, script: &str) {
    let link = lab.path(&format!("/.bin/{program}"));
    let simulator = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let real = format!("(exec -a {program} {} \"$@\")", simulator.display());
    fs::write(&link, format!("#!/bin/bash\n{}\n", script.replace("REAL", &real))).unwrap();
    fs::set_permissions(&link, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Somebody makes a guest with the number between the last look and the restore.
#[rstest::rstest]
#[case::before("FOREIGN; REAL", "already exists")]
#[case::after("REAL; code=$?; rm -rf CONFIG; FOREIGN; exit 1", "drill-restore-failed")]
fn a_guest_that_took_the_number_meanwhile_is_not_touched(#[case] script: &str, #[case] said: &str) {
    let lab = lab();
    let config = lab.path(THROW_AWAY).display().to_string();
    let disk = lab.node().unwrap().place("local-lvm:vm-9900-disk-7").unwrap().path;
    let disk = lab.path(&disk);
    let foreign = format!(
        "mkdir -p {} && echo precious >{} && printf 'memory: 512\\nname: precious\\nscsi0: local-lvm:vm-9900-disk-7,size=4M\\n' >{config}",
        disk.parent().unwrap().display(),
        disk.display()
    );
    wrap(&lab, "qmrestore", &script.replace("FOREIGN", &foreign).replace("CONFIG", &config));
    let _ = drill(&lab, &["101"]).exits(2).says(said);
    assert_eq!(fs::read_to_string(&disk).unwrap(), "precious\n");
    assert!(lab.read(THROW_AWAY).unwrap().contains("name: precious"));
}

#[test]
fn a_guest_whose_mark_was_taken_away_is_not_destroyed() {
    let lab = lab();
    wrap(
        &lab,
        "qm",
        "REAL; code=$?; [ \"$1\" != start ] || sed -i /^#/d /etc/none \"$(dirname $0)/../etc/pve/qemu-server/9900.conf\" 2>/dev/null; exit $code",
    );
    let _ = drill(&lab, &["101"]).exits(2).says("drill-not-removed").says("does not carry the drill's mark");
    assert!(lab.path(THROW_AWAY).exists());
    assert!(!was_begun(&lab, &["qm", "destroy"]));
}
