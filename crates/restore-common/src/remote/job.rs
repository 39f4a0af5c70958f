//! Work that outlives the connection: how a job is begun, followed, ended and cleared away on a node.
//!
//! A job is a folder `ROOT/RUN/jobs/NAME` and a process group. The leader of the group is a shell that waits for the work
//! and writes its exit status; it ignores the signals that are meant for the work, so a status is always left behind
//! unless somebody kills the leader by force. The folder's name is fixed before the job is sent: when the connection
//! breaks and nobody knows how far it came, it is sent again, and what was begun is not begun twice.

use std::{
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use super::{
    Command, Ending, HostError, Job, JobEnd, JobState, Output, RunId,
    command::quoted,
    lines::{LastLines, Lines},
    patience::Patience,
    shell::{Event, Printed, QUIET, Script, Shell, collect, protocol, text},
};

/// Where runs live on a node: survives a restart of the node, unlike `/tmp` or `/run`. See [`super::Host::root`].
pub(super) const ROOT: &str = "/var/tmp/pve-restore";

/// How long the work may take to clean up after SIGTERM.
const CANCEL_WITHIN: Duration = Duration::from_secs(30);

/// How long the short scripts of this module may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The most that is kept of the report about a job; one is hardly longer than the part of standard error in it.
const LONGEST_REPORT: usize = 1 << 20;

/// Exit status of scripts that find no such job.
const MISSING: i32 = 3;

/// The shell that leads the group, with the folder as `$0`: says its process id, then has no tie to the connection.
/// The command is read with `.`, so that no further shell stands between a signal and the work.
const LEADER: &str = r#"cd "$0" || exit
trap "" HUP
trap : TERM INT
export LC_ALL=C.UTF-8
set -o pipefail
echo $$ >pid
echo $$
exec <in >out 2>err
. ./command
echo $? >status"#;

/// The folder of a run's job. A name's odd characters are replaced.
pub(super) fn folder(root: &str, run: &RunId, name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "_.".contains(c) { c } else { '-' };
    format!("{root}/{run}/jobs/{}", name.chars().map(harmless).collect::<String>())
}

/// Begins the work unless that was done before. The folder is for nobody else to read: it holds what the command reads
/// and prints. `/var/tmp` belongs to everybody, so a folder that somebody else made is not taken; and another run may be
/// clearing the root away, so that is made under a lock. The umask stays as it is: it is that of the restored files, too.
/// Input that was cut off on its way is not input.
///
/// A job starts many processes on the node if one lets it, so these scripts do with the shell's own means what they can.
fn begin_script(job: &Job, command: &Command) -> String {
    let (leader, line, dir) = (quoted(LEADER), quoted(&command.to_string()), quoted(&job.dir));
    let input = match command.stdin_bytes().len() {
        0 => r#": >"$dir/in""#.to_owned(),
        length => format!(r#"cat >"$dir/in" && [ "$(wc -c <"$dir/in")" -eq {length} ]"#),
    };
    format!(
        r#"dir={dir}
root=${{dir%/*/*/*}}
[ -d "${{dir%/*}}" ] || {{ exec 8<"${{root%/*}}" && flock 8 && mkdir -p -m 700 "$root" && mkdir -p "${{dir%/*}}" && exec 8<&-; }}
[ -O "$root" ] && [ ! -L "$root" ] || {{ echo "$root is not a folder of this user" >&2; exit 1; }}
exec 9<"${{dir%/*}}" && flock 9 || exit 1
if [ ! -s "$dir/pid" ]; then
mkdir -p -m 700 "$dir" && {input} || {{ echo "its input did not arrive" >&2; exit 1; }}
printf '%s\n' {line} >"$dir/command" || exit 1
pid=$(setsid bash -c {leader} "$dir" 2>"$dir/err" 9<&- &) && [ "$pid" ] || {{ cat "$dir/err" >&2; exit 1; }}
fi
exec 9<&-
"#
    )
}

/// What the scripts about a job begin with. A process id alone is not enough: it may be somebody else's by now, so the
/// process must be at home in the folder. Nor is its end the end of the work: a process that nobody has
/// asked after yet keeps its id, so the status counts first.
fn about(job: &Job) -> String {
    let dir = quoted(&job.dir);
    format!(
        r#"cd {dir} 2>/dev/null && [ -s pid ] && read -r pid <pid || exit {MISSING}
busy() {{ [ ! -s status ] && [ "/proc/$pid/cwd" -ef . ]; }}
report() {{
read -r ended 2>/dev/null <status || ended=gone
{{ echo "$ended $(wc -c <out)"; [ ! -s err ] || tail -c 65536 err; }} >&2
}}
"#
    )
}

/// Standard output: what the job prints from `offset` on. Standard error, at the end: the report.
fn follow_script(job: &Job, offset: u64) -> String {
    let (about, from) = (about(job), offset + 1);
    format!(
        r"{about}while busy; do sleep 0.1; done </dev/null >/dev/null 2>&1 &
tail -c +{from} -f -s 0.1 --pid=$! out 2>/dev/null
report"
    )
}

fn cancel_script(job: &Job) -> String {
    let (about, tries) = (about(job), CANCEL_WITHIN.as_millis() / 100);
    format!(
        r"{about}if busy; then
kill -TERM -$pid
for i in $(seq {tries}); do busy || break; sleep 0.1; done
busy && exit 4
fi
tail -n 40 out
report"
    )
}

/// A line for each job: `missing`, `running`, `gone`, or its exit status.
fn states_script(jobs: &[Job]) -> String {
    let one = |job: &Job| {
        let about = about(job);
        format!(
            "({about}if busy; then echo running; else read -r ended 2>/dev/null <status || ended=gone; echo $ended; fi) || echo missing\n"
        )
    };
    jobs.iter().map(one).collect()
}

/// Nothing is cleared away below work that still goes on.
fn clear_script(root: &str, run: &RunId) -> String {
    let root = quoted(root);
    format!(
        r#"root={root}
[ -d "$root" ] && cd "$root" || exit 0
for job in {run}/jobs/*/; do
[ -s "$job/status" ] || ! read -r pid 2>/dev/null <"$job/pid" || [ ! "/proc/$pid/cwd" -ef "$job" ] || {{ cat "$job/command"; exit 5; }}
done
for claim in *; do
[ ! -L "$claim" ] || [ "$(readlink "$claim")" != {run} ] || rm -f "$claim" || exit
done
rm -rf {run}/jobs {run}/owner && exec 8<"${{root%/*}}" && flock 8 || exit
[ ! -d {run} ] || rmdir --ignore-fail-on-non-empty {run} "$root""#
    )
}

/// See [`super::Host::run_job`].
pub(super) fn run(
    shell: &dyn Shell,
    job: &Job,
    command: &Command,
    on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<JobEnd, HostError> {
    if command.has_nul() {
        let shown = job.command.replace('\0', "\\0");
        return Err(unsendable(shell, shown, "an argument holds a NUL byte"));
    }
    to_its_end(shell, job, Some(command), on_line)
}

/// See [`super::Host::follow`].
pub(super) fn follow(
    shell: &dyn Shell,
    job: &Job,
    on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<JobEnd, HostError> {
    to_its_end(shell, job, None, on_line)
}

fn to_its_end(
    shell: &dyn Shell,
    job: &Job,
    command: Option<&Command>,
    on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<JobEnd, HostError> {
    let mut follower = Follower { command, ..Follower::default() };
    let mut patience = Patience::new();
    loop {
        match follower.once(shell, job, &mut patience, on_line) {
            Ok(Some(end)) => return Ok(end),
            // Output was written between the last look of `tail` and the report: fetch the rest.
            Ok(None) => {}
            Err(error) => {
                let pause = patience.after(error)?;
                if wait(pause, on_line).is_break() {
                    return Ok(JobEnd::Detached);
                }
            }
        }
    }
}

/// Waits, and lets the caller break off meanwhile.
fn wait(pause: Duration, on_line: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
    let until = Instant::now() + pause;
    loop {
        on_line("")?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ControlFlow::Continue(());
        }
        thread::sleep(left.min(QUIET));
    }
}

/// How far the output of a job was passed on.
#[derive(Default)]
struct Follower<'a> {
    /// What is begun when the job is not there yet.
    command: Option<&'a Command>,
    offset: u64,
    /// Where the output ended when it was shorter than the report about it. The next look has to get further.
    short: Option<u64>,
    lines: Lines,
    last: LastLines,
}

impl Follower<'_> {
    /// One remote execution. `None` when the job ended but not all its output was seen.
    fn once(
        &mut self,
        shell: &dyn Shell,
        job: &Job,
        patience: &mut Patience,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Option<JobEnd>, HostError> {
        let begin = self.command.map(|command| begin_script(job, command)).unwrap_or_default();
        let line = begin + &follow_script(job, self.offset);
        let stdin = self.command.map(Command::stdin_bytes).unwrap_or_default();
        let script = Script { text: &line, shown: &job.command, stdin, limit: None };
        let mut report = Vec::new();
        let Self { offset, lines, last, .. } = self;
        let ending = shell.exec(&script, &mut |event| match event {
            Event::Stdout(bytes) => {
                patience.answered();
                *offset += bytes.len() as u64;
                lines.feed(bytes, &mut |line| {
                    last.push(line);
                    on_line(line)
                })
            }
            Event::Stderr(bytes) => {
                let room = LONGEST_REPORT.saturating_sub(report.len());
                report.extend_from_slice(&bytes[..bytes.len().min(room)]);
                ControlFlow::Continue(())
            }
            Event::Quiet => {
                patience.answered();
                on_line("")
            }
        })?;
        let Some(ending) = ending else { return Ok(Some(JobEnd::Detached)) };
        if ending == Ending::Exit(MISSING) {
            return Ok(Some(JobEnd::Missing));
        }
        let (ending, size, stderr) = parse_report(shell, job, &ending, report)?;
        if self.offset < size {
            if self.short == Some(self.offset) {
                let reason =
                    format!("the output of `{}` ends after {} of {size} bytes", job.command, self.offset);
                return Err(protocol(shell, reason));
            }
            self.short = Some(self.offset);
            return Ok(None);
        }
        let flow = self.lines.finish(&mut |line| {
            self.last.push(line);
            on_line(line)
        });
        if flow.is_break() {
            return Ok(Some(JobEnd::Detached));
        }
        let stdout = std::mem::take(&mut self.last).join();
        Ok(Some(JobEnd::Finished(Output { ending, stdout, stderr })))
    }
}

/// How the job ended, how many bytes it printed, and its standard error.
fn parse_report(
    shell: &dyn Shell,
    job: &Job,
    script: &Ending,
    report: Vec<u8>,
) -> Result<(Ending, u64, String), HostError> {
    let report = text(report);
    let parts = report.split_once('\n').and_then(|(head, stderr)| {
        let (status, size) = head.split_once(' ')?;
        Some((status, size.trim().parse().ok()?, stderr.to_owned()))
    });
    let Some((status, size, stderr)) = parts.filter(|_| *script == Ending::Exit(0)) else {
        let words = report.trim();
        return Err(protocol(shell, format!("cannot read the job in `{}` ({script}): {words}", job.dir)));
    };
    if status == "gone" {
        let note = "its process is gone and left no exit status\n";
        return Ok((gone(), size, stderr + note));
    }
    let status = status
        .parse()
        .map_err(|_| protocol(shell, format!("`{status}` in `{}/status` is not an exit status", job.dir)))?;
    Ok((Ending::Exit(status), size, stderr))
}

/// How work ended whose leader did not live to tell.
fn gone() -> Ending {
    Ending::Signal("KILL".to_owned())
}

/// See [`super::Host::cancel`].
pub(super) fn cancel(shell: &dyn Shell, job: &Job) -> Result<JobEnd, HostError> {
    let line = cancel_script(job);
    let script = Script { text: &line, shown: &job.command, stdin: b"", limit: Some(CANCEL_WITHIN * 2) };
    let Printed { ending, stdout, stderr } = collect_again(shell, &script)?;
    match ending {
        Ending::Exit(MISSING) => Ok(JobEnd::Missing),
        Ending::Exit(4) => {
            let (host, command) = (shell.name().to_owned(), format!("kill -TERM `{}`", job.command));
            Err(HostError::TimedOut { host, command, seconds: CANCEL_WITHIN.as_secs() })
        }
        ending => {
            let (ending, _, stderr) = parse_report(shell, job, &ending, stderr)?;
            Ok(JobEnd::Finished(Output { ending, stdout: text(stdout), stderr }))
        }
    }
}

/// See [`super::Host::job_states`].
pub(super) fn states(shell: &dyn Shell, jobs: &[Job]) -> Result<Vec<JobState>, HostError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let line = states_script(jobs);
    let script = Script { text: &line, shown: "what jobs are doing", stdin: b"", limit: Some(LIMIT) };
    let printed = text(collect_again(shell, &script)?.stdout);
    let state = |line: &str| match line {
        "missing" => Some(JobState::Missing),
        "running" => Some(JobState::Running),
        "gone" => Some(JobState::Ended(gone())),
        status => Some(JobState::Ended(Ending::Exit(status.parse().ok()?))),
    };
    let states: Option<Vec<_>> = printed.lines().map(state).collect();
    let states = states.filter(|states| states.len() == jobs.len());
    states.ok_or_else(|| protocol(shell, format!("cannot read what jobs are doing: {}", printed.trim())))
}

/// See [`super::Host::clear`].
pub(super) fn clear(shell: &dyn Shell, run: &RunId) -> Result<(), HostError> {
    let root = shell.root();
    let (line, shown) = (clear_script(root, run), format!("rm -rf {root}/{run}/jobs"));
    let script = Script { text: &line, shown: &shown, stdin: b"", limit: Some(LIMIT) };
    let Printed { ending, stdout, stderr } = collect_again(shell, &script)?;
    match ending {
        Ending::Exit(0) => Ok(()),
        Ending::Exit(5) => Err(protocol(shell, format!("`{}` still works", text(stdout).trim()))),
        ending => Err(protocol(shell, format!("`{shown}` ended with {ending}: {}", text(stderr).trim()))),
    }
}

/// Runs a script that does no harm when it runs twice: again when the connection broke.
fn collect_again(shell: &dyn Shell, script: &Script<'_>) -> Result<Printed, HostError> {
    again(|| collect(shell, script))
}

/// Asks again, as long as patience lasts, when the connection broke.
pub(super) fn again<T>(mut ask: impl FnMut() -> Result<T, HostError>) -> Result<T, HostError> {
    let mut patience = Patience::new();
    loop {
        match ask() {
            Err(error) => thread::sleep(patience.after(error)?),
            answer => {
                patience.answered();
                return answer;
            }
        }
    }
}

fn unsendable(shell: &dyn Shell, command: String, reason: &str) -> HostError {
    HostError::Unsendable { host: shell.name().to_owned(), command, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
