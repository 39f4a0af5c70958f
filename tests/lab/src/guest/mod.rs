//! A VM from inside: what its disk says about it, its login shell, and the Docker that runs there.
//!
//! Its files lie below a folder, in which the disk it booted from is `dev/sda`.

pub mod disk;
pub mod docker;

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use crate::sim::shell::{self, Login};

/// The variable that names the folder to whatever runs in the guest.
pub const VARIABLE: &str = "LAB_GUEST";

/// The guest's paths that commands name. Everything else is the machine's own.
const PLACES: &[&str] = &["/opt", "/root", "/home", "/run", "/var/lib", "/var/log", "/etc/hostname"];

/// The folder of the compose project that is the stack.
pub const STACK_FOLDER: &str = "/opt/monitoring";

/// What a shell says that does not find Docker.
const NO_DOCKER: &str = "#!/bin/sh\necho 'bash: line 1: docker: command not found' >&2\nexit 127\n";

/// A running guest.
#[derive(Clone, Debug)]
pub struct Guest {
    root: PathBuf,
}

impl Guest {
    /// The guest whose files lie below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Lays out its files after it booted from `disk`. What was there before is gone.
    pub fn boot(&self, disk: &Path, simulator: &Path) -> io::Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in ["dev", "root", "home", "run", "opt", "var/lib/docker", "var/log", ".bin", "etc"] {
            fs::create_dir_all(self.root.join(folder))?;
        }
        fs::write(self.root.join("etc/hostname"), "monitoring-stack\n")?;
        symlink(disk, self.disk())?;
        self.set_docker(Some(simulator))
    }

    /// Installs Docker's command line, or removes it. The machine may have one of its own, which is none of the guest's.
    pub fn set_docker(&self, simulator: Option<&Path>) -> io::Result<()> {
        let program = self.root.join(".bin/docker");
        match (simulator, program.is_symlink()) {
            (Some(_), true) => Ok(()),
            (Some(simulator), false) => {
                drop(fs::remove_file(&program));
                symlink(simulator, program)
            }
            (None, true) => {
                fs::remove_file(&program)?;
                fs::write(&program, NO_DOCKER)?;
                fs::set_permissions(program, fs::Permissions::from_mode(0o755))
            }
            (None, false) => Ok(()),
        }
    }

    /// The disk it booted from.
    pub fn disk(&self) -> PathBuf {
        self.root.join("dev/sda")
    }

    /// One of its paths, on this machine.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A path as the guest knows it.
    pub(crate) fn without_root(&self, path: &str) -> String {
        shell::without_root(path, &self.root)
    }

    /// What its programs are told.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![(VARIABLE, self.root.display().to_string())]
    }

    /// Where `exec.jsonl` is: beside its files, so that it outlives a boot.
    pub fn log(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }

    /// Runs one command text as its login shell would.
    pub fn run(&self, text: &str) -> io::Result<ExitStatus> {
        let login = Login {
            root: &self.root,
            places: PLACES,
            programs: &self.root.join(".bin"),
            variables: self.variables(),
            log: self.log(),
        };
        login.run(text)
    }
}
