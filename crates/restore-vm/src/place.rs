//! Where the disks of a backup go.
//!
//! `qmrestore` takes one storage for all disks, or puts each where the backup says. `pct restore` puts all volumes on one
//! storage, unless each is named with its storage and its size; then only those that are named are made.

use std::str::FromStr;

use restore_common::{
    procedure::Problem,
    pve::{Disk, GuestConfig, GuestKind, IdError, StorageId, map_lines},
};
use serde::{Deserialize, Serialize};

/// `--storage-map A=B`: what lay on A goes to B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageMap {
    /// As the backup has it.
    pub from: StorageId,
    /// Where it goes.
    pub to: StorageId,
}

/// Text that is not `A=B`, or names no storages.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The sign between the two is missing.
    #[error("write it as `OLD=NEW`")]
    NoSign,
    /// One of them is no name of a storage.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl FromStr for StorageMap {
    type Err = MapError;

    fn from_str(text: &str) -> Result<Self, MapError> {
        let (from, to) = text.split_once('=').ok_or(MapError::NoSign)?;
        Ok(Self { from: from.parse()?, to: to.parse()? })
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Everything on this storage.
    pub target: Option<&'a StorageId>,
    /// From one storage to another.
    pub map: &'a [StorageMap],
}

/// What the restore command has to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// One storage for everything; without it a VM's disks go where the backup says.
    pub storage: Option<StorageId>,
    /// For containers: option and value of each volume, when they go to several storages.
    pub layout: Vec<(String, String)>,
}

impl Placement {
    /// Where a guest's volumes were, to put its safety backup back. `apart` are volumes that the restore does not touch.
    pub fn as_it_was(kind: GuestKind, config: &GuestConfig, apart: &[Disk]) -> Self {
        let volumes: Vec<_> = volumes(kind, config).into_iter().filter(|v| !apart.contains(v)).collect();
        match kind {
            GuestKind::Qemu => Self::default(),
            GuestKind::Lxc => container(&volumes, Disk::storage).unwrap_or_default(),
        }
    }

    /// In words, for the summary.
    pub fn described(&self) -> Option<String> {
        if self.layout.is_empty() {
            return self.storage.as_ref().map(ToString::to_string);
        }
        let place = |(key, value): &(String, String)| {
            format!("{key} to {}", value.split(':').next().unwrap_or_default())
        };
        Some(self.layout.iter().map(place).collect::<Vec<_>>().join(", "))
    }
}

/// The disks that the restore makes.
fn volumes(kind: GuestKind, config: &GuestConfig) -> Vec<Disk> {
    let mapped = map_lines(config.text());
    let is_made = |disk: &Disk| match kind {
        GuestKind::Qemu => mapped.iter().any(|(key, _)| *key == disk.key),
        GuestKind::Lxc => disk.volume().is_some() && !disk.is_unused(),
    };
    config.disks(kind).into_iter().filter(is_made).collect()
}

/// The storage that a disk of the backup was on.
fn origin(config: &GuestConfig, disk: &Disk) -> Option<StorageId> {
    let named = map_lines(config.text()).into_iter().find(|(key, _)| *key == disk.key);
    named.and_then(|(_, storage)| storage).or_else(|| disk.storage())
}

/// Each disk of the backup with the storage that it goes to.
pub fn destinations(kind: GuestKind, inside: &GuestConfig, wish: Wish<'_>) -> Vec<(Disk, StorageId)> {
    let disks = volumes(kind, inside);
    // Without a wish a container's volumes all go to where its root file system was.
    let together = disks.iter().find(|d| kind == GuestKind::Lxc && wish.map.is_empty() && d.key == "rootfs");
    let together = wish.target.cloned().or_else(|| together.and_then(Disk::storage));
    let place = |disk: Disk| {
        let from = origin(inside, &disk);
        let mapped = wish.map.iter().find(|entry| Some(&entry.from) == from.as_ref());
        let to = together.clone().or_else(|| mapped.map(|entry| entry.to.clone())).or(from)?;
        Some((disk, to))
    };
    disks.into_iter().filter_map(place).collect()
}

