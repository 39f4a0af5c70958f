//! Running a program, with an eye on its time and its memory.

use std::{
    error::Error,
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at the memory.
const PAUSE: Duration = Duration::from_millis(5);

/// What a run took.
pub struct Run {
    pub seconds: f64,
    /// The most that was resident.
    pub megabytes: f64,
}

/// Runs it to its end, which has to be one of these exit codes.
pub fn run(command: &mut Command, codes: &[i32]) -> Result<Run, Box<dyn Error>> {
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let megabytes = watch(child, codes).map_err(|error| format!("{command:?}: {error}"))?;
    Ok(Run { seconds: started.elapsed().as_secs_f64(), megabytes })
}

/// Waits for the end and gives the most memory that was resident, in MB. Source: `VmHWM` of proc(5).
#[allow(clippy::cast_precision_loss)]
pub fn watch(mut child: Child, codes: &[i32]) -> Result<f64, Box<dyn Error>> {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0_u64;
    loop {
        if let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now = line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
            most = most.max(now.unwrap_or(0));
        }
        if let Some(status) = child.try_wait()? {
            return if status.code().is_some_and(|code| codes.contains(&code)) {
                Ok(most as f64 * 1024.0 / 1e6)
            } else {
                Err(format!("the program: {status}").into())
            };
        }
        thread::park_timeout(PAUSE);
    }
}
