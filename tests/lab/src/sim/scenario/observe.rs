//! Looks at a node after a command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::archive::Claims;
use super::{FileState, TaskState, VolumeState};
use crate::sim::node::storage::Storage;
use crate::sim::node::task::TASKS;
use crate::sim::node::{names, qcow2};
use crate::sim::{GuestKind, Node};

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The hash of a file from an offset on.
pub(super) fn sha256_of(path: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// The guests of the whole cluster by number: kind, configuration, whether it runs.
pub(super) fn guests(node: &Node) -> BTreeMap<String, (&'static str, String, bool)> {
    let mut found = BTreeMap::new();
    for (kind, word) in [(GuestKind::Vm, "qemu"), (GuestKind::Ct, "lxc")] {
        for vmid in node.guests(kind) {
            let text = node.read(&node.config_path(kind, vmid)).unwrap_or_default();
            found.insert(vmid.to_string(), (word, text, node.running(kind, vmid).is_some()));
        }
        for other in node.other_nodes() {
            let folder = format!("/etc/pve/nodes/{other}/{}", kind.folder());
            for name in names(&node.path(&folder)) {
                let text = node.read(&format!("{folder}/{name}")).unwrap_or_default();
                found.insert(name.trim_end_matches(".conf").to_owned(), (word, text, false));
            }
        }
    }
    found
}

/// All volumes of guests, with the hashes that the scenario means.
pub(super) fn volumes(node: &Node, claims: &Claims) -> io::Result<BTreeMap<String, VolumeState>> {
    let mut found = BTreeMap::new();
    for volume in node.storages().iter().flat_map(|storage| node.volumes(storage)) {
        let real = node.path(&volume.path);
        let state = if real.is_dir() {
            let owners = node.sidecar(&volume.path).owners;
            let mut files = BTreeMap::new();
            walk(&real, "", &mut |path, content| {
                let uid = Some(owners.get(&path).map_or(0, |(uid, _)| *uid));
                let sha256 = hex(&Sha256::digest(&content));
                let size = Some(content.len() as u64);
                let state = FileState { size, sha256: Some(claims.meaning(&sha256).to_owned()), uid };
                files.insert(path, Some(state));
            })?;
            VolumeState {
                size: volume.size,
                sha256: String::new(),
                virtual_size: None,
                content_sha256: None,
                files: Some(files),
            }
        } else {
            let size = fs::metadata(&real)?.len();
            let (virtual_size, offset) = match volume.format.as_str() {
                "qcow2" => {
                    let (size, offset) = qcow2::layout(&File::open(&real)?)?;
                    (Some(size), offset)
                }
                _ => (None, 0),
            };
            let content = claims.meaning(&sha256_of(&real, offset)?).to_owned();
            let content_sha256 = virtual_size.is_some().then(|| content.clone());
            VolumeState { size, sha256: content, virtual_size, content_sha256, files: None }
        };
        found.insert(volume.volid, state);
    }
    Ok(found)
}

/// Walks the files of a folder.
fn walk(folder: &Path, prefix: &str, found: &mut dyn FnMut(String, Vec<u8>)) -> io::Result<()> {
    for name in names(folder) {
        let (real, path) = (folder.join(&name), format!("{prefix}/{name}"));
        let metadata = fs::symlink_metadata(&real)?;
        if metadata.is_dir() {
            walk(&real, &path, found)?;
        } else if metadata.is_file() {
            found(path, fs::read(real)?);
        }
    }
    Ok(())
}

/// The firewall files of guests.
pub(super) fn firewall(node: &Node) -> BTreeMap<String, String> {
    let folder = "/etc/pve/firewall";
    let files = names(&node.path(folder)).into_iter();
    files
        .filter_map(|name| {
            let text = node.read(&format!("{folder}/{name}"))?;
            Some((name.strip_suffix(".fw")?.to_owned(), text))
        })
        .collect()
}

/// The backups of a storage with their companions, by the names that scenarios use.
pub(super) fn archives(node: &Node, storage: &Storage) -> BTreeMap<String, BTreeMap<&'static str, String>> {
    let folder = storage.content_folder("backup");
    let mut found = BTreeMap::new();
    for name in names(&node.path(&folder)) {
        let mut facts = BTreeMap::new();
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        if end == "log" {
            facts.insert("log", "true".into());
            found.insert(format!("{}: {name}", storage.id), facts);
            continue;
        }
        if matches!(end, "notes" | "protected") {
            continue;
        }
        if let Some(notes) = node.read(&format!("{folder}/{name}.notes")) {
            facts.insert("notes", notes);
        }
        if node.path(&format!("{folder}/{name}.protected")).exists() {
            facts.insert("protected", "true".into());
        }
        let size = fs::metadata(node.path(&format!("{folder}/{name}"))).map_or(0, |metadata| metadata.len());
        facts.insert("size", size.to_string());
        found.insert(format!("{}:backup/{name}", storage.id), facts);
    }
    found
}

/// The logs of all tasks.
pub(super) fn task_logs(node: &Node) -> BTreeSet<String> {
    let folders = names(&node.path(TASKS)).into_iter().filter(|name| name.len() == 1);
    folders.flat_map(|folder| names(&node.path(&format!("{TASKS}/{folder}")))).collect()
}

/// The tasks since `known`, with the last lines of their logs.
pub(super) fn tasks(node: &Node, known: &BTreeSet<String>) -> Vec<TaskState> {
    let new = task_logs(node).into_iter().filter(|upid| !known.contains(upid));
    let mut tasks: Vec<_> = new
        .filter_map(|upid| {
            let fields: Vec<_> = upid.split(':').collect();
            let log = fs::read_to_string(node.task_log(&upid)).ok()?;
            let result = log.lines().last().unwrap_or_default().to_owned();
            Some(TaskState { kind: (*fields.get(5)?).into(), id: (*fields.get(6)?).into(), result })
        })
        .collect();
    tasks.sort();
    tasks
}
