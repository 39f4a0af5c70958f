//! A server that works is left alone.

use restore_e2e::Terminal;
use restore_lab::{s3::Engine, terraform::bucket};

use crate::scene::{back_up, changes, rebuild, start, states, wants_states, wants_versions};

#[test]
fn nothing_is_done() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    back_up(&homelab);
    let (before, done) = (states(&homelab), changes(&homelab).len());
    for words in [&["--yes"][..], &["--mode", "rebuild", "--yes"], &["--mode", "restore", "--yes"]] {
        rebuild(&homelab, words).exits(0).says("nothing to do");
    }
    assert_eq!((states(&homelab), changes(&homelab).len()), (before, done));
}

#[test]
fn it_is_replaced_only_after_two_typed_answers() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let vmid = back_up(&homelab);
    let (before, done) = (states(&homelab), changes(&homelab).len());
    rebuild(&homelab, &["--replace"]).exits(1).says("no terminal");
    let command = || {
        let mut command = homelab.command("rebuild-minio");
        command.arg("--replace");
        command
    };
    let mut terminal = Terminal::start(command()).unwrap();
    terminal.wait_for("works. It would be replaced");
    terminal.enter("yes\n").unwrap();
    assert_eq!(terminal.finish().unwrap().0, 1);
    let mut terminal = Terminal::start(command()).unwrap();
    terminal.wait_for("works. It would be replaced");
    terminal.enter("replace\n").unwrap();
    terminal.wait_for("will be replaced:");
    terminal.enter("n\n").unwrap();
    assert_eq!(terminal.finish().unwrap().0, 1);
    assert_eq!((states(&homelab), changes(&homelab).len()), (before.clone(), done));

    let mut terminal = Terminal::start(command()).unwrap();
    terminal.wait_for("works. It would be replaced");
    terminal.enter("replace\n").unwrap();
    terminal.wait_for("will be replaced:");
    terminal.enter(&format!("{vmid}\n")).unwrap();
    let (code, text) = terminal.finish().unwrap();
    assert_eq!(code, 0, "{text}");
    wants_states(&homelab, &before);
}

#[test]
fn what_it_lacks_is_added_and_nothing_else() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    let (before, done) = (states(&homelab), changes(&homelab).len());
    let client = homelab.minio_client().unwrap();
    client.set_versioning(&bucket("lab"), "Suspended").unwrap();
    for version in homelab.state_versions("prod").unwrap() {
        client.delete(&bucket("prod"), "terraform.tfstate", Some(&version.id)).unwrap();
    }
    rebuild(&homelab, &["--yes"]).exits(0).says("keeps no versions");
    wants_versions(&homelab, "lab");
    wants_states(&homelab, &before);
    assert_eq!(changes(&homelab).len(), done, "the node has nothing to do with it");
}
