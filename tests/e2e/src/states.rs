//! A Terraform project whose states are in an S3 server, and its operator.

use std::{fs, io, path::PathBuf, process::Command};

use restore_lab::{
    lab::program_under_test,
    s3::{Client, Embedded, Engine, Options, S3Server, Version},
    terraform::{self, Project},
};
use serde_json::Value;

use crate::{Ran, run};

/// The key of every environment's state.
const KEY: &str = "terraform.tfstate";

/// A project, and the server that its states are in.
#[derive(Debug)]
pub struct States<S> {
    /// The server.
    pub server: S,
    /// The project.
    pub project: Project,
    folder: tempfile::TempDir,
}

impl States<Box<dyn S3Server>> {
    /// In an empty server of this kind; `None` where something is not installed, which is said.
    #[track_caller]
    pub fn start(engine: Engine) -> Option<Self> {
        if !must(terraform::is_installed()) {
            return None;
        }
        must(engine.start(&Options::default())).map(Self::with)
    }
}

impl States<Embedded> {
    /// In the server that can be broken.
    #[track_caller]
    pub fn embedded() -> Option<Self> {
        must(terraform::is_installed()).then(|| Self::with(must(Embedded::start(&Options::default()))))
    }
}

impl<S: S3Server> States<S> {
    /// In a server that runs.
    #[track_caller]
    pub fn with(server: S) -> Self {
        let folder = must(tempfile::tempdir());
        let project = must(Project::create(folder.path(), &server));
        must(project.make_buckets(&server));
        Self { server, project, folder }
    }

    /// Applies these releases of an environment, one after the other, as its operator would.
    #[track_caller]
    pub fn apply(&self, environment: &str, releases: impl IntoIterator<Item = u32>) {
        must(self.project.init(environment));
        for release in releases {
            must(self.project.release(environment, release));
            must(self.project.apply(environment));
        }
    }

    /// Runs `restore-tfstate` without a terminal.
    pub fn run(&self, words: &[&str]) -> Ran {
        run(self.command(words))
    }

    /// Runs `verify-backups` without a terminal.
    pub fn verify(&self, words: &[&str]) -> Ran {
        run(self.program("verify-backups", words))
    }

    /// `verify-backups` with these words, not yet started.
    pub fn verify_command(&self, words: &[&str]) -> Command {
        self.program("verify-backups", words)
    }

    /// Runs `rebuild-minio` without a terminal.
    pub fn rebuild_minio(&self, words: &[&str]) -> Ran {
        run(self.program("rebuild-minio", words))
    }

    /// `restore-tfstate` with these words, not yet started.
    pub fn command(&self, words: &[&str]) -> Command {
        self.program("restore-tfstate", words)
    }

    fn program(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program_under_test(name));
        command.args(words).env_clear().envs(self.project.variables()).current_dir(self.project.root());
        command
    }

    /// The server's administrator.
    #[track_caller]
    pub fn admin(&self) -> Client {
        must(self.server.client())
    }

    /// The current state of an environment in its bucket.
    #[track_caller]
    pub fn state(&self, environment: &str) -> Value {
        must(
            serde_json::from_slice(&must(self.admin().get(&terraform::bucket(environment), KEY, None)))
                .map_err(io::Error::other),
        )
    }

    /// The versions of an environment's state, newest first.
    #[track_caller]
    pub fn versions(&self, environment: &str) -> Vec<Version> {
        must(self.admin().versions(&terraform::bucket(environment), KEY))
    }

    /// The folder that the operator's home and project are in.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Where the program keeps what it has to remember.
    pub fn memory(&self) -> PathBuf {
        self.folder.path().join("home/.local/state/pve-restore")
    }

    /// A file of an environment's folder.
    pub fn file(&self, environment: &str, name: &str) -> PathBuf {
        self.project.environment(environment).join(name)
    }

    /// The names of an environment's files, and what they hold; links are left out.
    #[track_caller]
    pub fn files(&self, environment: &str) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in must(fs::read_dir(self.project.environment(environment))) {
            let entry = must(entry);
            if must(entry.file_type()).is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), must(fs::read(entry.path()))));
            }
        }
        files.sort();
        files
    }
}

#[track_caller]
fn must<T>(result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the lab: {error}"))
}
