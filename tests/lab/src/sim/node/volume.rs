//! Volumes: names, places, making and removing them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::storage::{Room, Storage};
use super::{Failure, Node, Outcome, names, qcow2};
use crate::sim::vma::Disk;

/// The end of the name of the file that keeps what a folder cannot, next to a container volume.
const SIDECAR: &str = ".sim.json";

/// What a new image file takes at once, in bytes.
const FIRST_BLOCK: u64 = 4096;

/// A volume that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `STORAGE:NAME`.
    pub volid: String,
    /// The guest it belongs to.
    pub owner: u32,
    /// `raw`, `qcow2`, `subvol`.
    pub format: String,
    /// Its size as a guest sees it.
    pub size: u64,
    /// Its path on the node.
    pub path: String,
}

/// What a container volume's folder cannot keep without root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// The size of the file system.
    pub size: u64,
    /// User and group by path (from the root of the volume, with a leading slash) where they are not 0.
    #[serde(default)]
    pub owners: BTreeMap<String, (u32, u32)>,
}

/// Where a volume ID leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The storage.
    pub storage: Storage,
    /// What follows the storage's name.
    pub name: String,
    /// The path on the node.
    pub path: String,
    /// The guest, if the name tells.
    pub owner: Option<u32>,
}

/// Splits a volume ID.
pub fn split_volid(volid: &str) -> Outcome<(&str, &str)> {
    match volid.split_once(':') {
        Some((storage, name)) if !storage.is_empty() && !name.is_empty() && !volid.starts_with('/') => {
            Ok((storage, name))
        }
        _ => Err(Failure::new(format!("unable to parse volume ID '{volid}'"))),
    }
}

/// The guest that a volume belongs to, by its file name.
pub fn owner_of(file: &str) -> Option<u32> {
    let mut parts = file.split('-');
    let kind = parts.next()?;
    matches!(kind, "vm" | "base" | "subvol" | "basevol").then(|| parts.next()?.parse().ok()).flatten()
}

/// The format that the end of a volume's name tells.
pub fn format_of(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "qcow2")) => "qcow2",
        Some((_, "vmdk")) => "vmdk",
        Some((_, "subvol")) => "subvol",
        _ => "raw",
    }
}

