//! Which volumes a restored container gets.

use crate::sim::node::GuestConfig;
use crate::sim::node::property::Properties;
use crate::sim::{Failure, Node, Outcome, Parsed, pct};

/// A root file system or mount point of the restored container.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    pub(super) key: String,
    /// Where it is mounted, `/` for the root file system.
    pub(super) path: String,
    pub(super) storage: String,
    pub(super) size: u64,
    pub(super) properties: Properties,
}

impl Mount {
    /// Whether a volume is made for it; a folder or device of the host is only put into the configuration.
    pub(super) fn is_volume(&self) -> bool {
        pct::volume(&self.properties).is_some()
    }
}

pub(super) fn is_indexed(key: &str, family: &str) -> bool {
    key.strip_prefix(family).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a parameter is a mount point beside the root file system.
pub(super) fn is_mount_key(key: &str) -> bool {
    is_indexed(key, "mp")
}

/// What can be said before the archive is read: each storage that volumes go to must take containers.
pub(super) fn check(node: &Node, call: &Parsed) -> Outcome {
    if call.get("rootfs").is_none() {
        if call.params.keys().any(|key| is_mount_key(key)) {
            return Err(Failure::new("mount points configured, but 'rootfs' not set - aborting"));
        }
        return check_storage(node, default_storage(call));
    }
    let mounts = given(call)?;
    mounts.iter().filter(|mount| mount.is_volume()).try_for_each(|mount| check_storage(node, &mount.storage))
}

/// Where volumes go that no parameter names a storage for.
fn default_storage(call: &Parsed) -> &str {
    call.get("storage").unwrap_or("local")
}

fn check_storage(node: &Node, id: &str) -> Outcome {
    let storage = node.usable_storage(id)?;
    if storage.allows("rootdir") {
        return Ok(());
    }
    Err(Failure::new(format!(
        "400 Parameter verification failed.\nstorage: storage '{id}' does not support container directories\n\
         pct restore <vmid> <ostemplate> [OPTIONS]"
    )))
}

/// The mounts that were named on the command line; without a root file system among them, those of the archive.
pub(super) fn mounts(call: &Parsed, config: &GuestConfig) -> Outcome<Vec<Mount>> {
    if call.get("rootfs").is_some() {
        return given(call);
    }
    let storage = default_storage(call);
    pct::mounts(&config.main)
        .into_iter()
        .map(|(key, properties)| {
            let path = properties.get("mp").unwrap_or("/").to_owned();
            let size = super::size_of(&properties);
            let is_volume = pct::volume(&properties).is_some();
            let size = match size {
                None if is_volume => {
                    return Err(Failure::new(format!(
                        "unable to detect disk size - please specify {key} (size)"
                    )));
                }
                size => size.unwrap_or_default(),
            };
            Ok(Mount { key, path, storage: storage.to_owned(), size, properties })
        })
        .collect()
}

/// `--rootfs STORAGE:GIB`, `--mp0 STORAGE:GIB,mp=/data`; a bare `GIB` is on the default storage.
fn given(call: &Parsed) -> Outcome<Vec<Mount>> {
    let keys = std::iter::once("rootfs".to_owned()).chain((0..256).map(|n| format!("mp{n}")));
    let named = keys.filter_map(|key| call.get(&key).map(|value| (key.clone(), Properties::parse(value))));
    named
        .map(|(key, properties)| {
            let path = properties.get("mp").unwrap_or("/").to_owned();
            let wrong = || Failure::new(format!("unable to parse volume of {key}"));
            let Some(volume) = pct::volume(&properties) else {
                return Ok(Mount { key, path, storage: String::new(), size: 0, properties });
            };
            let (storage, size) = volume.split_once(':').unwrap_or((default_storage(call), volume));
            let gib: f64 = size.parse().map_err(|_| wrong())?;
            // The real program counts in KiB.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let size = (gib * 1_048_576.0) as u64 * 1024;
            Ok(Mount { path, storage: storage.to_owned(), size, properties, key })
        })
        .collect()
}
