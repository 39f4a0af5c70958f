//! What Docker on a guest knows: the lab writes it, the command line shows it.

use std::{
    fs, io,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::Guest;

/// The name of the compose project.
pub const PROJECT: &str = "monitoring";

/// A Docker daemon and its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docker {
    /// Why the daemon does not answer, if it does not.
    pub refusal: Option<Refusal>,
    /// The containers, whether they run or not.
    pub containers: Vec<Container>,
}

impl Docker {
    /// What a guest's Docker knows; nothing where nothing was installed.
    pub fn read(guest: &Guest) -> io::Result<Self> {
        match fs::read(Self::file(guest)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces it, whole at any moment.
    pub fn write(&self, guest: &Guest) -> io::Result<()> {
        let (file, new) = (Self::file(guest), guest.path("/var/lib/docker/lab.json.new"));
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, file)
    }

    fn file(guest: &Guest) -> PathBuf {
        guest.path("/var/lib/docker/lab.json")
    }
}

/// Why a daemon does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// It does not run.
    Down,
    /// The user is not in its group.
    Denied,
}

/// A container's state, in Docker's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It never ran.
    Created,
    /// It runs.
    Running,
    /// It stands still.
    Paused,
    /// It ended, and waits to be started again.
    Restarting,
    /// It ended.
    Exited,
    /// Docker could not remove it.
    Dead,
}

impl State {
    /// As Docker writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// What a container's own health check finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has not passed yet.
    Starting,
    /// It passed.
    Healthy,
    /// It failed too often.
    Unhealthy,
}

impl Health {
    /// As Docker writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name, which is that of its service, too.
    pub name: String,
    /// Its image with the tag.
    pub image: String,
    /// What it runs.
    pub command: Vec<String>,
    /// Its TCP ports that are the guest's as well.
    pub ports: Vec<u16>,
    /// Where it keeps its data.
    pub volume: Option<String>,
    /// Its state.
    pub state: State,
    /// What its health check finds, when it has one and runs.
    pub health: Option<Health>,
    /// What the health check printed last.
    pub health_output: String,
    /// How it ended last.
    pub exit_code: i32,
    /// How often Docker started it again.
    pub restarts: u32,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was started last.
    pub started_ms: u64,
    /// When it ended last; 0 if it never did.
    pub finished_ms: u64,
    /// The last lines of its log.
    pub log: Vec<String>,
}

impl Container {
    /// Its ID, 64 digits.
    pub fn id(&self) -> String {
        digest(&format!("{}:{}", self.name, self.created_ms))
    }

    /// That of its image.
    pub fn image_id(&self) -> String {
        format!("sha256:{}", digest(&self.image))
    }

    /// Whether its ports answer.
    pub fn is_up(&self) -> bool {
        self.state == State::Running
    }
}

pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
