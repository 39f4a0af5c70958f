//! Backups on a Proxmox Backup Server.
//!
//! On a real node nothing of them is visible as a file. The lab keeps them below the node's folder, where no program of a
//! node looks: a folder per snapshot with the server's names for its files (`qemu-server.conf.blob`, `fw.conf.blob`,
//! `drive-scsi0.img.fidx`; `pct.conf.blob`, `root.pxar.didx`), which hold plain content, and [`ABOUT`] with what the server
//! knows of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::clock;
use super::node::{Storage, names};
use super::vma::{Config, Device, Header};
use super::{Failure, GuestKind, Node, Outcome};

/// The file with what the server knows of a snapshot.
pub const ABOUT: &str = "about.json";
/// A container's files. The lab keeps a plain tar in it.
pub const ROOT: &str = "root.pxar.didx";
/// The ends of the names of other files.
const IMAGE: &str = ".img.fidx";
const FIREWALL: &str = "fw.conf.blob";

/// What the server knows of a snapshot. Every field may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct About {
    /// The fingerprint of the key that it is encrypted with.
    pub encrypted: Option<String>,
    /// What the last verification found; never verified without it.
    pub verification: Option<Verification>,
    /// Must not be removed.
    pub protected: bool,
    /// The comment.
    pub notes: Option<String>,
    /// The backup is not finished: it has no manifest yet.
    pub unfinished: bool,
    /// By file: the first byte of a chunk that the server has lost.
    pub missing: BTreeMap<String, u64>,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// `ok` or `failed`.
    pub state: String,
    /// The task on the server.
    pub upid: String,
}

impl Verification {
    /// One that ended like this, begun at a moment in seconds since 1970.
    ///
    /// The task's id has one field more than a node's own: that of tasks of one process. Not among the facts.
    pub fn new(state: &str, begun: i64) -> Self {
        let upid = format!("UPID:pbs:000002A9:00003D7C:0000000A:{begun:08X}:verificationjob:main:root@pam:");
        Self { state: state.to_owned(), upid }
    }
}

/// A backup on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its volume ID.
    pub volid: String,
    /// Of which kind of guest.
    pub kind: GuestKind,
    /// Of which guest.
    pub vmid: u32,
    /// Seconds since 1970.
    pub ctime: i64,
    /// Its folder in the lab.
    pub folder: String,
    /// What the server knows of it.
    pub about: About,
    storage: Storage,
}

/// `vm/101/2026-01-30T01:00:00Z`, as it stands in a volume ID behind `backup/`.
fn parse_name(name: &str) -> Option<(GuestKind, u32, i64)> {
    let mut parts = name.split('/');
    let kind = match parts.next()? {
        "vm" => GuestKind::Vm,
        "ct" => GuestKind::Ct,
        _ => return None,
    };
    // The server takes any text as an ID; a node only sees numbers.
    let vmid = parts.next()?.parse().ok()?;
    let (day, time) = parts.next()?.strip_suffix('Z')?.split_once('T')?;
    let ctime = clock::parse_stamp(&format!("{}-{}", day.replace('-', "_"), time.replace(':', "_")))?;
    parts.next().is_none().then_some((kind, vmid, ctime))
}

/// `USER@HOST:DATASTORE`.
pub fn repository(storage: &Storage) -> String {
    let get = |key: &str, default: &'static str| storage.get(key).unwrap_or(default).to_owned();
    let (user, server, store) = (get("username", "root@pam"), get("server", ""), get("datastore", ""));
    format!("{user}@{server}:{store}")
}

impl Snapshot {
    /// `vm/101/2026-01-30T01:00:00Z`.
    pub fn name(&self) -> &str {
        self.volid.split_once(":backup/").map_or("", |(_, name)| name)
    }

