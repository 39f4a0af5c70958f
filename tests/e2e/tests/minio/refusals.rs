//! Bad input: clear words, and nothing is changed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use restore_e2e::run;
use restore_lab::{homelab::Homelab, s3::Engine};

use crate::scene::{changes, rebuild, start};

#[track_caller]
fn refuses(homelab: &Homelab, words: &[&str], message: &str) {
    let done = changes(homelab).len();
    rebuild(homelab, words).exits(1).says(message);
    assert_eq!(changes(homelab).len(), done, "something was changed");
}

#[test]
fn what_is_wrong_is_named() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    refuses(&homelab, &["--env", "prod", "--yes"], "declares no S3 server");
    refuses(&homelab, &["--env", "nope", "--yes"], "no environment `nope`");
    refuses(&homelab, &["--state", "nope=/dev/null", "--yes"], "no environment `nope` has its state");
    refuses(&homelab, &["--state", "prod=/dev/null", "--yes"], "is not a Terraform state");
    refuses(&homelab, &["--terraform-bin", "/nowhere/terraform", "--yes"], "is not a program");

    let old = homelab.operator().home().join("old-terraform");
    fs::write(&old, "#!/bin/sh\necho 'Terraform v1.5.7'\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    refuses(&homelab, &["--terraform-bin", &old.to_string_lossy(), "--yes"], "is Terraform 1.5.7");

    homelab.change_minio_password("another-password").unwrap();
    let mut restart = homelab.command("rebuild-minio");
    restart.args(["--yes"]).env("AWS_SECRET_ACCESS_KEY", "wrong-secret-5f2a");
    let ran = run(restart).exits(1).says("does not accept the credentials").says("minio.root_password");
    assert!(!ran.to_string().contains("wrong-secret-5f2a"), "{ran}");
}

#[test]
fn no_environment_has_a_server() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let path = homelab.terraform().environment("monitoring").join("terraform.tfvars");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\nminio = {", "\nsomething_else = {")).unwrap();
    refuses(&homelab, &["--yes"], "there is no `minio` in any tfvars");
}

#[test]
fn something_else_has_its_port() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    homelab.occupy_minio_port().unwrap();
    refuses(&homelab, &["--yes"], "something else has the port of the S3 server");
    refuses(&homelab, &["--mode", "rebuild", "--yes"], "something else has the port of the S3 server");
}

#[test]
fn its_node_cannot_be_reached() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    homelab.stop_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    for mode in ["auto", "restore", "rebuild"] {
        refuses(&homelab, &["--mode", mode, "--ssh-port", "1", "--yes"], "could not be asked");
    }
}

#[test]
fn the_module_is_not_called() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let path = homelab.terraform().environment("monitoring").join("minio.tf");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("../../modules/minio", "../../modules/elsewhere")).unwrap();
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    refuses(&homelab, &["--yes"], "");
}
