//! `pct restore`: checks, the task, and what each failure leaves behind.
//!
//! The order of everything here is the real one: the new volumes are made first, then the old container is destroyed with
//! all its volumes, and only then the archive is unpacked. A failure from there on leaves nothing.

use super::node::property::{Properties, format_size, parse_size};
use super::node::{GuestConfig, Task, Volume};
use super::{Failure, GuestKind, Io, Node, Outcome, Parsed, pct};

mod archive;
pub(super) mod create;
mod layout;
mod unpack;

use archive::Archive;
use layout::Mount;

const CT: GuestKind = GuestKind::Ct;

/// Parameters that say how to restore; all others are settings of the container.
const OWN: [&str; 14] = [
    "vmid",
    "ostemplate",
    "force",
    "storage",
    "unique",
    "start",
    "pool",
    "bwlimit",
    "ignore-unpack-errors",
    "node",
    "restore",
    "ha-managed",
    "ssh-public-keys",
    "password",
];

pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let vmid = call.vmid();
    let unable = format!("unable to restore CT {vmid} - ");
    if let Err(failure) = checks(node, call, io) {
        io.complain(&failure.text);
        return failure.status;
    }
    let status = node.worker(io, "vzrestore", &vmid.to_string(), |task| {
        let mut restore = Restore { node, call, vmid, task, begun: false, made: Vec::new() };
        let outcome = restore.run();
        restore.conclude(outcome).map_err(|failure| failure.prefixed(&unable))
    });
    if status == 0 && call.is_on("start") {
        // An own task: its failure is told and does not count.
        let mut output = Vec::new();
        let (_, outcome) = node.subtask(&mut output, "vzstart", &vmid.to_string(), |task| {
            pct::start_ct(node, vmid, false, task)
        });
        drop(io.stdout.write_all(&output));
        if let Err(failure) = outcome {
            io.line(&failure.text);
        }
    }
    status
}

/// What is checked before there is a task. Nothing is changed but the lock, which comes last.
fn checks(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let vmid = call.vmid();
    let refuse = |text: String| Err(Failure::new(text));
    if !node.settings().quorum {
        return refuse("cluster not ready - no quorum?".into());
    }
    let found = node.find_guest(vmid);
    if let Some((kind, on)) = &found
        && (!call.is_on("force") || *kind != CT || on != node.name())
    {
        return Err(Failure::with_status(
            format!("{} {vmid} already exists on node '{on}'", kind.label()),
            2,
        ));
    }
    let unable = format!("unable to restore CT {vmid} - ");
    let old = found.is_some().then(|| node.config(CT, vmid)).transpose()?;
    if old.is_some() {
        if node.running(CT, vmid).is_some() {
            return refuse("can't overwrite running container".into());
        }
        if old.as_ref().is_some_and(|config| config.main.is_on("protection")) {
            return refuse(format!("{unable}protection mode enabled"));
        }
    }
    if let Some(pool) = call.get("pool").filter(|pool| !node.has_pool(pool)) {
        return Err(Failure::with_status(
            format!("403 Permission check failed (pool '{pool}' does not exist)"),
            2,
        ));
    }
    Archive::check_name(node, call.get("ostemplate").unwrap_or_default())?;
    layout::check(node, call)?;
    let _lock = node
        .lock_guest(CT, vmid, 5, &mut |text| drop(write!(io.stderr, "{text}")))
        .map_err(|failure| failure.prefixed(&unable))?;
    let mut config = old.unwrap_or_default();
    if let Some(lock) = config.lock() {
        return refuse(format!("{unable}CT is locked ({lock})"));
    }
    config.main.set("lock", "create");
    node.write_config(CT, vmid, &config)
}

struct Restore<'r, 'a> {
    node: &'r Node,
    call: &'r Parsed,
    vmid: u32,
    task: &'r mut Task<'a>,
    /// Volumes are being made: from here on a failure takes the configuration with it.
    begun: bool,
    made: Vec<Volume>,
}

