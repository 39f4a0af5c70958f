//! A state that is nowhere.

use std::fs;

use restore_lab::s3::Engine;

use crate::scene::{rebuild, start, states, wants_versions};

#[test]
fn the_others_are_rebuilt_and_this_one_gets_import_blocks() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let before = states(&homelab);
    let cache = homelab.operator().home().join(".local/state/pve-restore/states/lab");
    fs::remove_dir_all(&cache).unwrap();
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();

    let ran = rebuild(&homelab, &["--yes"]).exits(4);
    ran.says("its state is lost").says("recovered_imports.tf");
    let imports = homelab.terraform().environment("lab").join("recovered_imports.tf");
    assert!(fs::read_to_string(&imports).unwrap().contains("import {"));
    for name in ["prod", "monitoring"] {
        assert_eq!(homelab.state(name).unwrap()["lineage"], before[name]["lineage"], "{name}");
        assert!(!homelab.terraform().environment(name).join("recovered_imports.tf").exists());
    }
    wants_versions(&homelab, "lab");
    assert!(homelab.state("lab").is_err(), "nothing was made up");
}
