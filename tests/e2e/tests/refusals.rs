//! What speaks against a restore is said in full before anything is touched.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use restore_e2e::{Ran, join, restore_vm};
use restore_lab::{
    lab::{Lab, LabBuilder},
    sim::{GuestKind, node::settings::Capacity},
    ssh::KeyPair,
};

const VM_CONF: &str = "/etc/pve/qemu-server/101.conf";
const NEWEST_VM: &str = "vzdump-qemu-101-2026_01_30-01_00_04.vma.zst";
const STORAGES: &str = "/etc/pve/storage.cfg";
/// An address of the loopback interface that no lab takes, with a port that nobody listens on.
const NOBODY: &str = "127.255.255.254";

fn ssh_file(lab: &Lab, name: &str) -> PathBuf {
    lab.operator().home().join(".ssh").join(name)
}

fn tfvars(lab: &Lab, environment: &str) -> PathBuf {
    lab.operator().environment(environment).join("terraform.tfvars")
}

fn append(file: PathBuf, text: &str) {
    let old = fs::read_to_string(&file).unwrap();
    fs::write(file, old + text).unwrap();
}

fn replace(lab: &Lab, on_node: &str, old: &str, new: &str) {
    let text = lab.read(on_node).unwrap();
    assert!(text.contains(old), "`{old}` is not in {on_node}: {text}");
    lab.write(on_node, &text.replace(old, new)).unwrap();
}

/// Runs, and wants this exit code, no change on the node, no new host key and no journal.
#[track_caller]
fn refuses_with(lab: &Lab, code: i32, words: &[&str]) -> Ran {
    let keys = || fs::read_to_string(ssh_file(lab, "known_hosts")).unwrap_or_default();
    let before = (lab.inventory().unwrap(), keys());
    let ran = restore_vm(lab, words).exits(code);
    assert!((lab.inventory().unwrap(), keys()) == before, "something was changed: {ran}");
    // Where journals of runs and noted host keys would be.
    let state = lab.operator().home().join(".local/state/pve-restore");
    assert_eq!(fs::read_dir(state).into_iter().flatten().count(), 0, "something was noted: {ran}");
    ran
}

/// A restore over the guest that is refused. Nothing asks: `--force` is no way around a refusal.
#[track_caller]
fn refuses(lab: &Lab, words: &[&str]) -> Ran {
    refuses_with(lab, 1, &[words, &["--force"]].concat())
}

#[rstest::rstest]
#[case::no_number(&["web"], "web")]
#[case::too_small(&["99"], "99")]
#[case::too_large(&["1000000000"], "1000000000")]
#[case::no_day(&["101", "--date", "2026-02-30"], "2026-02-30")]
#[case::no_volume_id(&["101", "--archive", "no-storage"], "no-storage")]
#[case::no_guest(&[], "VMID")]
fn a_command_line_that_makes_no_sense_exits_64(#[case] words: &[&str], #[case] named: &str) {
    let lab = Lab::start().unwrap();
    let _ = refuses_with(&lab, 64, words).says(named);
    assert_eq!(lab.journal().unwrap().len(), 0, "the node was asked");
}

#[rstest::rstest]
#[case::node(&["101", "--node", "nosuch"], "no node of the project is named `nosuch`")]
#[case::environment(&["101", "--env", "nosuch"], "there is no environment `nosuch`; the project has")]
#[case::guest(&["555"], "there is no backup of guest 555 on pve-prod (searched: local)")]
#[case::day_between(
    &["101", "--date", "2026-01-28"],
    "there is no backup of guest 101 of 2026-01-28: the nearest before is none, the nearest after 2026-01-29"
)]
#[case::day_after(&["101", "--date", "2026-02-01"], "the nearest before is 2026-01-30 01:00:04")]
#[case::archive(
    &["101", "--archive", "local:backup/vzdump-qemu-101-2020_01_01-00_00_00.vma.zst"],
    "`restore-vm 101 --list` shows the backups there are"
)]
#[case::number_in_use(&["101", "--target-id", "102"], "102 is in use: container `prod-dns`")]
#[case::storage(&["101", "--target-storage", "nosuch"], "storage `nosuch` does not exist on pve-prod")]
#[case::storage_for_other_content(&["101", "--target-storage", "local"], "storage `local` does not take `images`")]
fn what_is_not_there_is_named(#[case] words: &[&str], #[case] said: &str) {
    let _ = refuses(&Lab::start().unwrap(), words).says(said);
}

