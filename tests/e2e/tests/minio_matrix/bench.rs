//! Where cases are tried: a homelab, and copies of it as it is at the beginning of each mode.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use restore_e2e::terraform::Faulty;
use restore_lab::{
    homelab::{Homelab, HomelabCheckpoint},
    terraform::ENVIRONMENTS,
};
use serde_json::Value;

use crate::case::Mode;

/// A homelab, and how it was.
pub struct Bench {
    pub homelab: Homelab,
    /// The states when all was well.
    pub states: BTreeMap<&'static str, Value>,
    /// The volumes of the container when all was well.
    pub volumes: Vec<String>,
    beginnings: BTreeMap<String, Beginning>,
    /// What the operator's `TF_BIN` is.
    pub terraform: Faulty,
    _control: tempfile::TempDir,
}

/// How a mode begins: node and project, and what the operator's programs keep.
struct Beginning {
    homelab: HomelabCheckpoint,
    memory: tempfile::TempDir,
}

impl Bench {
    fn start() -> io::Result<Option<Self>> {
        let Some(homelab) = Homelab::builder().start()? else { return Ok(None) };
        let pulled = homelab.command("restore-tfstate").args(["--all", "--pull"]).output()?;
        if !pulled.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&pulled.stderr).into_owned()));
        }
        let mut states = BTreeMap::new();
        for name in ENVIRONMENTS {
            states.insert(name, homelab.state(name)?);
        }
        let vmid = homelab.minio_vmid().ok_or_else(|| io::Error::other("there is no container"))?;
        let config = homelab.read(&format!("/etc/pve/lxc/{vmid}.conf"))?;
        let volume = |line: &str| {
            let (key, value) = line.split_once(": ")?;
            ["rootfs", "mp0"].contains(&key).then(|| value.split(',').next().unwrap_or_default().to_owned())
        };
        let volumes = config.lines().filter_map(volume).collect();
        let control = tempfile::tempdir()?;
        let terraform = Faulty::write(control.path())?;
        let beginnings = BTreeMap::new();
        let mut bench = Self { homelab, states, volumes, beginnings, terraform, _control: control };
        let well = bench.beginning()?;
        for mode in Mode::ALL {
            bench.go_back(&well)?;
            bench.homelab.wait_for_minio(true)?;
            bench.spoil(mode, vmid)?;
            let beginning = bench.beginning()?;
            bench.beginnings.insert(mode.to_string(), beginning);
        }
        Ok(Some(bench))
    }

    fn spoil(&self, mode: Mode, vmid: u32) -> io::Result<()> {
        let homelab = &self.homelab;
        match mode {
            Mode::Aside => homelab.kill_minio()?,
            Mode::Add => return homelab.lose_minio_data(),
            Mode::Rebuild => homelab.destroy_minio()?,
            Mode::Restore => {
                let words = ["vzdump", &vmid.to_string(), "--storage", "local", "--compress", "zstd"];
                let output = homelab.on_node(&words)?;
                if !output.status.success() {
                    return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
                }
                homelab.destroy_minio()?;
            }
        }
        homelab.wait_for_minio(false)
    }

    fn memory(&self) -> PathBuf {
        self.homelab.operator().home().join(".local")
    }

    fn beginning(&self) -> io::Result<Beginning> {
        let memory = tempfile::tempdir()?;
        copy(&self.memory(), &memory.path().join("local"))?;
        Ok(Beginning { homelab: self.homelab.checkpoint()?, memory })
    }

    fn go_back(&self, to: &Beginning) -> io::Result<()> {
        self.homelab.go_back(&to.homelab)?;
        copy(&to.memory.path().join("local"), &self.memory())?;
        self.terraform.spare()
    }

    /// As at the beginning of this mode.
    pub fn reset(&self, mode: Mode) -> io::Result<()> {
        self.go_back(&self.beginnings[&mode.to_string()])?;
        self.homelab.wait_for_minio(mode == Mode::Add)?;
        if let Some(server) = self.homelab.server() {
            server.begin_anew();
        }
        self.homelab.with_minio(|server| server.begin_anew());
        Ok(())
    }

    /// `rebuild-minio` with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.homelab.command("rebuild-minio");
        command.args(words).env("TF_BIN", self.terraform.program());
        command
    }

    /// A file of an environment's folder.
    pub fn file(&self, environment: &str, name: &str) -> PathBuf {
        self.homelab.terraform().environment(environment).join(name)
    }
}

/// With links and modes as they are.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp {} fails", from.display()))) }
}

/// Those that wait for a case.
#[derive(Default)]
pub struct Benches(Mutex<Vec<Bench>>);

impl Benches {
    /// Lets `work` have one; nothing where a program that it needs is not there.
    pub fn with<R>(&self, work: impl FnOnce(&Bench) -> io::Result<R>) -> io::Result<Option<R>> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(bench) = waiting.map_or_else(Bench::start, |bench| Ok(Some(bench)))? else {
            return Ok(None);
        };
        let result = work(&bench);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bench);
        result.map(Some)
    }
}
