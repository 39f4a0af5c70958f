//! How many processors the labs and the programs have.

use std::{error::Error, fs, io};

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

/// Does it with all threads of this process, and with whatever they start, on the first of the processors that they have.
pub fn on_one<T>(work: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<T, Box<dyn Error>> {
    let all = sched_getaffinity(None)?;
    let first =
        (0..CpuSet::MAX_CPU).find(|number| all.is_set(*number)).ok_or("this process has no processor")?;
    let mut one = CpuSet::new();
    one.set(first);
    every_thread(&one)?;
    let done = work();
    every_thread(&all)?;
    done
}

fn every_thread(processors: &CpuSet) -> io::Result<()> {
    for thread in fs::read_dir("/proc/self/task")? {
        let number = thread?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        match sched_setaffinity(number, processors) {
            // It ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