#[test]
fn a_project_without_values_says_where_it_looked() {
    let lab = Lab::start().unwrap();
    for environment in ["prod", "lab", "monitoring"] {
        fs::remove_file(tfvars(&lab, environment)).unwrap();
    }
    let _ = refuses(&lab, &["101"]).says("no `terraform.tfvars`").says("--project DIR");
}

#[test]
fn values_that_do_not_parse_are_pointed_at() {
    let lab = Lab::start().unwrap();
    fs::write(tfvars(&lab, "prod"), "environment = \"prod\"\nvms = {\n  oops =\n}\n").unwrap();
    let ran = refuses(&lab, &["101"]);
    let place = ran.stdout.split_once("prod/terraform.tfvars:").map(|(_, rest)| rest.to_owned());
    let numbers: Vec<_> = place.as_deref().unwrap_or_default().splitn(3, ':').take(2).collect();
    assert!(numbers.len() == 2 && numbers.iter().all(|n| n.parse::<u32>().is_ok()), "no position: {ran}");
}

#[test]
fn a_node_that_nobody_reaches_is_not_a_node_without_backups() {
    let lab = Lab::start().unwrap();
    let ran = refuses(&lab, &["101", "--ssh-port", "1"]).says("cannot reach").says("pve-prod");
    assert!(!ran.to_string().contains("no backup"), "{ran}");
}

#[test]
fn an_unknown_host_key_is_taken_only_when_that_was_said() {
    let lab = Lab::start().unwrap();
    let known = ssh_file(&lab, "known_hosts");
    fs::write(&known, "").unwrap();
    let _ = refuses(&lab, &["101"]).says("SHA256:").says("is not known").says("--accept-new-host-key");
    let _ = restore_vm(&lab, &["101", "--list", "--accept-new-host-key"]).exits(0).says("SHA256:");
    let _ = restore_vm(&lab, &["101", "--list"]).exits(0);
    assert_eq!(fs::read_to_string(&known).unwrap(), "", "the operator's own file is not written to");
}

#[rstest::rstest]
fn a_changed_host_key_is_never_taken(
    #[values(&["101"][..], &["101", "--accept-new-host-key"][..])] words: &[&str],
) {
    let lab = Lab::start().unwrap();
    let known = ssh_file(&lab, "known_hosts");
    let line = fs::read_to_string(&known).unwrap();
    let host = line.split_whitespace().next().unwrap();
    let other = KeyPair::generate().unwrap().public_line().unwrap();
    fs::write(&known, format!("{host} {other}\n")).unwrap();
    let _ = refuses(&lab, words).says("is not trusted").says("SHA256:").says("somebody may be in between");
}

#[test]
fn a_key_that_the_node_does_not_accept_is_named() {
    let lab = Lab::start().unwrap();
    let key = ssh_file(&lab, "id_ed25519");
    fs::remove_file(&key).unwrap();
    KeyPair::generate().unwrap().write(&key).unwrap();
    let _ = refuses(&lab, &["101"]).says("accepts none of the keys tried").says("--identity FILE");
}

/// A homelab whose second environment is another node, with the same guests.
fn two_nodes() -> (Lab, Lab) {
    let (lab, other) = (Lab::start().unwrap(), Lab::start().unwrap());
    join(&lab, &other, "lab").unwrap();
    (lab, other)
}

#[test]
fn the_same_number_on_two_nodes_has_to_be_decided_by_the_operator() {
    let (lab, other) = two_nodes();
    let before = other.inventory().unwrap();
    let _ = refuses(&lab, &["101"]).says("2 nodes have a guest 101").says("--env NAME");
    assert_eq!(other.inventory().unwrap(), before);
    let _ = restore_vm(&lab, &["101", "--env", "lab", "--list"]).exits(0).says("2026_01_30");
}

#[test]
fn a_silent_node_is_warned_about_when_another_one_has_the_guest() {
    let lab = Lab::start().unwrap();
    append(ssh_file(&lab, "config"), &format!("Host {NOBODY}\n  Port 1\n"));
    let endpoint = format!("proxmox_endpoint = \"https://{NOBODY}:8006\"\ndefault_node = \"pve-lab\"\n");
    fs::write(tfvars(&lab, "lab"), endpoint).unwrap();
    let _ =
        restore_vm(&lab, &["101", "--dry-run"]).exits(0).says("not asked").says("cannot reach").says(NOBODY);
    let _ = refuses(&lab, &["555"]).says("cannot reach").says(NOBODY);
}

