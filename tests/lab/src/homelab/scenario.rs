//! A homelab on its worst day.

use std::{fmt, io, str::FromStr};

use super::{Homelab, HomelabBuilder};
use crate::{
    lab::{CT, VM, trust},
    s3::Engine,
    terraform::{ENVIRONMENTS, bucket},
};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The node was installed anew: no guest is there any more, only the storage with the backups.
    NodeLost,
    /// The current state of an environment is cut off in the middle.
    StateBroken,
    /// The container with MinIO is gone.
    MinioDead,
    /// The monitoring VM does not boot.
    MonitoringDead,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NodeLost, Self::StateBroken, Self::MinioDead, Self::MonitoringDead];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NodeLost => "node-lost",
            Self::StateBroken => "state-broken",
            Self::MinioDead => "minio-dead",
            Self::MonitoringDead => "monitoring-dead",
        }
    }

    /// What the operator is told.
    pub fn task(self) -> &'static str {
        match self {
            Self::NodeLost => {
                "The disk of pve-prod died. You have installed Proxmox again and attached the storage with the\n\
                 backups; nothing else is left. docs/DISASTER-RECOVERY.md says how to go on: rebuild-minio first."
            }
            Self::StateBroken => {
                "Something wrote half a file over the state of prod; `terraform plan` fails there. Find the last\n\
                 good version and bring it back: restore-tfstate --env prod --list"
            }
            Self::MinioDead => {
                "The container with MinIO is gone, and with it the state of every environment. Its backup is there.\n\
                 See what is wrong, then bring it back: rebuild-minio --dry-run"
            }
            Self::MonitoringDead => {
                "Nobody has had an alert since yesterday: the monitoring VM does not boot. Bring it back and have\n\
                 every service proven: rebuild-monitoring --dry-run"
            }
        }
    }

    /// A homelab in which everything worked, was backed up and pulled, until this happened; `None` where something that it
    /// is made of is not installed, which is said.
    pub fn start(self, engine: Engine) -> io::Result<Option<Homelab>> {
        let builder = HomelabBuilder::default().minio(engine).monitoring(&[]);
        let Some(homelab) = builder.start()? else { return Ok(None) };
        let monitoring = homelab.log_in_to_monitoring()?;
        homelab.keep_copies()?;
        homelab.back_up_everything()?;
        match self {
            Self::NodeLost => homelab.lose_every_guest()?,
            Self::StateBroken => homelab.break_state("prod")?,
            Self::MinioDead => homelab.destroy_minio()?,
            Self::MonitoringDead => {
                homelab.done(&["qm", "stop", &monitoring.to_string()])?;
                homelab.break_disk(monitoring)?;
            }
        }
        Ok(Some(homelab))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == name);
        found.ok_or_else(|| format!("there is no scenario `{name}`; there are {names}"))
    }
}

impl Homelab {
    /// The operator has logged in to the monitoring VM before, and knows its host key. Gives its number.
    fn log_in_to_monitoring(&self) -> io::Result<u32> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no monitoring VM");
        let vmid = self.monitoring_vmid().ok_or_else(missing)?;
        self.stack().ok_or_else(missing)?.wait_until_ready()?;
        trust(self.operator(), &self.system_disk(vmid)?, self.names().monitoring)?;
        Ok(vmid)
    }

    /// The operator keeps a copy of every state, as on any good day.
    fn keep_copies(&self) -> io::Result<()> {
        let output = self.command("restore-tfstate").args(["--all", "--pull"]).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// A backup of every guest, as a job of the node makes them, and the job itself.
    pub fn back_up_everything(&self) -> io::Result<()> {
        self.write("/etc/pve/jobs.cfg", "vzdump: nightly\n\tschedule 01:00\n\tstorage local\n\tall 1\n")?;
        self.done(&["vzdump", "--all", "1", "--storage", "local", "--compress", "zstd", "--remove", "0"])
    }

    /// Every guest goes, with its disks, its configuration and its firewall. The backups and the jobs stay.
    pub fn lose_every_guest(&self) -> io::Result<()> {
        let guests =
            [("pct", Some(CT)), ("pct", self.minio_vmid()), ("qm", Some(VM)), ("qm", self.monitoring_vmid())];
        guests
            .into_iter()
            .filter_map(|(tool, vmid)| Some((tool, vmid?)))
            .try_for_each(|(tool, vmid)| self.lose(tool, vmid))
    }

    fn lose(&self, tool: &str, vmid: u32) -> io::Result<()> {
        let vmid = vmid.to_string();
        self.done(&[tool, "stop", &vmid])?;
        self.done(&[tool, "destroy", &vmid])
    }

    /// The first half of a state is written over it.
    fn break_state(&self, environment: &str) -> io::Result<()> {
        debug_assert!(ENVIRONMENTS.contains(&environment));
        let client = self.minio_client()?;
        let whole = client.get(&bucket(environment), super::KEY, None)?;
        client.put(&bucket(environment), super::KEY, &whole[..whole.len() / 2]).map(drop)
    }

    /// A command of the node that has to succeed.
    fn done(&self, words: &[&str]) -> io::Result<()> {
        let output = self.on_node(words)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("`{}` failed in the lab: {said}", words.join(" "))))
    }
}
