//! `--mode rebuild`: a moment is a call of Terraform.

use std::{collections::BTreeSet, io};

use restore_e2e::{Ran, matrix::run_within, terraform::Faulty};
use restore_lab::{
    homelab::{Homelab, HomelabCheckpoint},
    monitoring::is_installed,
};

use crate::{
    case::{Case, Ground, Hit},
    restore::LIMIT,
};

/// A homelab whose monitoring VM is gone.
pub struct Rebuild {
    homelab: Homelab,
    checkpoint: HomelabCheckpoint,
    versions: BTreeSet<String>,
    minio: Option<u32>,
    terraform: Faulty,
    _control: tempfile::TempDir,
}

impl Rebuild {
    fn versions(&self) -> io::Result<BTreeSet<String>> {
        Ok(self.homelab.state_versions("monitoring")?.into_iter().map(|version| version.id).collect())
    }
}

impl Ground for Rebuild {
    fn start() -> io::Result<Option<Self>> {
        if !is_installed()? {
            return Ok(None);
        }
        let Some(homelab) = Homelab::builder().monitoring(&[]).start()? else { return Ok(None) };
        let vmid = homelab.monitoring_vmid().unwrap_or_default().to_string();
        for words in [&["qm", "stop", &vmid][..], &["qm", "destroy", &vmid]] {
            let output = homelab.on_node(words)?;
            if !output.status.success() {
                return Err(io::Error::other(format!("{output:?}")));
            }
        }
        let (checkpoint, minio) = (homelab.checkpoint()?, homelab.minio_vmid());
        let control = tempfile::tempdir()?;
        let terraform = Faulty::write(control.path())?;
        let versions = BTreeSet::new();
        let mut ground = Self { homelab, checkpoint, versions, minio, terraform, _control: control };
        ground.homelab.wait_for_minio(true)?;
        ground.versions = ground.versions()?;
        Ok(Some(ground))
    }

    fn reset(&mut self) -> io::Result<()> {
        // One that answers is not the one that is started on the files that are put back.
        self.homelab.stop_minio()?;
        self.homelab.wait_for_minio(false)?;
        self.homelab.go_back(&self.checkpoint)?;
        self.homelab.wait_for_minio(true)
    }

    fn run(&self, words: &[&str], case: Option<&Case>) -> io::Result<Ran> {
        match case {
            Some(case) => {
                self.terraform.strike(case.at, if case.hit == Hit::Kill { "kill" } else { "fail" })?;
            }
            None => self.terraform.spare()?,
        }
        let mut command = self.homelab.command("rebuild-monitoring");
        command.env("TF_BIN", self.terraform.program()).args(["--wait", "60"]).args(words);
        // A run that is carried on is of the mode that it was.
        if !words.iter().any(|word| matches!(*word, "--resume" | "--rollback")) {
            command.args(["--mode", "rebuild"]);
        }
        run_within(command, LIMIT, |pid| {
            // Without its id nothing is killed, and the case says so.
            let _ = self.terraform.called_by(pid);
        })
    }

    fn moments(&self) -> io::Result<usize> {
        self.terraform.calls()
    }

    fn wrong_after(&self, code: i32) -> io::Result<Option<String>> {
        let now = self.versions()?;
        if !now.is_superset(&self.versions) {
            return Ok(Some(format!("versions of the state are lost: {now:?} of {:?}", self.versions)));
        }
        if self.homelab.minio_vmid() != self.minio {
            return Ok(Some("the container with MinIO is another one".to_owned()));
        }
        let vmid = self.homelab.monitoring_vmid();
        let node = self.homelab.node()?;
        let right = match code {
            0 | 4 => vmid.is_some_and(|vmid| node.has_stack(vmid)),
            1 | 2 | 130 => vmid.is_none() && now == self.versions,
            // What was begun is said, and the same command goes on from there.
            3 => true,
            _ => false,
        };
        Ok((!right).then(|| format!("the VM is {vmid:?}, the state has {} versions", now.len())))
    }
}