#[rstest::rstest]
#[case::protected("protection: 1", "protected against removal")]
#[case::locked("lock: backup", "is locked (backup) and no task of it is running")]
#[case::old_disk_on_a_lost_storage(
    "scsi3: gone:vm-101-disk-9,size=1G",
    "is on storage `gone`, which does not exist any more"
)]
fn a_guest_that_must_not_be_overwritten_is_not(
    #[case] line: &str,
    #[case] said: &str,
    #[values(8, 9)] pve: u8,
) {
    let lab = LabBuilder::new().pve(pve).start().unwrap();
    lab.add_to_config(GuestKind::Vm, 101, line).unwrap();
    let _ = refuses(&lab, &["101"]).says(said);
}

/// Sends a signal to a process of the node.
fn signal(name: &str, process: &Child) {
    let words = [name, &process.id().to_string()];
    assert!(Command::new("kill").args(words).status().unwrap().success());
}

/// A backup of the VM that stands still in the middle of its work.
fn halted_backup(lab: &Lab) -> Child {
    loop {
        let mut backup = lab.command("pve-sim");
        backup.arg("--root").arg(lab.root()).args([
            "--pve",
            "8",
            "--",
            "vzdump",
            "101",
            "--storage",
            "local",
        ]);
        let mut backup = backup.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while backup.try_wait().unwrap().is_none() {
            if lab.read(VM_CONF).unwrap().contains("lock: backup") {
                signal("-STOP", &backup);
                break;
            }
        }
        // It may have come to its end just then.
        if lab.read(VM_CONF).unwrap().contains("lock: backup") {
            return backup;
        }
        signal("-CONT", &backup);
        assert!(backup.wait().unwrap().success());
    }
}

