//! One environment of a project.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::HomelabError,
    overrides::EnvironmentOverride,
    tfvars::{Field, Tfvars},
};
use crate::{
    pve::{GuestKind, NodeName, StorageId},
    ui::Secret,
};

/// The guests that the modules name themselves.
pub const MONITORING_VM: &str = "monitoring-stack";
const MINIO_CONTAINER: &str = "monitoring-minio";

/// A node as the project describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRef {
    /// The environment it belongs to.
    pub environment: String,
    /// Where to reach it: a name or an address, IPv6 without brackets. Taken as it stands in the project's files.
    pub address: String,
    /// Its name, where the project tells; otherwise the node has to be asked.
    pub node: Option<NodeName>,
    /// The user to log in as, where `restore.toml` tells.
    pub ssh_user: Option<String>,
    /// The SSH port, where `restore.toml` tells.
    pub ssh_port: Option<u16>,
}

impl NodeRef {
    /// The node for messages: `pve-prod (192.168.1.100)`.
    pub fn label(&self) -> String {
        match &self.node {
            Some(name) if name.as_str() != self.address => format!("{name} ({})", self.address),
            _ => self.address.clone(),
        }
    }
}

/// A guest that the project declares. VMIDs are not in tfvars; the name connects it with the node's guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredGuest {
    /// Its name on the node: `prod-web`.
    pub name: String,
    /// VM or container.
    pub kind: GuestKind,
    /// Its address, without the prefix length; `None` when it has none or gets one by DHCP.
    pub address: Option<String>,
}

/// The S3 server of the project: the block `minio`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minio {
    /// Where it answers.
    pub address: Option<String>,
    /// Its S3 port.
    pub port: u16,
    /// The name of its first user.
    pub root_user: String,
    /// The password of that user.
    pub root_password: Option<Secret>,
    /// The buckets it is meant to have.
    pub buckets: Vec<String>,
}

/// The monitoring stack of the project: the block `monitoring`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// Where it answers.
    pub address: Option<String>,
    /// The node that its VM is on, where that is not the environment's.
    pub node: Option<NodeName>,
    /// The password of Grafana's first user.
    pub grafana_password: Option<Secret>,
}

/// Any stack of the project: a block with the VM that its services run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredStack {
    /// Where its VM is, without the prefix length; `None` when it has no address or gets one by DHCP.
    pub address: Option<String>,
    /// Whether there is to be one: `enabled` in the block, which may be absent.
    pub enabled: bool,
}

/// One environment: what its tfvars and `restore.toml` say.
#[derive(Clone, Debug)]
pub struct Environment {
    name: String,
    dir: PathBuf,
    tfvars: Arc<Tfvars>,
    node: Option<NodeRef>,
    storage: Option<StorageId>,
    guests: Vec<DeclaredGuest>,
    minio: Option<Minio>,
    monitoring: Option<Monitoring>,
}

impl Environment {
    /// Reads the environment whose tfvars lie in `dir`.
    pub(super) fn read(name: String, dir: PathBuf, over: &EnvironmentOverride) -> Result<Self, HomelabError> {
        // An environment that only `restore.toml` describes has no folder.
        let tfvars = if dir.is_dir() { Tfvars::read(&dir)? } else { Tfvars::default() };
        let storage = match &over.storage {
            Some(storage) => Some(storage.clone()),
            None => tfvars.get("backup").get("storage")?.parsed()?,
        };
        Ok(Self {
            node: node(&name, &tfvars, over)?,
            storage,
            guests: guests(&name, &tfvars)?,
            minio: minio(&tfvars.get("minio"))?,
            monitoring: monitoring(&tfvars)?,
            tfvars: Arc::new(tfvars),
            name,
            dir,
        })
    }

    /// Its name: that of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder with its tfvars.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether anything is known about it: a folder without tfvars may be a module or a leftover.
    pub fn is_described(&self) -> bool {
        !self.tfvars.files.is_empty() || self.node.is_some()
    }

    /// Its node; an error when the files do not tell where that is.
    pub fn node(&self) -> Result<&NodeRef, HomelabError> {
        let keys = ["proxmox_endpoint", "pve_ip", "default_node", "pve_node"];
        let instead =
            "`address` in `[environments.NAME]` of `restore.toml`, or another environment with `--env`";
        self.node.as_ref().ok_or_else(|| self.absent("where its node is", &keys, instead))
    }

    /// The storage its backups go to.
    pub fn storage(&self) -> Option<&StorageId> {
        self.storage.as_ref()
    }

    /// The guests it declares.
    pub fn guests(&self) -> &[DeclaredGuest] {
        &self.guests
    }

    /// The declared guest with this name on the node.
    pub fn guest(&self, name: &str) -> Option<&DeclaredGuest> {
        self.guests.iter().find(|guest| guest.name == name)
    }

    /// Its S3 server, where this is the environment that has one.
    pub fn minio(&self) -> Option<&Minio> {
        self.minio.as_ref()
    }

    /// Its monitoring stack, where this is the environment that has one.
    pub fn monitoring(&self) -> Option<&Monitoring> {
        self.monitoring.as_ref()
    }

    /// The stack of the block `key`, like `tooling = { enabled = true, vm = { ip = … } }`, where this is the environment that
    /// has it.
    pub fn stack(&self, key: &str) -> Result<Option<DeclaredStack>, HomelabError> {
        let block = self.tfvars.get(key);
        if !block.is_present()? {
            return Ok(None);
        }
        Ok(Some(DeclaredStack {
            address: address_of(&block.get("vm")?.get("ip")?)?,
            enabled: block.get("enabled")?.flag()?.unwrap_or(true),
        }))
    }

