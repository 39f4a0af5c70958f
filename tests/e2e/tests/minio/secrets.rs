//! Passwords, tokens and what states hold appear nowhere.

use std::{fs, path::Path};

use restore_lab::{s3::Engine, terraform::CANARY};

use crate::scene::{rebuild, start};

/// Every file below a folder, as text.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            texts.extend(self::texts(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            texts.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    texts
}

#[test]
fn no_secret_leaves_its_place() {
    let Some(homelab) = start(Engine::Embedded) else { return };
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let before = homelab.journal().unwrap().len();
    let ran = rebuild(&homelab, &["-vvv", "--yes"]).exits(0);
    let secrets = [homelab.credentials().secret_key.as_str(), CANARY, "canary-api"];
    let memory = homelab.operator().home().join(".local/state/pve-restore");
    let mut places = vec![("the terminal".to_owned(), ran.to_string())];
    places.extend(texts(&memory.join("runs")));
    // What Terraform's installer tells the node is Terraform's own affair: here it is what the program asked for.
    let journal = homelab.journal().unwrap().split_off(before);
    let own = journal.iter().filter(|line| !line.to_string().contains("tee"));
    places.extend(own.map(|line| ("the node".to_owned(), line.to_string())));
    for (place, text) in &places {
        for secret in secrets {
            assert!(!text.contains(secret), "`{secret}` is in {place}: {text}");
        }
    }
    assert!(places.len() > 2, "something was looked at");
    assert!(!memory.join("work").exists(), "nothing of the work is left");
}