#[test]
fn a_lock_is_told_with_the_task_that_holds_it() {
    let lab = Lab::start().unwrap();
    let mut backup = halted_backup(&lab);
    let _ = restore_vm(&lab, &["101", "--force"])
        .exits(1)
        .says("VM 101 is locked (backup) by the task `vzdump` of root@pam since 20")
        .says("(UPID:pve-prod:")
        .says("wait for that task to end");
    signal("-CONT", &backup);
    assert!(backup.wait().unwrap().success());
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

#[test]
fn a_number_that_is_now_a_guest_of_the_other_kind_is_not_overwritten() {
    let lab = Lab::start().unwrap();
    assert!(lab.on_node(&["qm", "stop", "101"]).unwrap().status.success());
    assert!(lab.on_node(&["qm", "destroy", "101"]).unwrap().status.success());
    lab.write("/etc/pve/lxc/101.conf", "arch: amd64\nhostname: other\nmemory: 64\nostype: debian\n").unwrap();
    let _ = refuses(&lab, &["101"]).says("101 is a container and the backup is of a VM").says("--target-id");
}

#[test]
fn a_disabled_storage_is_told_from_a_missing_one() {
    let lab = Lab::start().unwrap();
    replace(&lab, STORAGES, "\tcontent images,rootdir\n", "\tcontent images,rootdir\n\tdisable 1\n");
    let _ = refuses(&lab, &["101", "--safety", "none"]).says("storage `local-lvm` is disabled on pve-prod");
}

#[test]
fn a_full_storage_is_found_before_it_is_written_to() {
    let lab =
        LabBuilder::new().storage("dir: data\n\tpath /mnt/data\n\tcontent images,rootdir\n").start().unwrap();
    let full = Capacity { total: 1 << 30, reserved: 1 << 30, ..Capacity::default() };
    lab.change_settings(|settings| {
        settings.storages.insert("data".to_owned(), full);
    })
    .unwrap();
    let _ = refuses(&lab, &["101", "--target-storage", "data"]).says("storage `data` is full");
}

#[test]
fn a_storage_that_does_not_answer_is_not_one_without_backups() {
    let lab = Lab::start().unwrap();
    let offline = Capacity { online: false, ..Capacity::default() };
    lab.change_settings(|settings| {
        settings.storages.insert("local".to_owned(), offline);
    })
    .unwrap();
    let ran = refuses(&lab, &["101"]).says("could not look everywhere: storage `local`");
    assert!(!ran.to_string().contains("there is no backup"), "{ran}");
}

#[test]
fn a_bridge_that_the_node_has_not_is_named() {
    let lab = Lab::start().unwrap();
    replace(&lab, "/etc/network/interfaces", "vmbr0", "vmbr7");
    let _ =
        refuses(&lab, &["101"]).says("net0 of the backup uses the bridge `vmbr0`, which pve-prod has not");
}

#[test]
fn everything_that_speaks_against_it_is_listed_at_once() {
    let lab = Lab::start().unwrap();
    lab.add_to_config(GuestKind::Vm, 101, "protection: 1").unwrap();
    replace(&lab, "/etc/network/interfaces", "vmbr0", "vmbr7");
    let _ = refuses(&lab, &["101"]).says("protected against removal").says("bridge `vmbr0`");
}

/// Text that a careless program would execute, or send to the terminal as it is.
const HOSTILE: &str = "a';touch canary;$(touch canary)`touch canary`\"\x1b]0;owned\x07\x1b[2J";

#[track_caller]
fn harmless(lab: &Lab, ran: &Ran) {
    for raw in ['\x1b', '\x07'] {
        assert!(!ran.stderr.contains(raw) && !ran.stdout.contains(raw), "a raw control character: {ran:?}");
    }
    for folder in
        [lab.path("/"), lab.path("/root"), lab.operator().home().into(), lab.operator().project().into()]
    {
        assert!(!folder.join("canary").exists(), "it was executed in {}: {ran}", folder.display());
    }
}

#[test]
fn a_hostile_name_and_note_are_only_text() {
    let lab = Lab::start().unwrap();
    replace(&lab, VM_CONF, "name: prod-web", &format!("name: {HOSTILE}"));
    fs::write(lab.archive(&format!("{NEWEST_VM}.notes")), HOSTILE).unwrap();
    let ran = restore_vm(&lab, &["101", "--dry-run"]);
    harmless(&lab, &ran);
    let ran = restore_vm(&lab, &["101", "--list"]).exits(0).says("touch canary");
    harmless(&lab, &ran);
}

#[rstest::rstest]
#[case::archive("--archive", format!("local:backup/{HOSTILE}"))]
#[case::storage("--storage", HOSTILE.to_owned())]
#[case::environment("--env", HOSTILE.to_owned())]
#[case::node("--node", HOSTILE.to_owned())]
#[case::target_storage("--target-storage", HOSTILE.to_owned())]
fn a_hostile_word_of_the_command_line_is_only_text(#[case] option: &str, #[case] value: String) {
    let lab = Lab::start().unwrap();
    let before = lab.inventory().unwrap();
    let ran = restore_vm(&lab, &["101", option, &value, "--force"]);
    assert!([1, 64].contains(&ran.code), "{ran}");
    harmless(&lab, &ran);
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn a_hostile_value_of_the_project_is_only_text() {
    let lab = Lab::start().unwrap();
    let text = "proxmox_endpoint = \"https://';touch canary;$(touch canary)\\u001b[2J:8006\"\n";
    fs::write(tfvars(&lab, "lab"), text.replace("$(", "$$(")).unwrap();
    let ran = refuses(&lab, &["101", "--env", "lab"]);
    harmless(&lab, &ran);
}

#[test]
fn a_cluster_without_quorum_is_left_alone() {
    let lab = Lab::start().unwrap();
    fs::create_dir_all(lab.path("/etc/pve/nodes/pve-two/qemu-server")).unwrap();
    lab.change_settings(|settings| settings.quorum = false).unwrap();
    let _ = refuses(&lab, &["101"]).says("no quorum");
}

#[test]
fn what_a_failed_restore_left_is_restored_over_without_a_safety_backup() {
    let lab = Lab::start().unwrap();
    let disk = lab.disk_sha256(VM_CONF, "scsi0").unwrap();
    for verb in ["stop", "destroy"] {
        assert!(lab.on_node(&["qm", verb, "101"]).unwrap().status.success());
    }
    lab.write(VM_CONF, "memory: 128\n").unwrap();
    let backups = || fs::read_dir(lab.path("/var/lib/vz/dump")).unwrap().count();
    let before = backups();
    let ran = restore_vm(&lab, &["101", "--force"]).exits(0);
    assert_eq!(backups(), before, "a safety backup of nothing: {ran}");
    assert_eq!(lab.disk_sha256(VM_CONF, "scsi0").unwrap(), disk);
}
