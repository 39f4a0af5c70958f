//! Each thing that can be wrong is told from the others, and repaired or refused.

use restore_lab::s3::Engine;
use rstest::rstest;

use crate::scene::{back_up, changes, rebuild, start, states, steps, wants_states};

#[rstest]
fn a_dead_process_is_started_again(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(homelab) = start(engine) else { return };
    back_up(&homelab);
    let before = states(&homelab);
    homelab.kill_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let ran = rebuild(&homelab, &["--yes", "--json"]).exits(0);
    let report = ran.report();
    assert_eq!(report["subject"]["mode"], "start");
    assert_eq!(steps(&report)[1], "start");
    wants_states(&homelab, &before);
}

#[test]
fn a_stopped_container_is_started() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    back_up(&homelab);
    let before = states(&homelab);
    homelab.stop_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    rebuild(&homelab, &["--yes"]).exits(0).says("stopped");
    wants_states(&homelab, &before);
}

#[rstest]
fn lost_data_is_made_again_from_the_copies_here(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(homelab) = start(engine) else { return };
    let before = states(&homelab);
    homelab.lose_minio_data().unwrap();
    homelab.wait_for_minio(true).unwrap();
    let done = changes(&homelab).len();
    rebuild(&homelab, &["--yes"]).exits(0).says("there is no bucket");
    wants_states(&homelab, &before);
    assert_eq!(changes(&homelab).len(), done, "the container is left alone");
}

#[test]
fn lost_data_of_which_no_copy_is_here_comes_from_the_backup() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    back_up(&homelab);
    let before = states(&homelab);
    std::fs::remove_dir_all(homelab.operator().home().join(".local/state/pve-restore/states")).unwrap();
    homelab.lose_minio_data().unwrap();
    homelab.wait_for_minio(true).unwrap();
    let report = rebuild(&homelab, &["--yes", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["mode"], "restore");
    wants_states(&homelab, &before);
}

#[test]
fn a_full_disk_is_named_with_the_command_that_enlarges_it() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let vmid = homelab.minio_vmid().unwrap();
    homelab.fill_minio_disk().unwrap();
    let done = changes(&homelab).len();
    let ran = rebuild(&homelab, &["--yes"]).exits(1);
    ran.says("is full").says(&format!("pct resize {vmid}"));
    assert_eq!(changes(&homelab).len(), done);
}
