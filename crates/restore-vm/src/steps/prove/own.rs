//! The checks that the operator wrote.

use std::{sync::Arc, time::Duration};

use restore_common::{
    homelab::{ADDRESS, Asks, AsksHttp, OwnCheck},
    probe::HttpUrl,
    procedure::{Check, CheckStatus, Failure, Run},
    pve::GuestKind,
    remote::{Command, Ending, Output},
};
use serde::Deserialize;

use super::{Asked, Common, Found, Until, failed, network, shown, skipped};
use crate::assignment::{Assignment, Restore};

/// One check for each that was written, under its name.
pub(super) fn checks<'a>(what: &Assignment, common: &Arc<Common>) -> Vec<Check<Restore<'a>>> {
    let check = |own: &OwnCheck| {
        let (title, common) = (own.name.clone(), Arc::clone(common));
        let own = own.clone();
        let run = move |restore: &mut Restore<'a>, run: &Run<'_>| ask(restore, run, &common, &own);
        Check { id: "own", title, run: Box::new(run) }
    };
    what.proof.own.iter().map(check).collect()
}

/// Asks all of them, one after the other: what was seen of each, under its name.
pub fn ask_all(
    restore: &mut Restore<'_>,
    run: &Run<'_>,
) -> anyhow::Result<Vec<(String, CheckStatus, String)>> {
    let common = Common::default();
    let asked = restore.what.proof.own.iter().map(|own| {
        let (status, saw) = ask(restore, run, &common, own)?;
        Ok((own.name.clone(), status, saw))
    });
    asked.collect()
}

fn ask(restore: &Restore<'_>, run: &Run<'_>, common: &Common, own: &OwnCheck) -> Found {
    let limit = own.within.unwrap_or(restore.what.proof.wait);
    match &own.asks {
        Asks::Port(port) => network::tcp(restore, run, common, *port, limit),
        Asks::Http(http) => ask_url(restore, run, common, http, limit),
        Asks::Command(words) => ask_guest(restore, run, common, words, limit),
    }
}

fn ask_url(restore: &Restore<'_>, run: &Run<'_>, common: &Common, http: &AsksHttp, limit: Duration) -> Found {
    let is_fixed = !http.url.contains(ADDRESS);
    if is_fixed && let Some(reason) = of_original(restore, common, &http.url)? {
        return skipped(reason);
    }
    let by_network = network::ByNetwork { what: "an answer by HTTP", limit, run, common };
    by_network.ask(restore, |address, attempt| http.ask(address, attempt))
}

/// A copy is another machine: a URL that names the original's address would prove the original.
fn of_original(restore: &Restore<'_>, common: &Common, url: &str) -> anyhow::Result<Option<String>> {
    if !restore.what.is_copy() || restore.what.unheard().is_some() {
        return Ok(None);
    }
    let address = common.address(restore)?;
    let asks_copy = HttpUrl::parse(url).is_ok_and(|url| address.is_some_and(|address| url.host() == address));
    let reason =
        format!("its URL does not ask the copy; write `{ADDRESS}` in it to ask whichever was restored");
    Ok((!asks_copy).then_some(reason))
}

/// The pause between two runs of a command in the guest: each starts a program on the node.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the node waits for a command in a VM by itself.
const AGENT_WAIT: Duration = Duration::from_secs(30);

/// A command in the guest succeeds. It is run again and again until it does.
fn ask_guest(
    restore: &Restore<'_>,
    run: &Run<'_>,
    common: &Common,
    words: &[String],
    limit: Duration,
) -> Found {
    let what = &restore.what;
    if what.kind == GuestKind::Qemu && !what.inside.config.flag("agent") {
        return failed("the VM has no guest agent to run it by (`agent: 1` in its configuration)");
    }
    let command = guest_command(what, words);
    let until = Until {
        what: &format!("`{}` in the guest", words[0]),
        limit,
        left: common.left(limit),
        interval: PAUSE,
        run,
    };
    until.ask(|| {
        // The words of the command may be secret, and the error would name them.
        let output = restore.host.run(&command).map_err(|_| {
            Failure::new(format!("`{}` in the guest could not be run by {}", words[0], restore.host.name()))
        })?;
        Ok(match what.kind {
            GuestKind::Qemu => agents_answer(&output),
            GuestKind::Lxc => {
                ended(&output.ending.to_string(), output.success(), &output.stdout, &output.stderr)
            }
        })
    })
}

/// Runs words in the guest as they are: no shell reads them there.
fn guest_command(what: &Assignment, words: &[String]) -> Command {
    let target = what.target.to_string();
    let command = match what.kind {
        GuestKind::Qemu => Command::read("qm").args(["guest", "exec", &target, "--"]),
        GuestKind::Lxc => Command::read("pct").args(["exec", &target, "--"]),
    };
    command.args(words).limit(AGENT_WAIT * 2)
}

/// What `qm guest exec` prints. It ends with 0 however the command in the guest ended.
#[derive(Deserialize)]
struct AgentsAnswer {
    exitcode: Option<i32>,
    signal: Option<i32>,
    #[serde(default, rename = "out-data")]
    out: String,
    #[serde(default, rename = "err-data")]
    err: String,
}

fn agents_answer(output: &Output) -> Asked {
    if !output.success() {
        return Err(format!("could not be run: {}", shown(&output.stderr)));
    }
    let Ok(answer) = serde_json::from_str::<AgentsAnswer>(&output.stdout) else {
        return Err("the guest agent gave no answer that can be read".to_owned());
    };
    match (answer.exitcode, answer.signal) {
        (Some(code), None) => ended(&Ending::Exit(code).to_string(), code == 0, &answer.out, &answer.err),
        (_, Some(signal)) => ended(&format!("killed by signal {signal}"), false, &answer.out, &answer.err),
        // Without an exit code it had not ended yet when the node gave up waiting.
        (None, None) => Err("did not end in time".to_owned()),
    }
}

/// How a command in the guest ended, with the last words of one that failed.
fn ended(ending: &str, success: bool, out: &str, err: &str) -> Asked {
    if success {
        return Ok(ending.to_owned());
    }
    let said = if err.trim().is_empty() { shown(out) } else { shown(err) };
    Err(if said.is_empty() { ending.to_owned() } else { format!("{ending}: {said}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str) -> Asked {
        let stdout = stdout.to_owned();
        agents_answer(&Output { ending: Ending::Exit(0), stdout, stderr: String::new() })
    }

    #[rstest::rstest]
    #[case(r#"{"exitcode":0,"exited":1}"#, Ok("exit status 0"))]
    #[case(r#"{"exitcode":3,"exited":1,"out-data":"inactive\n"}"#, Err("exit status 3: inactive"))]
    #[case(r#"{"exitcode":1,"exited":1,"out-data":"a\n","err-data":"b\n"}"#, Err("exit status 1: b"))]
    #[case(r#"{"exited":1,"signal":9}"#, Err("killed by signal 9"))]
    #[case(r#"{"pid":812}"#, Err("did not end in time"))]
    #[case("no JSON", Err("the guest agent gave no answer that can be read"))]
    fn the_inner_exit_code_counts(#[case] stdout: &str, #[case] expected: Result<&str, &str>) {
        assert_eq!(answer(stdout).as_deref().map_err(String::as_str), expected);
    }
}
