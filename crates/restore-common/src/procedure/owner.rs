//! Who works on something, in words that others can read and judge.

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

/// `verify-backups (pid 4711) of root@laptop since …`.
pub(super) fn owner(program: &str) -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    let user = user.unwrap_or_else(|_| "somebody".to_owned());
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
    format!("{program} (pid {}) of {user}@{} since {now}", std::process::id(), machine())
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether the program that these words are about has ended: it ran on this machine, and its process is gone. Of another
/// machine's programs nothing can be told, so they are taken to be at work.
pub fn has_ended(owner: &str) -> bool {
    process_here(owner).is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// The process that these words are about, if it is one of this machine.
fn process_here(owner: &str) -> Option<Pid> {
    let (_, rest) = owner.split_once(" (pid ")?;
    let (pid, rest) = rest.split_once(") of ")?;
    let (who, _) = rest.split_once(" since ")?;
    let (_, machine_of) = who.rsplit_once('@')?;
    Pid::from_raw(pid.parse().ok()?).filter(|_| machine_of == machine())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_of_this_machine_is_known_to_have_ended() {
        let own = owner("verify-backups");
        assert!(!has_ended(&own), "{own}");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let ended = own.replace(&format!("pid {}", std::process::id()), &format!("pid {}", child.id()));
        assert!(has_ended(&ended), "{ended}");
        assert!(!has_ended(&ended.replace('@', "@not-")), "another machine's");
        assert!(!has_ended("somebody") && !has_ended(""));
    }
}