    /// What a listing shows: the logical sizes of all files, and 1 as long as there is no manifest.
    pub fn size(&self, node: &Node) -> u64 {
        if self.about.unfinished {
            return 1;
        }
        let folder = node.path(&self.folder);
        let files = names(&folder).into_iter().filter(|file| file != ABOUT);
        files.filter_map(|file| Some(fs::metadata(folder.join(file)).ok()?.len())).sum()
    }

    /// The configuration inside. It is encrypted like everything else, so the key is needed for it.
    pub fn config(&self, node: &Node) -> Outcome<String> {
        if self.about.encrypted.is_some() && self.key(node).is_none() {
            // The client's words are not among the facts.
            return Err(Failure::new("Error: missing key - manifest's key was not found on this node"));
        }
        let file = match self.kind {
            GuestKind::Vm => "qemu-server.conf.blob",
            GuestKind::Ct => "pct.conf.blob",
        };
        let missing = || Failure::new(format!("Error: unable to find '{file}' in the index of the snapshot"));
        self.read(node, file).ok_or_else(missing)
    }

    /// The firewall file inside, if the guest had one.
    pub fn firewall(&self, node: &Node) -> Option<String> {
        self.read(node, FIREWALL)
    }

    fn read(&self, node: &Node, file: &str) -> Option<String> {
        node.read(&format!("{}/{file}", self.folder)).filter(|_| !self.about.unfinished)
    }

    /// The key file on the node, if there is one for this storage.
    pub fn key(&self, node: &Node) -> Option<String> {
        let path = format!("/etc/pve/priv/storage/{}.enc", self.storage.id);
        node.path(&path).is_file().then_some(path)
    }

    /// Refuses a backup of the other kind of guest. The client's words are not among the facts.
    pub fn require(&self, kind: GuestKind) -> Outcome {
        if self.kind == kind {
            return Ok(());
        }
        Err(Failure::new(format!("Error: the snapshot '{}' is not one of a {}", self.name(), kind.label())))
    }

    /// What an archive of this VM would begin with: configurations and devices.
    pub fn header(&self, node: &Node) -> Outcome<Header> {
        self.require(GuestKind::Vm)?;
        let config = |name: &str, text: String| Config { name: name.into(), data: text.into_bytes() };
        let mut configs = vec![config("qemu-server.conf", self.config(node)?)];
        configs.extend(self.firewall(node).map(|text| config("qemu-server.fw", text)));
        let folder = node.path(&self.folder);
        let images = names(&folder).into_iter().filter_map(|file| {
            let name = file.strip_suffix(IMAGE)?.to_owned();
            Some((name, fs::metadata(folder.join(&file)).ok()?.len()))
        });
        let devices = (1..).zip(images).map(|(id, (name, size))| Device { id, name, size }).collect();
        Ok(Header { uuid: [0; 16], ctime: self.ctime, configs, devices })
    }

    /// The name of the file of a device.
    pub fn image(device: &str) -> String {
        format!("{device}{IMAGE}")
    }

    /// Opens a file to read it chunk by chunk, up to one that the server has lost.
    pub fn open(&self, node: &Node, file: &str) -> io::Result<impl Read + use<>> {
        let content = File::open(node.path(&format!("{}/{file}", self.folder)))?;
        Ok(Chunks { content, left: self.about.missing.get(file).copied() })
    }

    /// The words by which the server's clients name it: `--repository REPO [--ns NS] vm/101/T`.
    pub fn words(&self) -> String {
        let space = self.storage.get("namespace").map_or_else(String::new, |space| format!(" --ns {space}"));
        format!("--repository {}{space} {}", repository(&self.storage), self.name())
    }

    /// The same without the snapshot.
    pub fn repository(&self) -> String {
        repository(&self.storage)
    }
}

/// A file of a snapshot that may lack a chunk.
struct Chunks {
    content: File,
    /// Bytes up to the missing chunk.
    left: Option<u64>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = match self.left {
            // The client's words are not among the facts.
            Some(0) => return Err(io::Error::other("blob load error - chunk not found in the datastore")),
            Some(left) => buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => buffer.len(),
        };
        let read = self.content.read(&mut buffer[..most])?;
        self.left = self.left.map(|left| left - read as u64);
        Ok(read)
    }
}

