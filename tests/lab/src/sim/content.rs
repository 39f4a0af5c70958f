//! What lies on a storage, as its listing shows it, and how it is removed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use super::backup_server::{Snapshot, Verification};
use super::clock;
use super::node::storage::{Storage, disk_usage};
use super::node::volume::{is_backup_name, owner_of, split_volid};
use super::node::{Failure, GuestKind, Node, Outcome, Task, Volume, names};

/// The content types in the order in which a node goes through them.
const TYPES: [&str; 7] = ["rootdir", "images", "vztmpl", "iso", "backup", "snippets", "import"];

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) volid: String,
    pub(super) content: &'static str,
    pub(super) format: String,
    pub(super) size: u64,
    pub(super) ctime: i64,
    pub(super) vmid: Option<u32>,
    /// For backups: what the name says about the guest.
    pub(super) subtype: Option<&'static str>,
    /// For backups: the first line of the notes.
    pub(super) notes: Option<String>,
    pub(super) protected: bool,
    /// For images: the bytes that are really taken.
    pub(super) used: Option<u64>,
    /// For snapshots: what the server found when it verified it.
    pub(super) verification: Option<Verification>,
    /// For snapshots: the fingerprint of their key.
    pub(super) encrypted: Option<String>,
}

/// What the name of a backup tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackupName {
    /// `qemu`, `lxc` or `openvz`.
    pub(super) kind: &'static str,
    /// The guest, for the names that vzdump gives.
    pub(super) vmid: Option<u32>,
    /// The time, for the names that vzdump gives.
    pub(super) ctime: Option<i64>,
    /// The name up to the first dot of the extension.
    pub(super) stem: String,
}

impl BackupName {
    /// Reads a file name; nothing if it is not `vzdump-KIND-….EXTENSION`.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(&format!(".{}", extension(file)?))?;
        let kind = ["qemu", "lxc", "openvz"].into_iter().find(|kind| {
            stem.strip_prefix(&format!("vzdump-{kind}-")).is_some_and(|rest| !rest.is_empty())
        })?;
        let rest = &stem[format!("vzdump-{kind}-").len()..];
        let standard = rest.split_once('-').and_then(|(vmid, stamp)| {
            Some((guest_number(vmid)?, clock::parse_stamp(stamp).filter(|_| stamp.len() == 19)?))
        });
        let (vmid, ctime) = standard.unzip();
        Some(Self { kind, vmid, ctime, stem: stem.to_owned() })
    }
}

/// The extension of a backup without its leading dot.
fn extension(file: &str) -> Option<&str> {
    if !is_backup_name(file) {
        return None;
    }
    let cut = [".tar", ".vma", ".tgz"].iter().filter_map(|end| file.rfind(end)).max()?;
    Some(&file[cut + 1..])
}

