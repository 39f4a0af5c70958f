//! The container from its backup.

use std::{fs, time::Instant};

use restore_lab::s3::Engine;
use rstest::rstest;

use crate::scene::{back_up, rebuild, start, states, wants_no_fallback, wants_states};

#[rstest]
fn gone_with_a_backup_it_comes_back_with_every_version(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(homelab) = start(engine) else { return };
    homelab.terraform().release("prod", 2).unwrap();
    homelab.terraform().apply("prod").unwrap();
    back_up(&homelab);
    let (before, versions) = (states(&homelab), homelab.state_versions("prod").unwrap());
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();

    let begun = Instant::now();
    let report = rebuild(&homelab, &["--yes", "--json"]).exits(0).report();
    let took = begun.elapsed();
    assert_eq!(report["subject"]["mode"], "restore");
    assert!(took.as_secs() < 60, "it took {took:?}");
    wants_states(&homelab, &before);
    let ids =
        |versions: &[restore_lab::s3::Version]| versions.iter().map(|v| v.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&homelab.state_versions("prod").unwrap()), ids(&versions), "the history is as it was");
    wants_no_fallback(&homelab);
    assert_eq!(homelab.install_source().downloads(), 1, "nothing was installed");
}

#[test]
fn what_was_applied_after_the_backup_is_added() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    back_up(&homelab);
    homelab.terraform().release("prod", 2).unwrap();
    homelab.terraform().apply("prod").unwrap();
    let mut pull = homelab.command("restore-tfstate");
    pull.args(["--env", "prod", "--pull"]);
    restore_e2e::run(pull).exits(0);
    let before = states(&homelab);
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    rebuild(&homelab, &["--yes"]).exits(0);
    wants_states(&homelab, &before);
    assert_eq!(homelab.state("prod").unwrap()["outputs"]["release"]["value"], 2);
    assert!(!homelab.terraform().has_changes("prod").unwrap());
}

#[test]
fn the_install_source_is_gone_and_that_is_said_before_anything_changes() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    homelab.install_source().answer_with(410);
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let before = crate::scene::changes(&homelab).len();
    for mode in ["auto", "rebuild"] {
        let ran = rebuild(&homelab, &["--mode", mode, "--yes"]).exits(1);
        ran.says("answers 410 Gone").says("--mode restore").says("mirror");
    }
    assert_eq!(crate::scene::changes(&homelab).len(), before, "nothing was changed");
    wants_no_fallback(&homelab);
}

#[test]
fn a_restore_needs_no_install_source() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    back_up(&homelab);
    let before = states(&homelab);
    homelab.install_source().answer_with(410);
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    rebuild(&homelab, &["--mode", "restore", "--yes"]).exits(0).says("answers 410 Gone");
    wants_states(&homelab, &before);
}

#[test]
fn a_newer_state_in_the_backup_is_never_overwritten() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    // Of this one there is no copy here, only of the one before.
    homelab.terraform().release("prod", 2).unwrap();
    homelab.terraform().apply("prod").unwrap();
    back_up(&homelab);
    let before = states(&homelab);
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    rebuild(&homelab, &["--yes"]).exits(0);
    assert_eq!(states(&homelab), before);
}

#[test]
fn a_state_of_another_lineage_is_never_overwritten_and_both_are_shown() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    back_up(&homelab);
    let before = states(&homelab);
    fs::remove_dir_all(homelab.operator().home().join(".local/state/pve-restore/states/prod")).unwrap();
    let mut other = before["prod"].clone();
    other["lineage"] = "11111111-2222-3333-4444-555555555555".into();
    other["serial"] = 99.into();
    let path = homelab.terraform().environment("prod").join("errored.tfstate");
    fs::write(&path, other.to_string()).unwrap();
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let ran = rebuild(&homelab, &["--yes"]).exits(4);
    ran.says("different lineages")
        .says("in the bucket: serial")
        .says("here: serial 99")
        .says("--state prod=FILE");
    assert_eq!(states(&homelab), before);
    let chosen = format!("prod={}", path.display());
    rebuild(&homelab, &["--state", &chosen, "--yes"]).exits(0);
    assert_eq!(homelab.state("prod").unwrap()["serial"], 99);
}