/// Where the disks go; `apart` are volumes that the restore is not to make.
pub fn place(
    kind: GuestKind,
    inside: &GuestConfig,
    wish: Wish<'_>,
    apart: &[Disk],
) -> Result<Placement, Problem> {
    if let Some(unknown) = wish.map.iter().find(|entry| !is_used(kind, inside, &entry.from)) {
        let problem = Problem::new(format!("no disk of the backup is on storage `{}`", unknown.from));
        return Err(problem.hint("`--dry-run` shows the storages of the backup"));
    }
    let places = destinations(kind, inside, wish);
    let same =
        places.first().map(|(_, to)| to.clone()).filter(|to| places.iter().all(|(_, other)| other == to));
    match kind {
        GuestKind::Qemu if wish.target.is_none() && wish.map.is_empty() => Ok(Placement::default()),
        GuestKind::Qemu if same.is_some() => Ok(Placement { storage: same, layout: Vec::new() }),
        GuestKind::Qemu => {
            let places: Vec<_> = places.iter().map(|(disk, to)| format!("{} to {to}", disk.key)).collect();
            let problem = Problem::new(format!(
                "`qmrestore` takes one storage for all disks of a VM, and this is several: {}",
                places.join(", ")
            ));
            Err(problem.hint("`--target-storage` puts all of them on one"))
        }
        GuestKind::Lxc => {
            let to_make: Vec<_> = places.iter().filter(|(disk, _)| !is_among(apart, disk)).collect();
            let disks: Vec<_> = to_make.iter().map(|(disk, _)| disk.clone()).collect();
            container(&disks, |disk| to_make.iter().find(|(d, _)| d == disk).map(|(_, to)| to.clone()))
        }
    }
}

fn is_used(kind: GuestKind, inside: &GuestConfig, storage: &StorageId) -> bool {
    volumes(kind, inside).iter().any(|disk| origin(inside, disk).as_ref() == Some(storage))
}

/// What is kept is named as the present guest has it, so keys are compared.
fn is_among(apart: &[Disk], disk: &Disk) -> bool {
    apart.iter().any(|other| other.key == disk.key)
}

/// One storage where that is possible: `pct` then takes the layout from the backup.
fn container(volumes: &[Disk], to: impl Fn(&Disk) -> Option<StorageId>) -> Result<Placement, Problem> {
    let places: Vec<_> = volumes.iter().filter_map(|disk| Some((disk, to(disk)?))).collect();
    let Some((_, first)) = places.first() else { return Ok(Placement::default()) };
    if places.iter().all(|(_, storage)| storage == first) {
        return Ok(Placement { storage: Some(first.clone()), layout: Vec::new() });
    }
    let layout = places.iter().map(|(disk, storage)| Ok((disk.key.clone(), new_volume(disk, storage)?)));
    Ok(Placement { storage: None, layout: layout.collect::<Result<_, Problem>>()? })
}

/// `STORAGE:GIB` and the options of the volume.
fn new_volume(disk: &Disk, storage: &StorageId) -> Result<String, Problem> {
    let size = disk.size.ok_or_else(|| {
        let problem = Problem::new(format!("the backup does not say how large {} is", disk.key));
        problem.hint("`--target-storage` puts all volumes on one storage, which needs no sizes")
    })?;
    let is_volume = |option: &str| option.trim_start_matches("volume=") == disk.source;
    let options = disk.value.split(',').filter(|o| !is_volume(o) && !o.starts_with("size="));
    let new = format!("{storage}:{}", gibibytes(size));
    Ok(options.fold(new, |value, option| value + "," + option))
}

