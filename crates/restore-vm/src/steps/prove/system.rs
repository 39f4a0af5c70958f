//! Whether the system in the guest came up, asked through the node: for a guest that has no network.

use std::time::Duration;

use restore_common::{
    procedure::{CheckStatus, Run},
    pve::GuestKind,
    remote::{Command, Ending, Output},
};

use super::{Asked, Common, Found, Until, guest, shown, skipped};
use crate::assignment::{Assignment, Restore};

/// The pause between two questions: each starts a program on the node and one in the guest.
const PAUSE: Duration = Duration::from_millis(500);

/// What a shell, and `lxc-attach` like one, ends with when there is no such program.
const NO_PROGRAM: Ending = Ending::Exit(127);

/// The system in the guest is up: a VM's agent answers, a container's init has started everything. Skipped where nothing
/// in the guest can tell.
pub fn system_is_up(restore: &mut Restore<'_>, run: &Run<'_>) -> Found {
    match restore.what.kind {
        GuestKind::Qemu if restore.what.inside.config.flag("agent") => {
            guest::agent(restore, run, &Common::default())
        }
        GuestKind::Qemu => skipped("the VM has no guest agent, so only the node says that it runs"),
        GuestKind::Lxc => init_is_up(restore, run),
    }
}

/// What `systemctl` says where another program is the init.
const NOT_IN_CHARGE: &str = "offline";

/// How an init is asked whether it has started everything, and what it answers then.
///
/// What a node's programs print is known; what an init prints is not among the facts that this project was built from, so
/// only what it documents counts: `systemctl is-system-running` says `running` or, when a service failed, `degraded`;
/// OpenRC is in the runlevel `default`.
const INITS: [(&[&str], &[&str]); 2] = [
    (&["systemctl", "is-system-running"], &["running", "degraded"]),
    (&["rc-status", "--runlevel"], &["default"]),
];

fn init_is_up(restore: &Restore<'_>, run: &Run<'_>) -> Found {
    let limit = restore.what.proof.wait;
    let mut can_tell = true;
    let until = Until { what: "the container's init", limit, left: limit, interval: PAUSE, run };
    let (status, saw) = until.ask(|| {
        for (words, up) in INITS {
            let output = restore.host.run(&inside(&restore.what, words))?;
            if output.ending != NO_PROGRAM {
                can_tell = output.stdout.trim() != NOT_IN_CHARGE;
                return Ok(judged(&output, words, up));
            }
        }
        can_tell = false;
        Ok(Ok("it has no init that could be asked, so only the node says that it runs".to_owned()))
    })?;
    let interrupted = run.stop_requested();
    Ok(if can_tell || interrupted { (status, saw) } else { (CheckStatus::Skipped, saw) })
}

fn inside(what: &Assignment, words: &[&str]) -> Command {
    Command::read("pct").args(["exec", &what.target.to_string(), "--"]).args(words.iter().copied())
}

fn judged(output: &Output, words: &[&str], up: &[&str]) -> Asked {
    let word = output.stdout.trim();
    if up.contains(&word) {
        return Ok(format!("its init says `{word}`"));
    }
    let said =
        if word.is_empty() { shown(&output.stderr) } else { format!("its init says `{}`", shown(word)) };
    Err(format!("{} ({}): {said}", words[0], output.ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(0, "running\n", Ok("its init says `running`"))]
    #[case(1, "degraded\n", Ok("its init says `degraded`"))]
    #[case(1, "starting\n", Err("systemctl (exit status 1): its init says `starting`"))]
    #[case(1, "", Err("systemctl (exit status 1): Failed to connect to bus"))]
    #[case(255, "running and more\n", Err("systemctl (exit status 255): its init says `running and more`"))]
    fn only_the_very_word_counts(
        #[case] code: i32,
        #[case] stdout: &str,
        #[case] expected: Result<&str, &str>,
    ) {
        let stderr = "Failed to connect to bus\n".to_owned();
        let output = Output { ending: Ending::Exit(code), stdout: stdout.to_owned(), stderr };
        let (words, up) = INITS[0];
        assert_eq!(judged(&output, words, up).as_deref().map_err(String::as_str), expected);
    }
}