impl Restore<'_, '_> {
    fn run(&mut self) -> Outcome {
        let (node, vmid) = (self.node, self.vmid);
        let old = node.config(CT, vmid)?;
        let name = self.call.get("ostemplate").unwrap_or_default();
        self.task.line(&format!("recovering backed-up configuration from '{name}'"))?;
        let archive = Archive::find(node, name)?;
        let inside = archive.read_config(node, self.task)?;
        let mut config = GuestConfig::parse(&inside.config);
        let mounts = layout::mounts(self.call, &config)?;
        self.begun = true;
        let unprivileged = self.is_unprivileged(&config);
        for mount in mounts.iter().filter(|mount| mount.is_volume()) {
            self.make_volume(mount, unprivileged)?;
        }
        pct::remove_volumes(node, vmid, &old, self.task)?;
        // What a killed restore leaves of the configuration.
        let mut locked = GuestConfig::default();
        locked.main.set("lock", "create");
        node.write_config(CT, vmid, &locked)?;
        self.task.line(&format!("restoring '{name}' now.."))?;
        self.unpack(&archive, &mounts, unprivileged)?;
        self.task.line("merging backed-up and given configuration..")?;
        self.merge(&mut config, &mounts)?;
        if let Some(firewall) = inside.firewall.filter(|text| !text.is_empty()) {
            node.write(&Node::firewall_path(vmid), &firewall)?;
            if let Some(root) = self.made.first() {
                node.remove(&format!("{}/etc/vzdump/pct.fw", root.path))?;
            }
        }
        if let Some(pool) = self.call.get("pool") {
            node.join_pool(pool, vmid)?;
        }
        if self.call.is_on("ha-managed") {
            node.set_ha_state(CT, vmid, if self.call.is_on("start") { "started" } else { "stopped" })?;
        }
        if config.main.is_on("template") {
            self.task.line("Convert restored container to template...")?;
            self.make_template(&mut config)?;
        }
        node.write_config(CT, vmid, &config)
    }

    fn is_unprivileged(&self, config: &GuestConfig) -> bool {
        match self.call.get("unprivileged") {
            Some(_) => self.call.is_on("unprivileged"),
            None => config.main.is_on("unprivileged"),
        }
    }

    fn make_volume(&mut self, mount: &Mount, unprivileged: bool) -> Outcome {
        let (volume, lines) = self.node.alloc_folder(&mount.storage, self.vmid, mount.size)?;
        self.made.push(volume.clone());
        for line in lines {
            self.task.line(&line)?;
        }
        // A subvolume is a file system already.
        if volume.format == "subvol" {
            return Ok(());
        }
        self.format(mount, &volume, unprivileged)
    }

    /// Makes the file system. Its own tables take a little of the volume, and so of the storage.
    fn format(&mut self, mount: &Mount, volume: &Volume, unprivileged: bool) -> Outcome {
        const BLOCK: u64 = 4096;
        let owner = if unprivileged { 100_000 } else { 0 };
        let command = format!("mkfs.ext4 -O mmp -E 'root_owner={owner}:{owner}' {}", volume.path);
        let small = mount.size < 512 << 20;
        let (size, unit) = if small { (mount.size / 1024, "1k") } else { (mount.size / BLOCK, "4k") };
        let inodes = if small { mount.size / 4096 } else { mount.size / 16_384 };
        self.task.line(&format!("Creating filesystem with {size} {unit} blocks and {inodes} inodes"))?;
        self.task.line(&format!("Filesystem UUID: {}", super::node::random::uuid()))?;
        self.task.line("Superblock backups stored on blocks: ")?;
        let room = self.node.room(&self.node.storage(&mount.storage)?);
        room.take(unpack::table_size(volume))
            .map_err(|_| Failure::new(format!("command '{command}' failed: exit code 1")))
    }

    fn unpack(&mut self, archive: &Archive, mounts: &[Mount], unprivileged: bool) -> Outcome {
        let volumes = mounts.iter().filter(|mount| mount.is_volume()).zip(&self.made);
        let targets: Vec<_> = volumes.map(|(mount, volume)| (mount.path.clone(), volume.clone())).collect();
        let ignore = self.call.is_on("ignore-unpack-errors");
        unpack::all(
            self.node,
            self.task,
            archive,
            &targets,
            &unpack::Options { vmid: self.vmid, unprivileged, ignore },
        )
    }

