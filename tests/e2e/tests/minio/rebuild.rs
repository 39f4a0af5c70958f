//! The container from nothing, by Terraform.

use restore_lab::{s3::Engine, terraform::ENVIRONMENTS};
use rstest::rstest;

use crate::scene::{
    next, rebuild, start, states, steps, wants_no_fallback, wants_nothing_to_apply, wants_states,
};

#[rstest]
fn gone_without_a_backup_one_command_brings_everything_back(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(homelab) = start(engine) else { return };
    let before = states(&homelab);
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();

    let report = rebuild(&homelab, &["--complete", "--yes", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["mode"], "rebuild");
    assert_eq!(report["subject"]["capabilities"]["versions"], true);
    assert_eq!(report["subject"]["capabilities"]["conditions"], true);
    wants_states(&homelab, &before);
    wants_nothing_to_apply(&homelab);
    wants_no_fallback(&homelab);
    assert_eq!(homelab.install_source().downloads(), 2, "it was installed again");
    // The next apply works with the bucket.
    homelab.terraform().release("prod", 4).unwrap();
    homelab.terraform().apply("prod").unwrap();
    let bucket = homelab.state("prod").unwrap();
    assert_eq!(bucket["outputs"]["release"]["value"], 4);
    rebuild(&homelab, &["--yes"]).exits(0).says("nothing to do");
}

#[test]
fn what_is_left_to_apply_is_never_unsaid() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let before = states(&homelab);
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let report = rebuild(&homelab, &["--yes", "--json"]).exits(0).report();
    let next = next(&report);
    assert!(next.contains("still to apply in monitoring") && next.contains("firewall"), "{next}");
    wants_states(&homelab, &before);
    assert!(homelab.terraform().has_changes("monitoring").unwrap());
    homelab.terraform().apply("monitoring").unwrap();
    wants_nothing_to_apply(&homelab);
}

#[test]
fn a_broken_container_is_set_aside_and_its_volumes_are_kept() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let before = states(&homelab);
    let old = homelab.minio_vmid().unwrap();
    let config = homelab.read(&format!("/etc/pve/lxc/{old}.conf")).unwrap();
    homelab.kill_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();

    let report = rebuild(&homelab, &["--mode", "rebuild", "--yes", "--json"]).exits(0).report();
    assert!(steps(&report).contains(&"aside".to_owned()));
    wants_states(&homelab, &before);
    let kept = report["kept"][0].to_string();
    for line in config.lines().filter(|line| line.starts_with("rootfs:") || line.starts_with("mp0:")) {
        let volume = line.split(' ').nth(1).unwrap().split(',').next().unwrap();
        assert!(kept.contains(volume), "{volume} is not in {kept}");
        let list = homelab.on_node(&["pvesm", "list", "local-lvm"]).unwrap();
        assert!(String::from_utf8_lossy(&list.stdout).contains(volume), "{volume} is gone");
    }
}

#[test]
fn a_dry_run_shows_the_commands_and_changes_nothing() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let before = crate::scene::changes(&homelab).len();
    let ran = rebuild(&homelab, &["--dry-run"]).exits(0);
    let ran = ran.says("-target=module.minio").says("-replace=module.minio.terraform_data.minio_install");
    ran.says("connection refused");
    assert_eq!(crate::scene::changes(&homelab).len(), before);
    wants_no_fallback(&homelab);
    for name in ENVIRONMENTS {
        let leftovers = std::fs::read_dir(homelab.terraform().environment(name)).unwrap();
        let names: Vec<_> = leftovers.map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("fallback")), "{names:?}");
    }
}

#[test]
fn an_apply_that_fails_leaves_everything_as_it_was() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let old = homelab.minio_vmid().unwrap();
    homelab.kill_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let files = [format!("/etc/pve/lxc/{old}.conf"), format!("/etc/pve/firewall/{old}.fw")];
    let read = || files.each_ref().map(|file| homelab.read(file).unwrap());
    let before = read();
    let module = homelab.terraform().root().join("infrastructure/proxmox/modules/minio/main.tf");
    let text = std::fs::read_to_string(&module).unwrap();
    std::fs::write(&module, text.replace("systemctl daemon-reload", "systemctl no-such-word")).unwrap();
    let ran = rebuild(&homelab, &["--mode", "rebuild", "--yes"]).exits(2);
    ran.says("put container").says("rolled back");
    assert_eq!(read(), before);
    wants_no_fallback(&homelab);
    // It was started again, and its service with it.
    homelab.wait_for_minio(true).unwrap();
    wants_nothing_to_apply(&homelab);

    homelab.kill_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    std::fs::write(&module, text).unwrap();
    rebuild(&homelab, &["--mode", "rebuild", "--complete", "--yes"]).exits(0);
    wants_nothing_to_apply(&homelab);
}