/// Whether a name is one that PVE gives to backups in folders.
pub fn is_backup_name(name: &str) -> bool {
    const ENDS: [&str; 11] = [
        ".tgz", ".tar", ".vma", ".tar.gz", ".tar.lzo", ".tar.zst", ".tar.bz2", ".vma.gz", ".vma.lzo",
        ".vma.zst", ".vma.bz2",
    ];
    !name.contains('/') && ENDS.iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

impl Node {
    /// Where a volume ID leads, whether or not anything is there.
    pub fn place(&self, volid: &str) -> Outcome<Place> {
        let (id, name) = split_volid(volid)?;
        let storage = self.storage(id)?;
        let bad = || Failure::new(format!("unable to parse directory volume name '{name}'"));
        if !storage.is_folder() {
            let path = match storage.kind.as_str() {
                "zfspool" if name.starts_with("subvol-") => {
                    format!("/{}/{name}", storage.get("pool").unwrap_or("rpool"))
                }
                _ => format!("{}/{name}", storage.place()),
            };
            return Ok(Place { owner: owner_of(name), storage, name: name.into(), path });
        }
        let (folder, file) = name.rsplit_once('/').ok_or_else(bad)?;
        let (path, owner) = match folder {
            "backup" if is_backup_name(file) => {
                (format!("{}/{file}", storage.content_folder("backup")), None)
            }
            "iso" | "vztmpl" | "snippets" | "import" => {
                (format!("{}/{file}", storage.content_folder(folder)), None)
            }
            _ => {
                // A linked clone names its base in front: `100/base-100-disk-0.raw/101/vm-101-disk-0.raw`.
                let guest = folder.rsplit('/').next().unwrap_or(folder);
                let number: u32 = guest.parse().map_err(|_| bad())?;
                (format!("{}/{number}/{file}", storage.content_folder("images")), Some(number))
            }
        };
        Ok(Place { storage, name: name.into(), path, owner })
    }

    /// The volume ID of a path that lies in a storage.
    pub fn volid_of(&self, path: &str) -> Option<String> {
        self.storages().into_iter().filter(Storage::is_folder).find_map(|storage| {
            let inside = |content: &str| {
                let folder = format!("{}/", storage.content_folder(content));
                path.strip_prefix(&folder).map(str::to_owned)
            };
            if let Some(file) = inside("backup").filter(|file| is_backup_name(file)) {
                return Some(format!("{}:backup/{file}", storage.id));
            }
            let file = inside("images")?;
            Some(format!("{}:{file}", storage.id))
        })
    }

    /// The volumes of guests on a storage, sorted by ID.
    pub fn volumes(&self, storage: &Storage) -> Vec<Volume> {
        let mut found = Vec::new();
        let mut add = |name: String, path: String, owner: u32| {
            let format = if storage.is_folder() { format_of(&name) } else { "raw" }.to_owned();
            let size = self.volume_size(&path);
            found.push(Volume { volid: format!("{}:{name}", storage.id), owner, format, size, path });
        };
        if storage.is_folder() {
            let images = storage.content_folder("images");
            for guest in names(&self.path(&images)) {
                let Ok(owner) = guest.parse::<u32>() else { continue };
                for file in names(&self.path(&format!("{images}/{guest}"))) {
                    if owner_of(&file).is_some() && !file.ends_with(SIDECAR) {
                        add(format!("{guest}/{file}"), format!("{images}/{guest}/{file}"), owner);
                    }
                }
            }
        } else if matches!(storage.kind.as_str(), "lvmthin" | "lvm" | "zfspool") {
            let mut places = vec![storage.place()];
            if storage.kind == "zfspool" {
                places.push(format!("/{}", storage.get("pool").unwrap_or("rpool")));
            }
            for place in places {
                for file in names(&self.path(&place)) {
                    if let Some(owner) = owner_of(&file).filter(|_| !file.ends_with(SIDECAR)) {
                        add(file.clone(), format!("{place}/{file}"), owner);
                    }
                }
            }
        }
        found.sort_by(|a, b| a.volid.cmp(&b.volid));
        found
    }

    /// The size of a volume as a guest sees it, 0 if there is none.
    pub fn volume_size(&self, path: &str) -> u64 {
        let real = self.path(path);
        if real.is_dir() {
            return self.sidecar(path).size;
        }
        let Ok(file) = File::open(real) else { return 0 };
        if format_of(path) == "qcow2" {
            return qcow2::layout(&file).map_or(0, |(size, _)| size);
        }
        file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The name of the next volume of a guest on a storage, such as `100/vm-100-disk-2.raw`.
    pub fn next_volume_name(&self, storage: &Storage, vmid: u32, format: &str) -> String {
        let taken: Vec<u32> = self
            .volumes(storage)
            .iter()
            .filter(|volume| volume.owner == vmid)
            .filter_map(|volume| {
                let file = volume.volid.rsplit([':', '/']).next()?;
                let number = file.split_once("-disk-")?.1;
                number.split('.').next()?.parse().ok()
            })
            .collect();
        let number = (0..=u32::MAX).find(|number| !taken.contains(number)).unwrap_or_default();
        let kind = if format == "subvol" { "subvol" } else { "vm" };
        volume_name(storage, vmid, &format!("{kind}-{vmid}-disk-{number}"), format)
    }

    /// Makes an image. Gives the volume and the lines that the storage's tool prints.
    pub fn alloc_image(
        &self,
        storage_id: &str,
        vmid: u32,
        format: &str,
        name: Option<&str>,
        size: u64,
    ) -> Outcome<(Volume, Vec<String>)> {
        let storage = self.usable_storage(storage_id)?;
        let format = if storage.is_folder() { format } else { "raw" };
        let name = match name {
            Some(name) => volume_name(&storage, vmid, name, format),
            None => self.next_volume_name(&storage, vmid, format),
        };
        let volid = format!("{storage_id}:{name}");
        let path = self.place(&volid)?.path;
        let real = self.path(&path);
        if real.exists() {
            return Err(Failure::new(format!("disk image '{path}' already exists")));
        }
        if let Some(parent) = real.parent() {
            fs::create_dir_all(parent)?;
        }
        // Logical volumes come in extents of 4 MiB.
        let size = if storage.is_folder() { size } else { size.next_multiple_of(4 << 20) };
        let file = File::create_new(&real)?;
        if format == "qcow2" {
            qcow2::create(&file, size)?;
        } else {
            file.set_len(size)?;
            if storage.is_folder() {
                // The real tool fills the first block, to find out later how the file system aligns.
                file.write_all_at(&vec![0; usize::try_from(size.min(FIRST_BLOCK)).unwrap_or_default()], 0)?;
            }
        }
        let lines = allocation_lines(&storage, &path, format, size);
        Ok((Volume { volid, owner: vmid, format: format.into(), size, path }, lines))
    }

    /// Makes a container volume: a folder with a sidecar.
    pub fn alloc_folder(&self, storage_id: &str, vmid: u32, size: u64) -> Outcome<(Volume, Vec<String>)> {
        let storage = self.usable_storage(storage_id)?;
        let format = if storage.kind == "zfspool" { "subvol" } else { "raw" };
        let name = self.next_volume_name(&storage, vmid, format);
        let volid = format!("{storage_id}:{name}");
        let path = self.place(&volid)?.path;
        fs::create_dir_all(self.path(&path))?;
        self.write_sidecar(&path, &Sidecar { size, ..Sidecar::default() })?;
        let lines = allocation_lines(&storage, &path, format, size);
        Ok((Volume { volid, owner: vmid, format: format.into(), size, path }, lines))
    }

    /// What a container volume's folder cannot keep.
    pub fn sidecar(&self, path: &str) -> Sidecar {
        let text = self.read(&format!("{path}{SIDECAR}"));
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Writes what a container volume's folder cannot keep.
    pub fn write_sidecar(&self, path: &str, sidecar: &Sidecar) -> io::Result<()> {
        fs::write(self.path(&format!("{path}{SIDECAR}")), serde_json::to_vec(sidecar)?)
    }

    /// Removes a volume of a guest. A missing file is only a warning, see [`Node::take_warnings`].
    pub fn free_volume(&self, volid: &str) -> Outcome {
        let (id, _) = split_volid(volid)?;
        self.usable_storage(id)?;
        let place = self.place(volid)?;
        if let Some(clone) = self.clone_of(&place) {
            let base = &place.name;
            return Err(Failure::new(format!("base volume '{base}' is still in use (used by '{clone}')")));
        }
        let real = self.path(&place.path);
        if real.is_dir() {
            fs::remove_dir_all(&real)?;
            self.remove(&format!("{}{SIDECAR}", place.path))?;
        } else if real.exists() {
            fs::remove_file(&real)?;
        } else {
            self.warn(format!("disk image '{}' does not exist", place.path));
        }
        if !place.storage.is_folder() {
            self.warn(format!("  Logical volume \"{}\" successfully removed.", place.name));
        } else if let Some(folder) = real.parent() {
            drop(fs::remove_dir(folder)); // only when it is empty
        }
        Ok(())
    }

    /// A linked clone of a base volume.
    fn clone_of(&self, place: &Place) -> Option<String> {
        let file = place.name.rsplit('/').next()?;
        if !file.starts_with("base-") {
            return None;
        }
        let needle = format!("{}:{}/", place.storage.id, place.name);
        self.guests(super::GuestKind::Vm).into_iter().find_map(|vmid| {
            let config = self.config(super::GuestKind::Vm, vmid).ok()?;
            let used = config.main.iter().find(|(_, value)| value.starts_with(&needle))?.1;
            used.split(',').next().map(str::to_owned)
        })
    }

    /// Turns a volume into the base volume of a template; gives its new ID.
    pub fn make_base(&self, volid: &str) -> Outcome<String> {
        let renamed = volid.replacen("vm-", "base-", 1);
        let (from, to) = (self.place(volid)?.path, self.place(&renamed)?.path);
        fs::rename(self.path(&from), self.path(&to))?;
        Ok(renamed)
    }

    /// Opens a volume for writing guest data.
    pub fn write_volume<'n>(&'n self, volume: &Volume, room: Room) -> io::Result<VolumeWriter<'n>> {
        let file = File::options().read(true).write(true).open(self.path(&volume.path))?;
        let offset = if volume.format == "qcow2" { qcow2::layout(&file)?.1 } else { 0 };
        Ok(VolumeWriter { node: self, file, offset, room })
    }

    /// Reads the first bytes of a volume as a guest sees them.
    pub fn read_volume_start(&self, path: &str, length: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.path(path))?;
        let offset = if format_of(path) == "qcow2" { qcow2::layout(&file)?.1 } else { 0 };
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The real path of a volume.
    pub fn volume_path(&self, volid: &str) -> Outcome<PathBuf> {
        Ok(self.path(&self.place(volid)?.path))
    }
}

fn volume_name(storage: &Storage, vmid: u32, name: &str, format: &str) -> String {
    match format {
        _ if !storage.is_folder() => name.into(),
        "subvol" => format!("{vmid}/{name}.subvol"),
        format => format!("{vmid}/{name}.{format}"),
    }
}

fn allocation_lines(storage: &Storage, path: &str, format: &str, size: u64) -> Vec<String> {
    match (storage.kind.as_str(), format) {
        ("lvmthin" | "lvm", _) => {
            let name = path.rsplit('/').next().unwrap_or(path);
            vec![format!("  Logical volume \"{name}\" created.")]
        }
        ("zfspool", _) => Vec::new(),
        (_, "qcow2") => vec![format!(
            "Formatting '{path}', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata \
             compression_type=zlib size={size} lazy_refcounts=off refcount_bits=16"
        )],
        _ => vec![format!("Formatting '{path}', fmt={format} size={size} preallocation=off")],
    }
}

/// Writes guest data into a volume, as long as its storage has room.
pub struct VolumeWriter<'n> {
    node: &'n Node,
    file: File,
    offset: u64,
    room: Room,
}

