//! Which disks of an archive go where.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::node::property::Properties;
use crate::sim::node::volume::{format_of, split_volid};
use crate::sim::vma::{Device, Header};
use crate::sim::{Failure, Node, Outcome};

/// A cloud-init drive is not in the archive; it is made anew with this size.
const CLOUDINIT_SIZE: u64 = 4 << 20;

/// A disk to be made.
pub(super) struct DiskPlan {
    pub(super) storage: String,
    pub(super) format: String,
    pub(super) size: u64,
    /// Where its data comes from; a cloud-init drive has none.
    pub(super) device: Option<Device>,
    pub(super) cloudinit: bool,
}

/// What an archive becomes.
pub(super) struct Plan {
    /// The disks by their keys, in the order in which they are made.
    pub(super) disks: BTreeMap<String, DiskPlan>,
    /// The configuration as it stands in the archive.
    pub(super) config: String,
    pub(super) template: bool,
}

impl Plan {
    /// Reads the map lines; refuses what does not fit together.
    pub(super) fn new(node: &Node, header: &Header, storage: Option<&str>) -> Outcome<Self> {
        let config = header.config("qemu-server.conf");
        let config = config.ok_or_else(|| Failure::new("no configuration file in archive"))?;
        let config = String::from_utf8_lossy(config).into_owned();
        let mut plan = Self { disks: BTreeMap::new(), template: false, config };
        let mut mapped = BTreeSet::new();
        for line in plan.config.clone().lines() {
            if let Some(map) = line.strip_prefix("#qmdump#map:") {
                let fields: Vec<_> = map.split(':').collect();
                let [key, name, on, format, ""] = fields[..] else { continue };
                let device = header.devices.iter().find(|device| device.name == name);
                let missing = || Failure::new(format!("archive does not contain data for drive '{key}'"));
                let device = device.ok_or_else(missing)?.clone();
                mapped.insert(device.id);
                let on = storage.unwrap_or(if on.is_empty() { "local" } else { on });
                let disk = DiskPlan {
                    storage: on.into(),
                    format: wanted_format(format).into(),
                    size: device.size,
                    device: Some(device),
                    cloudinit: false,
                };
                plan.disks.insert(key.into(), disk);
            } else if let Some((key, value)) = line.split_once(": ") {
                plan.template |= key == "template" && value.trim() == "1";
                plan.cloudinit(key, value.trim(), storage);
            }
        }
        if let Some(device) = header.devices.iter().find(|device| !mapped.contains(&device.id)) {
            let name = &device.name;
            return Err(Failure::new(format!("found no device mapping information for device '{name}'")));
        }
        for id in plan.storages() {
            if !node.storage(id)?.allows("images") {
                return Err(Failure::new(format!(
                    "Content type 'images' is not available on storage '{id}'"
                )));
            }
        }
        Ok(plan)
    }

    fn cloudinit(&mut self, key: &str, value: &str, storage: Option<&str>) {
        let disk = Properties::parse(value);
        if key.starts_with('#') || !disk.is_cdrom() || !disk.is_cloudinit() {
            return;
        }
        let Some(Ok((on, name))) = disk.volume().map(split_volid) else { return };
        let disk = DiskPlan {
            storage: storage.unwrap_or(on).into(),
            format: format_of(name).into(),
            size: CLOUDINIT_SIZE,
            device: None,
            cloudinit: true,
        };
        self.disks.insert(key.into(), disk);
    }

    /// The storages that disks go to, sorted.
    pub(super) fn storages(&self) -> BTreeSet<&str> {
        self.disks.values().map(|disk| disk.storage.as_str()).collect()
    }
}

/// The format of the backup, if the lab's storages can do it.
fn wanted_format(format: &str) -> &str {
    if format == "qcow2" { format } else { "raw" }
}