    /// The error that a needed value is in none of this environment's files: `what` in words, the `keys` that would hold
    /// it, and the flag (or key of `restore.toml`) to use `instead`.
    pub fn absent(&self, what: &'static str, keys: &[&str], instead: &'static str) -> HomelabError {
        let files = &self.tfvars.files;
        let searched = if files.is_empty() { vec![self.dir.clone()] } else { files.clone() };
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        HomelabError::Absent { environment: self.name.clone(), what, keys, searched, instead }
    }
}

fn node(name: &str, tfvars: &Tfvars, over: &EnvironmentOverride) -> Result<Option<NodeRef>, HomelabError> {
    let node = match &over.node {
        Some(node) => Some(node.clone()),
        None => match tfvars.get("default_node").parsed()? {
            Some(node) => Some(node),
            None => tfvars.get("pve_node").parsed()?,
        },
    };
    let address = match &over.address {
        Some(address) => Some(address.clone()),
        None => match endpoint_host(&tfvars.get("proxmox_endpoint"))? {
            Some(host) => Some(host),
            None => address_of(&tfvars.get("pve_ip"))?.or_else(|| node.as_ref().map(ToString::to_string)),
        },
    };
    Ok(address.map(|address| NodeRef {
        environment: name.to_owned(),
        address,
        node,
        ssh_user: over.ssh_user.clone(),
        ssh_port: over.ssh_port,
    }))
}

fn endpoint_host(field: &Field<'_>) -> Result<Option<String>, HomelabError> {
    let Some(endpoint) = field.text()? else { return Ok(None) };
    match host_of(endpoint) {
        Some(host) => Ok(Some(host.to_owned())),
        None => Err(field.error("names no host; it is written like `https://192.168.1.100:8006`")),
    }
}

/// The host of a URL, or of `HOST`, `HOST:PORT`, `[IPv6]:PORT` without a scheme.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        // More than one colon: a bare IPv6 address.
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next()?,
    };
    Some(host).filter(|host| !host.is_empty())
}

fn guests(environment: &str, tfvars: &Tfvars) -> Result<Vec<DeclaredGuest>, HomelabError> {
    let mut guests = Vec::new();
    for (key, kind) in [("vms", GuestKind::Qemu), ("containers", GuestKind::Lxc)] {
        for (name, guest) in tfvars.get(key).entries()? {
            let address = address_of(&guest.get("ip")?)?;
            guests.push(DeclaredGuest { name: format!("{environment}-{name}"), kind, address });
        }
    }
    let monitoring = tfvars.get("monitoring").get("vm")?;
    let minio = tfvars.get("minio");
    for (block, name, kind) in
        [(monitoring, MONITORING_VM, GuestKind::Qemu), (minio, MINIO_CONTAINER, GuestKind::Lxc)]
    {
        if block.is_present()? {
            guests.push(DeclaredGuest {
                name: name.to_owned(),
                kind,
                address: address_of(&block.get("ip")?)?,
            });
        }
    }
    Ok(guests)
}

/// An address without its prefix length. Words that say how to get one are none.
fn address_of(field: &Field<'_>) -> Result<Option<String>, HomelabError> {
    let address = field.text()?.and_then(|text| text.split('/').next());
    let is_method =
        |text: &str| ["dhcp", "auto", "manual"].iter().any(|word| text.eq_ignore_ascii_case(word));
    Ok(address.filter(|text| !text.is_empty() && !is_method(text)).map(str::to_owned))
}

fn minio(field: &Field<'_>) -> Result<Option<Minio>, HomelabError> {
    if !field.is_present()? {
        return Ok(None);
    }
    let password = field.get("root_password")?.text()?;
    Ok(Some(Minio {
        address: address_of(&field.get("ip")?)?,
        port: field.get("port")?.port()?.unwrap_or(9000),
        root_user: field.get("root_user")?.text()?.unwrap_or("minioadmin").to_owned(),
        root_password: password.map(|text| Secret::from(text.to_owned())),
        buckets: field.get("buckets")?.texts()?,
    }))
}

fn monitoring(tfvars: &Tfvars) -> Result<Option<Monitoring>, HomelabError> {
    let block = tfvars.get("monitoring");
    if !block.is_present()? {
        return Ok(None);
    }
    let own = block.get("grafana_admin_password")?;
    let password = match own.text()? {
        Some(password) => Some(password),
        None => tfvars.get("grafana_admin_password").text()?,
    };
    Ok(Some(Monitoring {
        address: address_of(&block.get("vm")?.get("ip")?)?,
        node: block.get("node")?.parsed()?,
        grafana_password: password.map(|text| Secret::from(text.to_owned())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("https://192.168.1.100:8006", Some("192.168.1.100"))]
    #[case("https://pve.example.org/api2/json", Some("pve.example.org"))]
    #[case("https://[fd00::1]:8006/", Some("fd00::1"))]
    #[case("fd00::1", Some("fd00::1"))]
    #[case("192.168.1.100:8006", Some("192.168.1.100"))]
    #[case("https://user:pass@pve:8006", Some("pve"))]
    #[case("https://$(reboot):8006", Some("$(reboot)"))]
    #[case("https://", None)]
    #[case("https://:8006", None)]
    #[case("https://[fd00::1", None)]
    fn the_host_of_an_endpoint(#[case] url: &str, #[case] host: Option<&str>) {
        assert_eq!(host_of(url), host);
    }
}