impl Disk for VolumeWriter<'_> {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.node.spend(data.len() as u64)?;
        self.room.take(data.len() as u64)?;
        self.file.write_all_at(data, self.offset + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::STORAGE_CFG;
    use super::*;

    fn node() -> (tempfile::TempDir, Node) {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let text =
            "dir: data\n\tpath /srv\n\tcontent images\n\nlvmthin: thin\n\tvgname pve\n\tthinpool data\n";
        node.write(STORAGE_CFG, text).unwrap();
        (root, node)
    }

    #[test]
    fn new_volumes_take_the_first_free_number() {
        let (_root, node) = node();
        for expected in ["data:100/vm-100-disk-0.raw", "data:100/vm-100-disk-1.raw"] {
            assert_eq!(node.alloc_image("data", 100, "raw", None, 4096).unwrap().0.volid, expected);
        }
        node.free_volume("data:100/vm-100-disk-0.raw").unwrap();
        assert_eq!(
            node.alloc_image("data", 100, "raw", None, 1).unwrap().0.volid,
            "data:100/vm-100-disk-0.raw"
        );
        assert_eq!(node.alloc_image("thin", 100, "qcow2", None, 1).unwrap().0.volid, "thin:vm-100-disk-0");
    }

    #[test]
    fn a_path_in_a_storage_has_a_volume_id() {
        let (_root, node) = node();
        let path = "/var/lib/vz/dump/vzdump-qemu-100-2026_01_30-12_00_00.vma.zst";
        let volid = node.volid_of(path).unwrap();
        assert_eq!(volid, "local:backup/vzdump-qemu-100-2026_01_30-12_00_00.vma.zst");
        assert_eq!(node.place(&volid).unwrap().path, path);
        let bad = node.place("local:backup/foo").unwrap_err().text;
        assert_eq!(bad, "unable to parse directory volume name 'backup/foo'");
    }

    #[test]
    fn a_container_volume_keeps_its_size() {
        let (_root, node) = node();
        let (volume, _) = node.alloc_folder("data", 200, 1 << 30).unwrap();
        assert_eq!(node.volume_size(&volume.path), 1 << 30);
        assert_eq!(node.volumes(&node.storage("data").unwrap()), [volume]);
    }
}