fn guest_number(text: &str) -> Option<u32> {
    let plain = (3..=9).contains(&text.len()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The first number in a name that stands between dashes, as the listing looks for it.
fn number_between_dashes(file: &str) -> Option<u32> {
    let stem = file.strip_suffix(&format!(".{}", extension(file)?))?;
    let parts: Vec<&str> = stem.split('-').collect();
    let inner = parts.get(1..parts.len().saturating_sub(1))?;
    inner.iter().find_map(|part| guest_number(part))
}

impl Node {
    /// Lists a storage that must be usable, sorted by lower-cased volume ID.
    pub(super) fn content(
        &self,
        storage: &str,
        content: Option<&str>,
        vmid: Option<u32>,
    ) -> Outcome<Vec<Item>> {
        let storage = self.usable_storage(storage)?;
        let wanted =
            |kind: &&'static str| content.is_none_or(|content| content == *kind) && storage.allows(kind);
        let mut items: Vec<Item> = Vec::new();
        for kind in TYPES.into_iter().filter(|kind| wanted(kind)) {
            match kind {
                "rootdir" | "images" => items.extend(self.images(&storage, kind, vmid)),
                _ if storage.is_folder() => items.extend(self.files(&storage, kind, vmid)),
                "backup" if storage.kind == "pbs" => {
                    let snapshots = self.snapshots(&storage, vmid);
                    items.extend(snapshots.into_iter().map(|snapshot| self.snapshot_item(snapshot)));
                }
                _ => {}
            }
        }
        items.sort_by_key(|item| item.volid.to_lowercase());
        Ok(items)
    }

    fn images(&self, storage: &Storage, kind: &'static str, vmid: Option<u32>) -> Vec<Item> {
        let of_kind = |volume: &Volume| {
            let is_container = matches!(self.find_guest(volume.owner), Some((GuestKind::Ct, _)));
            (kind == "rootdir") == is_container && vmid.is_none_or(|vmid| vmid == volume.owner)
        };
        let item = |volume: Volume| {
            let real = self.path(&volume.path);
            let metadata = fs::metadata(&real).ok();
            let used = if real.is_dir() { disk_usage(&real) } else { taken(metadata.as_ref()) };
            Item {
                volid: volume.volid,
                content: kind,
                format: volume.format,
                size: volume.size,
                ctime: metadata.map_or(0, |metadata| metadata.ctime()),
                vmid: Some(volume.owner),
                subtype: None,
                notes: None,
                protected: false,
                used: storage.is_folder().then_some(used),
                verification: None,
                encrypted: None,
            }
        };
        self.volumes(storage).into_iter().filter(of_kind).map(item).collect()
    }

    fn files(&self, storage: &Storage, kind: &'static str, vmid: Option<u32>) -> Vec<Item> {
        let folder = storage.content_folder(kind);
        let item = |file: String| {
            let metadata = fs::metadata(self.path(&format!("{folder}/{file}"))).ok()?;
            let format = file_format(kind, &file)?;
            let plain = Item {
                volid: format!("{}:{kind}/{file}", storage.id),
                content: kind,
                format,
                size: metadata.len(),
                ctime: metadata.ctime(),
                vmid: None,
                subtype: None,
                notes: None,
                protected: false,
                used: None,
                verification: None,
                encrypted: None,
            };
            match kind {
                _ if metadata.is_dir() => None,
                "backup" => self.backup_item(plain, &folder, &file, vmid),
                _ => vmid.is_none().then_some(plain),
            }
        };
        names(&self.path(&folder)).into_iter().filter_map(item).collect()
    }

    fn backup_item(&self, plain: Item, folder: &str, file: &str, vmid: Option<u32>) -> Option<Item> {
        // The listing looks for the number anywhere in the name, so it also finds other guests' backups.
        if vmid.is_some_and(|vmid| !file[1..].contains(&format!("-{vmid}-"))) {
            return None;
        }
        let name = BackupName::parse(file);
        let ahead = self.settings().seconds_ahead();
        let notes = self.read(&format!("{folder}/{file}.notes"));
        Some(Item {
            ctime: name.as_ref().and_then(|name| name.ctime).map_or(plain.ctime, |local| local - ahead),
            vmid: vmid.or_else(|| number_between_dashes(file)),
            subtype: Some(name.map_or("unknown", |name| name.kind)),
            notes: notes.and_then(|notes| notes.lines().next().map(str::to_owned)),
            protected: self.path(&format!("{folder}/{file}.protected")).exists(),
            ..plain
        })
    }

    fn snapshot_item(&self, snapshot: Snapshot) -> Item {
        let is_vm = snapshot.kind == GuestKind::Vm;
        Item {
            content: "backup",
            format: if is_vm { "pbs-vm" } else { "pbs-ct" }.to_owned(),
            size: snapshot.size(self),
            ctime: snapshot.ctime,
            vmid: Some(snapshot.vmid),
            subtype: Some(if is_vm { "qemu" } else { "lxc" }),
            notes: snapshot.about.notes,
            protected: snapshot.about.protected,
            used: None,
            verification: snapshot.about.verification,
            encrypted: snapshot.about.encrypted,
            volid: snapshot.volid,
        }
    }

    /// Removes a volume, backup or other file, as a task of type `imgdel` does; tells the task what it did.
    pub(super) fn remove_volume(&self, volid: &str, task: &mut Task<'_>) -> Outcome {
        let (storage, name) = split_volid(volid)?;
        self.usable_storage(storage)?;
        if let Some(snapshot) = self.snapshot(volid)? {
            if snapshot.about.protected {
                return Err(Failure::new(format!("cannot remove protected volume '{name}' on '{storage}'")));
            }
            fs::remove_dir_all(self.path(&snapshot.folder))?;
            return task.line(&format!("Removed volume '{volid}'"));
        }
        let place = self.place(volid)?;
        let Some(file) = name.strip_prefix("backup/") else {
            self.free_volume(volid)?;
            for warning in self.take_warnings() {
                task.line(&warning)?;
            }
            return task.line(&format!("Removed volume '{volid}'"));
        };
        if self.path(&format!("{}.protected", place.path)).exists() {
            return Err(Failure::new(format!("cannot remove protected volume '{name}' on '{storage}'")));
        }
        match fs::remove_file(self.path(&place.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                task.line(&format!("disk image '{}' does not exist", place.path))?;
            }
            removed => removed?,
        }
        let folder = place.path.trim_end_matches(file);
        self.remove(&format!("{}.notes", place.path))?;
        if let Some(name) = BackupName::parse(file) {
            self.remove(&format!("{folder}{}.log", name.stem))?;
        }
        task.line(&format!("Removed volume '{volid}'"))
    }

    /// The ID of the task that removes a volume: its guest, if its name tells, and the storage.
    pub(super) fn removal_id(&self, volid: &str) -> Outcome<String> {
        let place = self.place(volid)?;
        let owner = match place.name.strip_prefix("backup/") {
            Some(_) if place.storage.kind == "pbs" => self.snapshot(volid)?.map(|snapshot| snapshot.vmid),
            Some(file) => backup_owner(file),
            None => place.owner.or_else(|| owner_of(&place.name)),
        };
        let storage = &place.storage.id;
        Ok(owner.map_or_else(|| storage.clone(), |vmid| format!("{vmid}@{storage}")))
    }
}

/// The bytes that a file really takes.
pub(super) fn taken(metadata: Option<&Metadata>) -> u64 {
    metadata.map_or(0, |metadata| metadata.blocks() * 512)
}

/// The guest that owns a backup, by its name.
pub(super) fn backup_owner(file: &str) -> Option<u32> {
    let name = BackupName::parse(file)?;
    let rest = name.stem.strip_prefix(&format!("vzdump-{}-", name.kind))?;
    rest.split_once('-')?.0.parse().ok()
}

/// The format that a listing shows for a file; nothing for files of another kind.
fn file_format(kind: &str, file: &str) -> Option<String> {
    let lower = file.to_lowercase();
    let of_template = |end: &str| file.strip_suffix(&format!(".tar.{end}")).map(|_| format!("t{end}"));
    match kind {
        "backup" => extension(file).map(str::to_owned),
        "iso" => ["iso", "img"].iter().any(|end| lower.ends_with(&format!(".{end}"))).then(|| "iso".into()),
        "vztmpl" => ["gz", "xz", "zst", "bz2"].into_iter().find_map(of_template),
        "snippets" => Some("snippet".into()),
        _ => file.rsplit_once('.').map(|(_, end)| end.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_backup_is_the_first_one_between_dashes() {
        for (file, vmid) in [
            ("vzdump-qemu-100-2026_01_30-12_00_00.vma.zst", Some(100)),
            ("vzdump-qemu-101-100-note.vma.zst", Some(101)),
            ("vzdump-qemu-100-manual.vma.zst", Some(100)),
            ("mystuff.tar.gz", None),
            ("my-012-stuff.tar.gz", None),
        ] {
            assert_eq!(number_between_dashes(file), vmid, "{file}");
        }
    }

    #[test]
    fn only_names_as_vzdump_gives_them_tell_the_time() {
        let name = BackupName::parse("vzdump-lxc-200-2026_01_30-12_00_00.tar.zst").unwrap();
        assert_eq!((name.kind, name.vmid, name.ctime), ("lxc", Some(200), Some(1_769_774_400)));
        let name = BackupName::parse("vzdump-qemu-101-100-note.vma").unwrap();
        assert_eq!(
            (name.kind, name.ctime, backup_owner("vzdump-qemu-101-100-note.vma")),
            ("qemu", None, Some(101))
        );
        assert_eq!(BackupName::parse("web01.vma.zst"), None);
    }
}
