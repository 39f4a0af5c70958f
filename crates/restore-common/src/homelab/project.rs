//! The project and its environments.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    ENVIRONMENTS, OVERRIDES,
    check::OwnCheck,
    environment::Environment,
    error::HomelabError,
    overrides::{Drill, EnvironmentOverride, GuestOverride, MonitoringOverride, Overrides},
};
use crate::pve::Vmid;

/// How a guest of the project is proven to work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestChecks {
    /// Where it answers, when `restore.toml` says so.
    pub address: Option<String>,
    /// The TCP ports that must answer.
    pub ports: Vec<u16>,
    /// Which of them has to introduce itself as SSH.
    pub ssh_port: u16,
    /// Whether it has to answer to ping.
    pub ping: bool,
    /// What the operator wants to be asked besides. Never written down: its words may be secret.
    #[serde(skip)]
    pub own: Vec<OwnCheck>,
    /// How long it may take to come up.
    pub wait: Duration,
}

/// The operator's Terraform project.
#[derive(Debug)]
pub struct Project {
    root: PathBuf,
    pub(super) overrides: Overrides,
}

impl Project {
    /// Finds the project: the folder that `--project` names, else `RESTORE_PROJECT`, else the nearest folder at or above
    /// `cwd` that holds `infrastructure/proxmox/environments`.
    pub fn find(
        explicit: Option<&Path>,
        env: &dyn Fn(&str) -> Option<OsString>,
        cwd: &Path,
    ) -> Result<Self, HomelabError> {
        let variable = env("RESTORE_PROJECT").filter(|value| !value.is_empty()).map(PathBuf::from);
        let named = match (explicit, &variable) {
            (Some(path), _) => Some((path, "--project")),
            (None, Some(path)) => Some((path.as_path(), "RESTORE_PROJECT")),
            (None, None) => None,
        };
        let root = if let Some((path, by)) = named {
            named_root(cwd.join(path), by)?
        } else {
            let nearest = cwd.ancestors().find(|folder| folder.join(ENVIRONMENTS).is_dir());
            nearest.ok_or_else(|| HomelabError::NoProject { from: cwd.to_owned() })?.to_owned()
        };
        let overrides = Overrides::read(&root.join(OVERRIDES))?;
        Ok(Self { root, overrides })
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All environments by name: each folder below `infrastructure/proxmox/environments`, and those that `restore.toml`
    /// adds. Everything that is wrong in any of their files is reported at once; that none has any value is an error.
    pub fn environments(&self) -> Result<Vec<Environment>, HomelabError> {
        let folders = self.folders()?;
        let mut environments = Vec::new();
        let mut errors = Vec::new();
        for (name, folder) in &folders {
            let over = self.overrides.environments.get(name).cloned().unwrap_or_default();
            match Environment::read(name.clone(), folder.clone(), &over) {
                Ok(environment) => environments.push(environment),
                Err(error) => errors.push(error),
            }
        }
        match errors.len() {
            0 if environments.iter().any(Environment::is_described) => Ok(environments),
            0 => Err(self.no_tfvars(folders)),
            1 => Err(errors.remove(0)),
            _ => Err(HomelabError::Several(errors)),
        }
    }

    /// The names of all environments, whether their files can be read or not.
    pub fn names(&self) -> Result<Vec<String>, HomelabError> {
        Ok(self.folders()?.into_keys().collect())
    }

    /// The environments a run is about: the one that `--env` names, else all that are described.
    pub fn selected(&self, name: Option<&str>) -> Result<Vec<Environment>, HomelabError> {
        let Some(name) = name else {
            return Ok(self.environments()?.into_iter().filter(Environment::is_described).collect());
        };
        let mut folders = self.folders()?;
        let Some(folder) = folders.remove(name) else {
            let known = folders.into_keys().collect();
            return Err(HomelabError::UnknownEnvironment { name: name.to_owned(), known });
        };
        let over = self.overrides.environments.get(name).cloned().unwrap_or_default();
        Environment::read(name.to_owned(), folder, &over).map(|environment| vec![environment])
    }

    /// What `restore.toml` says about a guest.
    pub fn guest(&self, vmid: Vmid) -> Option<&GuestOverride> {
        self.overrides.guest(vmid)
    }

    /// What `restore.toml` says about the monitoring stack.
    pub fn monitoring(&self) -> &MonitoringOverride {
        &self.overrides.monitoring
    }

    /// The SSH port of the monitoring stack's guest, where `restore.toml` says one: for it, or for all guests.
    pub fn monitoring_ssh_port(&self) -> Option<u16> {
        let of_all = self.overrides.prove.ssh_port;
        // Port 22 is what SSH takes by itself, unless `~/.ssh/config` knows better.
        self.overrides.monitoring.ssh_port.or_else(|| (of_all != 22).then_some(of_all))
    }

    /// How a guest is proven to work: by `[guests.VMID]`, else `[prove]`, else port 22 within two minutes.
    pub fn checks(&self, vmid: Vmid) -> GuestChecks {
        let guest = self.guest(vmid).cloned().unwrap_or_default();
        let prove = &self.overrides.prove;
        GuestChecks {
            address: guest.address,
            ports: guest.ports.unwrap_or_else(|| prove.ports.clone()),
            ssh_port: guest.ssh_port.unwrap_or(prove.ssh_port),
            ping: guest.ping.unwrap_or(prove.ping),
            own: guest.checks,
            wait: Duration::from_secs(guest.wait.unwrap_or(prove.wait)),
        }
    }

    /// Where throw-away guests go.
    pub fn drill(&self) -> &Drill {
        &self.overrides.drill
    }

    /// Name and tfvars folder of each environment.
    pub(super) fn folders(&self) -> Result<BTreeMap<String, PathBuf>, HomelabError> {
        let parent = self.root.join(ENVIRONMENTS);
        let mut folders = BTreeMap::new();
        if parent.is_dir() {
            for entry in std::fs::read_dir(&parent).map_err(HomelabError::unreadable(&parent))? {
                let entry = entry.map_err(HomelabError::unreadable(&parent))?;
                // Follows symbolic links, as Terraform does.
                if entry.path().is_dir() {
                    folders.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
                }
            }
        }
        for (name, over) in &self.overrides.environments {
            self.add_override(&mut folders, name, over)?;
        }
        Ok(folders)
    }

    fn add_override(
        &self,
        folders: &mut BTreeMap<String, PathBuf>,
        name: &str,
        over: &EnvironmentOverride,
    ) -> Result<(), HomelabError> {
        if let Some(dir) = &over.tfvars_dir {
            let dir = self.root.join(dir);
            std::fs::read_dir(&dir).map_err(HomelabError::unreadable(&dir))?;
            folders.insert(name.to_owned(), dir);
        } else if !folders.contains_key(name) {
            // Neither a folder nor a node: most likely a misspelt name.
            if over.address.is_none() && over.node.is_none() {
                let known = folders.keys().cloned().collect();
                return Err(HomelabError::UnknownEnvironment { name: name.to_owned(), known });
            }
            folders.insert(name.to_owned(), self.root.join(ENVIRONMENTS).join(name));
        }
        Ok(())
    }

    fn no_tfvars(&self, folders: BTreeMap<String, PathBuf>) -> HomelabError {
        let mut searched: Vec<PathBuf> = folders.into_values().collect();
        if searched.is_empty() {
            searched.push(self.root.join(ENVIRONMENTS));
        }
        HomelabError::NoTfvars { searched }
    }
}

fn named_root(path: PathBuf, by: &'static str) -> Result<PathBuf, HomelabError> {
    if path.join(ENVIRONMENTS).is_dir() || path.join(OVERRIDES).is_file() {
        Ok(path)
    } else {
        Err(HomelabError::NotAProject { path, by })
    }
}