/// The size in GiB, exactly: as many places as it has.
fn gibibytes(bytes: u64) -> String {
    let (whole, rest) = (bytes >> 30, bytes & ((1 << 30) - 1));
    // 2^-30 has 30 decimal places.
    let places = format!("{:030}", u128::from(rest) * 5_u128.pow(30));
    let text = format!("{whole}.{places}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "scsi0: fast:vm-1-disk-0,size=1G\nscsi1: slow:vm-1-disk-1,size=2G\n\
        #qmdump#map:scsi0:drive-scsi0:fast:raw:\n#qmdump#map:scsi1:drive-scsi1:slow:raw:\n";
    const CT: &str = "rootfs: fast:ct-0,size=512M\nmp0: slow:ct-1,mp=/a,backup=1,size=1536M\n\
        mp1: slow:ct-2,mp=/b,size=1G\nmp2: /srv,mp=/srv\n";

    fn map(text: &[&str]) -> Vec<StorageMap> {
        text.iter().map(|entry| entry.parse().unwrap()).collect()
    }

    fn placed(kind: GuestKind, text: &str, entries: &[&str]) -> Result<Placement, Problem> {
        let map = map(entries);
        place(kind, &GuestConfig::parse(text), Wish { target: None, map: &map }, &[])
    }

    #[rstest::rstest]
    #[case(&[], Ok(None))]
    #[case(&["slow=fast"], Ok(Some("fast")))]
    #[case(&["slow=new", "fast=new"], Ok(Some("new")))]
    #[case(&["slow=new"], Err("takes one storage for all disks"))]
    #[case(&["gone=new"], Err("no disk of the backup is on storage `gone`"))]
    fn a_vms_disks_go_to_one_storage_or_where_the_backup_says(
        #[case] entries: &[&str],
        #[case] expected: Result<Option<&str>, &str>,
    ) {
        match (placed(GuestKind::Qemu, VM, entries), expected) {
            (Ok(placement), Ok(storage)) => {
                assert_eq!(placement.storage.as_ref().map(StorageId::as_str), storage);
            }
            (Err(problem), Err(words)) => assert!(problem.what.contains(words), "{problem:?}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_containers_volumes_go_to_one_storage_unless_a_map_says_otherwise() {
        let together = placed(GuestKind::Lxc, CT, &[]).unwrap();
        assert_eq!(together.storage.unwrap().as_str(), "fast");
        let apart = placed(GuestKind::Lxc, CT, &["slow=new"]).unwrap();
        let expected = [("mp0", "new:1.5,mp=/a,backup=1"), ("mp1", "new:1,mp=/b"), ("rootfs", "fast:0.5")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(apart.layout, expected);
        assert_eq!(apart.storage, None);
        assert_eq!(apart.described().unwrap(), "mp0 to new, mp1 to new, rootfs to fast");
    }

    #[test]
    fn what_is_kept_is_not_made_anew() {
        let config = GuestConfig::parse(CT);
        let kept: Vec<_> = config.disks(GuestKind::Lxc).into_iter().filter(|d| d.key == "mp1").collect();
        let map = map(&["slow=new"]);
        let wish = Wish { target: None, map: &map };
        let placement = place(GuestKind::Lxc, &config, wish, &kept).unwrap();
        assert_eq!(
            placement.layout.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
            ["mp0", "rootfs"]
        );
        let before = Placement::as_it_was(GuestKind::Lxc, &config, &kept);
        assert_eq!(before.layout[0].1, "slow:1.5,mp=/a,backup=1");
    }

    #[rstest::rstest]
    #[case(1 << 30, "1")]
    #[case(5 << 28, "1.25")]
    #[case((1 << 30) + (528 << 10), "1.00050354003906250")]
    fn sizes_are_exact(#[case] bytes: u64, #[case] text: &str) {
        assert_eq!(gibibytes(bytes), text.trim_end_matches('0'));
    }

    #[rstest::rstest]
    #[case("a")]
    #[case("fast")]
    #[case("=new")]
    #[case("fast=")]
    fn nonsense_is_no_map(#[case] text: &str) {
        assert!(text.parse::<StorageMap>().is_err());
    }
}