    /// The configuration of the archive, with the volumes where they are now and the settings that were given.
    fn merge(&mut self, config: &mut GuestConfig, mounts: &[Mount]) -> Outcome {
        config.sections.clear();
        for key in ["lock", "parent", "snapstate"] {
            config.main.remove(key);
        }
        let old: Vec<_> = config.main.iter().map(|(key, _)| key.to_owned()).collect();
        for key in old
            .iter()
            .filter(|key| *key == "rootfs" || layout::is_mount_key(key) || key.starts_with("unused"))
        {
            config.main.remove(key);
        }
        let mut made = self.made.iter();
        for mount in mounts {
            let mut properties = mount.properties.clone();
            if mount.is_volume()
                && let Some(volume) = made.next()
            {
                properties.remove("volume");
                properties.value = Some(volume.volid.clone());
                properties.set("size", format_size(mount.size));
            }
            config.main.set(&mount.key, properties.to_string());
        }
        if self.call.is_on("unique") {
            new_addresses(config);
        }
        self.override_settings(config);
        for (key, value) in
            [("hostname", format!("CT{}", self.vmid)), ("memory", "512".into()), ("swap", "512".into())]
        {
            if config.main.get(key).is_none() {
                config.main.set(key, value);
            }
        }
        Ok(())
    }

    fn override_settings(&self, config: &mut GuestConfig) {
        let given = self.call.params.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
        for (key, value) in given.filter(|(key, _)| {
            *key != "rootfs" && !layout::is_mount_key(key) && !layout::is_indexed(key, "unused")
        }) {
            match key.as_str() {
                "description" => config.main.description = Some(value.trim_end_matches('\n').to_owned()),
                // The key goes away altogether: absent means privileged.
                "unprivileged" if !self.call.is_on("unprivileged") => drop(config.main.remove(key)),
                _ => config.main.set(key, value),
            }
        }
    }

    fn make_template(&mut self, config: &mut GuestConfig) -> Outcome {
        for (key, mut mount) in pct::mounts(&config.main) {
            let Some(volid) = pct::volume(&mount).map(str::to_owned) else { continue };
            mount.value = Some(self.node.make_base(&volid)?);
            config.main.set(&key, mount.to_string());
        }
        Ok(())
    }

    /// After a failure: before the first volume only the lock goes; later everything that was made, and the
    /// configuration and the firewall file as well.
    fn conclude(&mut self, outcome: Outcome) -> Outcome {
        let Err(failure) = outcome else { return Ok(()) };
        if failure.killed || self.task.is_killed() {
            return Err(failure);
        }
        let (node, vmid) = (self.node, self.vmid);
        if !self.begun {
            let mut config = node.config(CT, vmid)?;
            config.main.remove("lock");
            if config == GuestConfig::default() {
                node.remove_config(CT, vmid)?;
            } else {
                node.write_config(CT, vmid, &config)?;
            }
            return Err(failure);
        }
        for volume in &self.made {
            if let Err(error) = node.free_volume(&volume.volid) {
                self.task.line(&error.text)?;
            }
        }
        drop(node.take_warnings());
        node.remove(&Node::firewall_path(vmid))?;
        node.forget_access(vmid)?;
        node.remove_config(CT, vmid)?;
        Err(failure)
    }
}

/// New hardware addresses for all network interfaces.
fn new_addresses(config: &mut GuestConfig) {
    let nets: Vec<_> = config.main.iter().filter(|(key, _)| layout::is_indexed(key, "net")).collect();
    let nets: Vec<_> =
        nets.into_iter().map(|(key, value)| (key.to_owned(), Properties::parse(value))).collect();
    for (key, mut net) in nets {
        net.set("hwaddr", super::node::random::mac());
        config.main.set(&key, net.to_string());
    }
}

/// A size that stands in a configuration, in bytes.
fn size_of(mount: &Properties) -> Option<u64> {
    mount.get("size").and_then(parse_size)
}
