//! Where cases are tried: a project with its operator and its server. A case takes one, and puts it back as it was at
//! the beginning of its mode.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use restore_e2e::{States, terraform::Faulty};
use restore_lab::s3::{Embedded, Options, S3Server};
use serde_json::Value;

use crate::case::Mode;

/// A project with a server, and copies of both as they are at the beginning of each mode.
pub struct Bench {
    pub states: States<Embedded>,
    /// What the operator's `TF_BIN` is.
    pub terraform: Faulty,
    /// The state that each release left, by its number.
    pub releases: BTreeMap<u64, Value>,
    data: tempfile::TempDir,
    copies: tempfile::TempDir,
}

impl Bench {
    fn start() -> io::Result<Self> {
        let (data, copies) = (tempfile::tempdir()?, tempfile::tempdir()?);
        fs::create_dir(data.path().join("server"))?;
        let options = Options { folder: Some(data.path().join("server")), ..Options::default() };
        let states = States::with(Embedded::start(&options)?);
        let terraform = Faulty::write(&copies.path().join("control"))?;
        let mut bench = Self { states, terraform, releases: BTreeMap::new(), data, copies };
        bench.prepare()?;
        Ok(bench)
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.terraform.spare()?;
        for release in 1..=3 {
            self.states.apply("prod", [release]);
            self.releases.insert(release.into(), self.states.state("prod"));
        }
        self.expect(&["--env", "prod", "--pull"])?;
        for mode in [Mode::Restore, Mode::Fallback, Mode::Migration] {
            self.keep(mode)?;
        }
        self.states.server.stop()?;
        self.expect(&["--env", "prod", "--fallback", "--yes"])?;
        self.states.project.release("prod", 4)?;
        self.states.project.apply("prod")?;
        let local = fs::read(self.states.file("prod", "fallback.tfstate"))?;
        self.releases.insert(4, serde_json::from_slice(&local)?);
        // What the fallback left is not this case's.
        fs::remove_dir_all(self.states.memory().join("runs"))?;
        self.keep(Mode::Return)
    }

    fn expect(&self, words: &[&str]) -> io::Result<()> {
        let ran = self.states.run(words);
        if ran.code == 0 { Ok(()) } else { Err(io::Error::other(ran.to_string())) }
    }

    fn keep(&self, mode: Mode) -> io::Result<()> {
        let copy = self.copies.path().join(mode.to_string());
        fs::create_dir(&copy)?;
        copy_all(&self.states.folder(), &copy.join("operator"))?;
        copy_all(self.data.path(), &copy.join("server"))
    }

    /// As at the beginning of this mode.
    pub fn reset(&mut self, mode: Mode) -> io::Result<()> {
        let copy = self.copies.path().join(mode.to_string());
        self.states.server.stop()?;
        replace(&copy.join("operator"), &self.states.folder())?;
        replace(&copy.join("server"), self.data.path())?;
        self.states.server.begin_anew();
        if mode != Mode::Fallback {
            self.states.server.start_again()?;
        }
        self.terraform.spare()
    }
}

fn replace(copy: &Path, place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    copy_all(&copy.join("."), place)
}

/// With links and modes as they are.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cp {} fails", from.display()))) }
}

/// Those that wait for a case.
#[derive(Default)]
pub struct Benches(Mutex<Vec<Bench>>);

impl Benches {
    /// Lets `work` have one.
    pub fn with<R>(&self, work: impl FnOnce(&mut Bench) -> io::Result<R>) -> io::Result<R> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bench = waiting.map_or_else(Bench::start, Ok)?;
        let result = work(&mut bench);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bench);
        result
    }
}
