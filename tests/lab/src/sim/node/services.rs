//! The services inside of containers: units that their files describe, and what became of them since the start.

use serde::{Deserialize, Serialize};

use super::property::Properties;
use super::{GuestKind, Node, Outcome};

/// Where a container has its units.
const UNITS: &str = "etc/systemd/system";

/// What a service does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// It works.
    Active,
    /// It was never started, or stopped.
    #[default]
    Inactive,
    /// Its process died.
    Failed,
}

impl Activity {
    /// As `systemctl is-active` says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
        }
    }
}

/// What a node remembers of a service since its container was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The start of the container that this is about.
    since_ms: u64,
    /// What it does.
    pub activity: Activity,
    /// The last thing that it said.
    pub said: String,
    /// How often it was started.
    pub starts: u64,
}

impl Node {
    /// The path on the node of a container's root file system.
    pub fn rootfs(&self, vmid: u32) -> Outcome<String> {
        let config = self.config(GuestKind::Ct, vmid)?;
        let rootfs = config.main.get("rootfs").map(Properties::parse).unwrap_or_default();
        Ok(self.place(rootfs.volume().unwrap_or_default())?.path)
    }

    /// Whether a container has such a unit, and starts it by itself.
    pub fn has_unit(&self, vmid: u32, name: &str) -> Option<bool> {
        let root = self.path(&self.rootfs(vmid).ok()?);
        let enabled = root.join(format!("{UNITS}/multi-user.target.wants/{name}.service"));
        root.join(format!("{UNITS}/{name}.service")).is_file().then(|| enabled.symlink_metadata().is_ok())
    }

    /// Makes a container start a unit by itself from its next start on.
    pub fn enable_unit(&self, vmid: u32, name: &str) -> Outcome {
        if let Some(now) = self.service(vmid, name) {
            self.keep_service(vmid, name, &now)?;
        }
        let wants = self.path(&format!("{}/{UNITS}/multi-user.target.wants", self.rootfs(vmid)?));
        std::fs::create_dir_all(&wants)?;
        let link = wants.join(format!("{name}.service"));
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(format!("/{UNITS}/{name}.service"), link)?;
        }
        Ok(())
    }

    /// A service of a container that has booted; nothing where there is none.
    pub fn service(&self, vmid: u32, name: &str) -> Option<Service> {
        let running = self.running(GuestKind::Ct, vmid).filter(|_| self.has_booted(GuestKind::Ct, vmid))?;
        let enabled = self.has_unit(vmid, name)?;
        let known: Option<Service> =
            self.read(&service_path(vmid, name)).and_then(|text| serde_json::from_str(&text).ok());
        Some(known.filter(|service| service.since_ms == running.since_ms).unwrap_or_else(|| Service {
            since_ms: running.since_ms,
            activity: if enabled { Activity::Active } else { Activity::Inactive },
            ..Service::default()
        }))
    }

    /// From now on the service does this.
    pub fn set_service(&self, vmid: u32, name: &str, activity: Activity, said: &str) -> Outcome {
        let Some(before) = self.service(vmid, name) else { return Ok(()) };
        let starts = before.starts + u64::from(activity == Activity::Active);
        self.keep_service(vmid, name, &Service { activity, said: said.to_owned(), starts, ..before })
    }

    fn keep_service(&self, vmid: u32, name: &str, service: &Service) -> Outcome {
        Ok(self.write(&service_path(vmid, name), &serde_json::to_string(service).unwrap_or_default())?)
    }
}

fn service_path(vmid: u32, name: &str) -> String {
    format!("/run/pve-sim/services/{vmid}-{name}")
}
