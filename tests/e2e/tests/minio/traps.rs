//! The traps of a naive rebuild: each test fails when its handling is taken out.

use std::{fs, os::unix::fs::PermissionsExt as _};

use restore_lab::{homelab::Homelab, s3::Engine};

use crate::scene::{rebuild, start, states, wants_no_fallback, wants_states};

fn gone(homelab: &Homelab) {
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
}

fn edit(homelab: &Homelab, file: &str, from: &str, to: &str) {
    let path = homelab.terraform().environment("monitoring").join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "`{from}` is not in {file}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// 1. An address that does not exist: Terraform would succeed and do nothing.
#[test]
fn an_address_that_does_not_exist_is_refused() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    gone(&homelab);
    let ran = rebuild(&homelab, &["--module", "module.objects", "--yes"]).exits(1);
    ran.says("no module is called `objects`").says("module.minio");
    assert_eq!(homelab.install_source().downloads(), 1);
}

/// 1. An apply that did nothing is no success, whatever Terraform says.
#[test]
fn an_apply_that_did_nothing_is_a_failure() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    gone(&homelab);
    let lazy = homelab.operator().home().join("lazy-terraform");
    let real = restore_lab::terraform::program().unwrap();
    let summary =
        r#"{"type":"change_summary","changes":{"add":0,"change":0,"remove":0,"operation":"apply"}}"#;
    let script = format!(
        "#!/bin/bash\ncase \" $* \" in *\" apply \"*) echo '{summary}';; *) exec '{}' \"$@\";; esac\n",
        real.display()
    );
    fs::write(&lazy, script).unwrap();
    fs::set_permissions(&lazy, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = rebuild(&homelab, &["--terraform-bin", &lazy.to_string_lossy(), "--yes"]).exits(2);
    ran.says("ended well and did nothing for module.minio");
    wants_no_fallback(&homelab);
}

/// 1. The call has another name than the module.
#[test]
fn the_module_is_found_by_its_source() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let before = states(&homelab);
    // Renamed as an operator does: with `moved`, and applied.
    edit(&homelab, "minio.tf", "module \"minio\"", "module \"objects\"");
    edit(&homelab, "minio.tf", "module.minio.", "module.objects.");
    let moved = "moved {\n  from = module.minio\n  to   = module.objects\n}\n";
    let environment = homelab.terraform().environment("monitoring");
    fs::write(environment.join("moved.tf"), moved).unwrap();
    homelab.terraform().init("monitoring").unwrap();
    homelab.terraform().apply("monitoring").unwrap();
    let mut pull = homelab.command("restore-tfstate");
    pull.args(["--all", "--pull"]);
    restore_e2e::run(pull).exits(0);
    gone(&homelab);
    rebuild(&homelab, &["--yes"]).exits(0).says("module.objects");
    wants_states(&homelab, &before);
}

/// 2. `prevent_destroy`: the container that is there is no obstacle, and 3. its installation runs again.
#[test]
fn the_installation_runs_again_in_the_new_container() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let before = states(&homelab);
    homelab.kill_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    rebuild(&homelab, &["--mode", "rebuild", "--yes"]).exits(0);
    assert_eq!(homelab.install_source().downloads(), 2);
    wants_states(&homelab, &before);
}

/// 5. The environment whose apply rebuilds the server keeps its own state in it.
#[test]
fn its_own_environment_works_without_it_meanwhile() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    gone(&homelab);
    let report = rebuild(&homelab, &["--yes", "--json"]).exits(0).report();
    let steps = crate::scene::steps(&report);
    let at = |id: &str| {
        steps.iter().position(|step| step == id).unwrap_or_else(|| panic!("no `{id}` in {steps:?}"))
    };
    assert!(at("override") < at("apply") && at("apply") < at("backends"), "{steps:?}");
    let state = homelab.state("monitoring").unwrap().to_string();
    assert!(state.contains("minio_install"), "the state of the apply is the one in the bucket");
}
