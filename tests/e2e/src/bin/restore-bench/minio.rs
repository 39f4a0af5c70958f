//! What it costs to rebuild the S3 server of the states.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use restore_lab::homelab::Homelab;

use crate::{RUNS, figure::Figure, states, watch::watch};

/// From a container that is gone to every backend working: the whole, and less what Terraform takes.
pub fn rebuild(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let homelab = Homelab::builder().start()?.ok_or("a program of the homelab is not there")?;
        let mut pull = homelab.command("restore-tfstate");
        if !pull.args(["--all", "--pull"]).stdout(Stdio::null()).status()?.success() {
            return Err("the states could not be pulled".into());
        }
        homelab.destroy_minio()?;
        homelab.wait_for_minio(false)?;
        let folder = tempfile::tempdir()?;
        let (wrapper, times): (PathBuf, PathBuf) = states::timing_in(folder.path())?;
        let plain = homelab.command("rebuild-minio");
        let mut command = Command::new(program);
        command.env_clear().arg("--yes").stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TF_BIN", wrapper).current_dir(homelab.operator().project());
        let started = Instant::now();
        watch(command.spawn()?, &[0])?;
        let took = started.elapsed().as_secs_f64();
        let terraform: f64 = fs::read_to_string(times)?.lines().filter_map(states::seconds).sum();
        whole.push(took);
        own.push(took - terraform);
    }
    Ok(vec![
        Figure::at_most("MinIO rebuilt: the whole run", "s", 60.0, whole),
        Figure::at_most("MinIO rebuilt: the program's own share", "s", 3.0, own),
    ])
}
