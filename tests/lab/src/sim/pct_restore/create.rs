//! A new container from a template: the same steps as a restore's, with nothing to read a configuration from.

use super::super::node::random;
use super::{Archive, CT, GuestConfig, Io, Node, Outcome, Parsed, Properties, Restore, layout, pct};
use crate::sim::Failure;

pub(in crate::sim) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let vmid = call.vmid();
    if let Err(failure) = checks(node, call) {
        io.complain(&failure.text);
        return failure.status;
    }
    let status = node.worker(io, "vzcreate", &vmid.to_string(), |task| {
        let mut restore = Restore { node, call, vmid, task, begun: true, made: Vec::new() };
        let outcome = restore.create();
        restore
            .conclude(outcome)
            .map_err(|failure| failure.prefixed(&format!("unable to create CT {vmid} - ")))
    });
    if status == 0 && call.is_on("start") {
        let mut output = Vec::new();
        let (_, outcome) = node.subtask(&mut output, "vzstart", &vmid.to_string(), |task| {
            pct::start_ct(node, vmid, false, task)
        });
        if let Err(failure) = outcome {
            io.line(&failure.text);
        }
    }
    status
}

fn checks(node: &Node, call: &Parsed) -> Outcome {
    let vmid = call.vmid();
    if !node.settings().quorum {
        return Err(Failure::new("cluster not ready - no quorum?"));
    }
    if let Some((kind, on)) = node.find_guest(vmid) {
        let text = format!("{} {vmid} already exists on node '{on}'", kind.label());
        return Err(Failure::with_status(text, 2));
    }
    let template = call.get("ostemplate").unwrap_or_default();
    if !template.split_once(':').is_some_and(|(_, name)| name.starts_with("vztmpl/")) {
        let text = format!("unable to use volume {template} - content type needs to be 'vztmpl'");
        return Err(Failure::new(text));
    }
    layout::check(node, call)?;
    let mut config = GuestConfig::default();
    config.main.set("lock", "create");
    node.write_config(CT, vmid, &config)
}

impl Restore<'_, '_> {
    fn create(&mut self) -> Outcome {
        let mut config = GuestConfig::default();
        let archive = Archive::find(self.node, self.call.get("ostemplate").unwrap_or_default())?;
        let mounts = layout::mounts(self.call, &config)?;
        let unprivileged = self.call.is_on("unprivileged");
        for mount in mounts.iter().filter(|mount| mount.is_volume()) {
            self.make_volume(mount, unprivileged)?;
        }
        self.unpack(&archive, &mounts, unprivileged)?;
        for (key, value) in [("arch", "amd64"), ("ostype", "debian")] {
            config.main.set(key, value);
        }
        self.merge(&mut config, &mounts)?;
        self.complete(&mut config)?;
        self.node.write_config(CT, self.vmid, &config)
    }

    /// What a node adds by itself: the addresses of network cards, and the container's name inside.
    fn complete(&self, config: &mut GuestConfig) -> Outcome {
        let cards = (0..32).map(|n| format!("net{n}"));
        for key in cards {
            let Some(card) = config.main.get(&key) else { continue };
            let mut card = Properties::parse(card);
            if card.get("hwaddr").is_none() {
                card.set("hwaddr", random::mac());
            }
            card.set("type", "veth");
            config.main.set(&key, card.to_string());
        }
        let name = config.main.get("hostname").unwrap_or_default();
        let Some(root) = self.made.first() else { return Ok(()) };
        Ok(self.node.write(&format!("{}/etc/hostname", root.path), &format!("{name}\n"))?)
    }
}
