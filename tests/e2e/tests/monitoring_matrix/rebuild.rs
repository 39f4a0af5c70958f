//! `--mode rebuild`: a moment is a call of Terraform.

use std::{collections::BTreeSet, fs, io, os::unix::fs::PermissionsExt as _, path::PathBuf};

use restore_e2e::{Ran, matrix::run_within};
use restore_lab::{
    homelab::{Homelab, HomelabCheckpoint},
    monitoring::is_installed,
    terraform,
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
    control: tempfile::TempDir,
}

impl Rebuild {
    fn file(&self, name: &str) -> PathBuf {
        self.control.path().join(name)
    }

    /// A Terraform that counts its calls, and does at one of them what `strike` says: `NUMBER fail`, or `NUMBER kill`,
    /// which kills the program whose id is in `pid` and goes on.
    fn write_wrapper(&self) -> io::Result<()> {
        let real = terraform::program().ok_or_else(|| io::Error::other("there is no terraform"))?;
        let script = format!(
            "#!/bin/bash\ncd '{folder}' && echo >>calls && read -r number what <strike\n\
             if [ \"$(wc -l <calls)\" = \"$number\" ]; then\n\
             case $what in\n\
             fail) echo 'the provider caught fire' >&2; exit 1;;\n\
             kill) until [ -s pid ]; do read -rt 0.01 <> <(:); done; kill -9 \"$(cat pid)\";;\n\
             esac\nfi\ncd - >/dev/null\nexec '{real}' \"$@\"\n",
            folder = self.control.path().display(),
            real = real.display()
        );
        fs::write(self.file("terraform"), script)?;
        fs::set_permissions(self.file("terraform"), fs::Permissions::from_mode(0o755))
    }

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
        let mut ground = Self { homelab, checkpoint, versions: BTreeSet::new(), minio, control };
        ground.write_wrapper()?;
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
        let strike = case.map(|case| {
            let what = if case.hit == Hit::Kill { "kill" } else { "fail" };
            format!("{} {what}\n", case.at)
        });
        fs::write(self.file("strike"), strike.unwrap_or_else(|| "0 nothing\n".to_owned()))?;
        for name in ["calls", "pid"] {
            fs::write(self.file(name), "")?;
        }
        let mut command = self.homelab.command("rebuild-monitoring");
        command.env("TF_BIN", self.file("terraform")).args(["--wait", "60"]).args(words);
        // A run that is carried on is of the mode that it was.
        if !words.iter().any(|word| matches!(*word, "--resume" | "--rollback")) {
            command.args(["--mode", "rebuild"]);
        }
        run_within(command, LIMIT, |pid| {
            // Without its id nothing is killed, and the case says so.
            let _ = fs::write(self.file("pid"), pid.to_string());
        })
    }

    fn moments(&self) -> io::Result<usize> {
        Ok(fs::read_to_string(self.file("calls"))?.lines().count())
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