impl Node {
    /// The snapshots on a server, those of one guest only if one is named.
    pub fn snapshots(&self, storage: &Storage, vmid: Option<u32>) -> Vec<Snapshot> {
        let place = storage.place();
        let mut found = Vec::new();
        for kind in ["ct", "vm"] {
            for guest in names(&self.path(&format!("{place}/{kind}"))) {
                let group = format!("{kind}/{guest}");
                let times = names(&self.path(&format!("{place}/{group}")));
                found.extend(
                    times.iter().filter_map(|time| self.snapshot_of(storage, &format!("{group}/{time}"))),
                );
            }
        }
        found.retain(|snapshot| vmid.is_none_or(|vmid| vmid == snapshot.vmid));
        found
    }

    fn snapshot_of(&self, storage: &Storage, name: &str) -> Option<Snapshot> {
        let (kind, vmid, ctime) = parse_name(name)?;
        let folder = format!("{}/{name}", storage.place());
        let about = serde_json::from_str(&self.read(&format!("{folder}/{ABOUT}"))?).ok()?;
        let volid = format!("{}:backup/{name}", storage.id);
        Some(Snapshot { volid, kind, vmid, ctime, folder, about, storage: storage.clone() })
    }

    /// The snapshot that a volume ID names; nothing when it names something on another kind of storage.
    pub fn snapshot(&self, volid: &str) -> Outcome<Option<Snapshot>> {
        let Some((id, name)) = volid.split_once(':').filter(|_| !volid.starts_with('/')) else {
            return Ok(None);
        };
        if self.storage(id)?.kind != "pbs" {
            return Ok(None);
        }
        let storage = self.usable_storage(id)?;
        // Not among the facts.
        let bad = || Failure::new(format!("unable to parse PBS volume name '{name}'"));
        let name = name.strip_prefix("backup/").filter(|name| parse_name(name).is_some()).ok_or_else(bad)?;
        let missing = || Failure::new(format!("volume '{volid}' does not exist"));
        self.snapshot_of(&storage, name).ok_or_else(missing).map(Some)
    }

    /// Changes what a server knows of a snapshot.
    pub fn write_about(&self, snapshot: &Snapshot, about: &About) -> io::Result<()> {
        let text = serde_json::to_string_pretty(about)?;
        self.write(&format!("{}/{ABOUT}", snapshot.folder), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_guest_and_time() {
        let vm = parse_name("vm/101/2026-01-30T12:00:00Z");
        assert_eq!(vm, Some((GuestKind::Vm, 101, 1_769_774_400)));
        for bad in ["host/101/2026-01-30T12:00:00Z", "vm/web/2026-01-30T12:00:00Z", "vm/101", "vm/101/now"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_missing_chunk() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        node.write(super::super::node::storage::STORAGE_CFG, "pbs: pbs\n\tserver 10.0.0.9\n").unwrap();
        let storage = node.storage("pbs").unwrap();
        let folder = format!("{}/vm/101/2026-01-30T12:00:00Z", storage.place());
        node.write(&format!("{folder}/drive-scsi0.img.fidx"), "0123456789").unwrap();
        node.write(&format!("{folder}/{ABOUT}"), r#"{"missing": {"drive-scsi0.img.fidx": 4}}"#).unwrap();
        let snapshot = node.snapshot("pbs:backup/vm/101/2026-01-30T12:00:00Z").unwrap().unwrap();
        assert_eq!(snapshot.size(&node), 10);
        let mut read = Vec::new();
        let mut input = snapshot.open(&node, "drive-scsi0.img.fidx").unwrap();
        assert!(input.read_to_end(&mut read).is_err());
        assert_eq!(read, b"0123");
    }
}
