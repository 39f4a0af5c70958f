//! Work that outlives the connection: how a job is started, followed, ended and cleared away on a node.
//!
//! A job is a folder below [`ROOT`] and a process group. The leader of the group is a shell that waits for the work
//! and writes its exit status; it ignores the signals that are meant for the work, so a status is always left behind
//! unless somebody kills the leader by force.

use std::{
    ops::ControlFlow,
    thread,
    time::{Duration, Instant},
};

use super::{
    Command, Ending, HostError, Job, JobEnd, Output,
    command::quoted,
    lines::{LastLines, Lines},
    shell::{Event, Printed, QUIET, Script, Shell, collect, protocol, text},
};

/// Where jobs live on a node: survives a restart of the node, unlike `/tmp` or `/run`.
const ROOT: &str = "/var/tmp/pve-restore";

/// How long a follower tries to reach a node again before it gives up. The job goes on all the same.
const RECONNECT_FOR: Duration = Duration::from_secs(60);

/// Longest pause between two of these tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the work may take to clean up after SIGTERM.
const CANCEL_WITHIN: Duration = Duration::from_secs(30);

/// How long the short scripts of this module may take.
const LIMIT: Duration = Duration::from_secs(60);

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
echo $? >status.new
mv status.new status"#;

/// Makes the folder, for nobody else to read: it holds what the command reads and prints. `/var/tmp` belongs to
/// everybody, so a folder that somebody else made is not taken. The umask stays as it is: it is that of the restored
/// files, too.
fn start_script(label: &str, command: &Command) -> String {
    let (leader, line) = (quoted(LEADER), quoted(&command.to_string()));
    format!(
        r#"mkdir -p -m 700 {ROOT} && [ -O {ROOT} ] && [ ! -L {ROOT} ] || {{ echo "{ROOT} is not a folder of this user" >&2; exit 1; }}
dir=$(mktemp -d {ROOT}/{label}-XXXXXXXX) && cat >"$dir/in" && printf '%s\n' {line} >"$dir/command" || exit
pid=$(setsid bash -c {leader} "$dir" 2>"$dir/err" &) && [ "$pid" ] || {{ cat "$dir/err" >&2; exit 1; }}
echo "$dir" && echo "$pid""#
    )
}

/// What the scripts about a running job begin with. A process id alone is not enough: it may be somebody else's by
/// now, so the folder must stand among the arguments of the process. Nor is its end the end of the work: a process that
/// nobody has asked after yet keeps its id, so the status counts first.
fn about(job: &Job) -> String {
    let (dir, pid) = (quoted(&job.dir), job.pid);
    format!(
        r#"cd {dir} || exit 3
busy() {{ [ ! -e status ] && grep -qF {dir} /proc/{pid}/cmdline 2>/dev/null; }}
report() {{ {{ echo "$(cat status 2>/dev/null || echo gone) $(wc -c <out)"; tail -c 65536 err; }} >&2; }}
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
    let (about, pid, tries) = (about(job), job.pid, CANCEL_WITHIN.as_millis() / 100);
    format!(
        r"{about}if busy; then
kill -TERM -{pid}
for i in $(seq {tries}); do busy || break; sleep 0.1; done
busy && exit 4
fi
tail -n 40 out
report"
    )
}

/// See [`super::Host::start_job`].
pub(super) fn start(shell: &dyn Shell, label: &str, command: &Command) -> Result<Job, HostError> {
    let shown = command.to_string();
    if command.has_nul() {
        return Err(unsendable(shell, shown.replace('\0', "\\0"), "an argument holds a NUL byte"));
    }
    let line = start_script(&folder_name(label), command);
    let script = Script { text: &line, shown: &shown, stdin: command.stdin_bytes(), limit: Some(LIMIT) };
    let printed = collect(shell, &script)?;
    let stdout = text(printed.stdout);
    if let [dir, pid] = stdout.lines().collect::<Vec<_>>()[..]
        && let Ok(pid) = pid.parse()
        && printed.ending == Ending::Exit(0)
    {
        return Ok(Job { dir: dir.to_owned(), pid, command: shown });
    }
    let words = text(printed.stderr);
    Err(protocol(shell, format!("could not start a job ({}): {}", printed.ending, words.trim())))
}

/// A label as part of a folder's name.
fn folder_name(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() || "_.".contains(c) { c } else { '-' }).collect()
}

/// See [`super::Host::follow`].
pub(super) fn follow(
    shell: &dyn Shell,
    job: &Job,
    on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<JobEnd, HostError> {
    let mut follower = Follower::default();
    let mut pause = Duration::ZERO;
    let mut reached = Instant::now();
    loop {
        match follower.once(shell, job, on_line) {
            Ok(Some(end)) => return Ok(end),
            // Output was written between the last look of `tail` and the report: fetch the rest.
            Ok(None) => {}
            Err(error @ (HostError::Lost { .. } | HostError::Unreachable { .. })) => {
                if follower.heard {
                    (reached, pause) = (Instant::now(), Duration::ZERO);
                }
                if reached.elapsed() > RECONNECT_FOR {
                    return Err(error);
                }
                log::warn!("{error}; the job goes on, connecting again");
                if wait(pause, on_line).is_break() {
                    return Ok(JobEnd::Detached);
                }
                pause = (pause * 2).clamp(Duration::from_millis(250), LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
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
struct Follower {
    offset: u64,
    lines: Lines,
    last: LastLines,
    heard: bool,
}

impl Follower {
    /// One remote execution. `None` when the job ended but not all its output was seen.
    fn once(
        &mut self,
        shell: &dyn Shell,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Option<JobEnd>, HostError> {
        let line = follow_script(job, self.offset);
        let script = Script { text: &line, shown: &job.command, stdin: b"", limit: None };
        let mut report = Vec::new();
        self.heard = false;
        let Self { offset, lines, last, heard } = self;
        let ending = shell.exec(&script, &mut |event| match event {
            Event::Stdout(bytes) => {
                *heard = true;
                *offset += bytes.len() as u64;
                lines.feed(bytes, &mut |line| {
                    last.push(line);
                    on_line(line)
                })
            }
            Event::Stderr(bytes) => {
                report.extend_from_slice(bytes);
                ControlFlow::Continue(())
            }
            Event::Quiet => {
                *heard = true;
                on_line("")
            }
        })?;
        let Some(ending) = ending else { return Ok(Some(JobEnd::Detached)) };
        let (ending, size, stderr) = parse_report(shell, job, &ending, report)?;
        if self.offset < size {
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
        let note = format!("the process {} of this job is gone and left no exit status", job.pid);
        return Ok((Ending::Signal("KILL".to_owned()), size, format!("{stderr}{note}\n")));
    }
    let status = status
        .parse()
        .map_err(|_| protocol(shell, format!("`{status}` in `{}/status` is not an exit status", job.dir)))?;
    Ok((Ending::Exit(status), size, stderr))
}

/// See [`super::Host::cancel`].
pub(super) fn cancel(shell: &dyn Shell, job: &Job) -> Result<Output, HostError> {
    let line = cancel_script(job);
    let script = Script { text: &line, shown: &job.command, stdin: b"", limit: Some(CANCEL_WITHIN * 2) };
    let Printed { ending, stdout, stderr } = collect_again(shell, &script)?;
    if ending == Ending::Exit(4) {
        let (host, command) = (shell.name().to_owned(), format!("kill -TERM -{}", job.pid));
        return Err(HostError::TimedOut { host, command, seconds: CANCEL_WITHIN.as_secs() });
    }
    let (ending, _, stderr) = parse_report(shell, job, &ending, stderr)?;
    Ok(Output { ending, stdout: text(stdout), stderr })
}

/// See [`super::Host::remove_jobs`].
pub(super) fn remove(shell: &dyn Shell, jobs: &[Job]) -> Result<(), HostError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let folders = jobs.iter().fold(String::new(), |list, job| list + " " + &quoted(&job.dir));
    let shown = format!("rm -rf --{folders}");
    if let Some(job) = jobs.iter().find(|job| !is_job_folder(&job.dir)) {
        let reason = format!("`{}` is not a job's folder below `{ROOT}`", job.dir);
        return Err(unsendable(shell, shown, &reason));
    }
    let line = format!("{shown} && rmdir --ignore-fail-on-non-empty {ROOT}");
    let script = Script { text: &line, shown: &shown, stdin: b"", limit: Some(LIMIT) };
    let Printed { ending, stderr, .. } = collect_again(shell, &script)?;
    if ending == Ending::Exit(0) {
        return Ok(());
    }
    Err(protocol(shell, format!("`{shown}` ended with {ending}: {}", text(stderr).trim())))
}

/// Runs a script that does no harm when it runs twice: once more when the connection broke.
fn collect_again(shell: &dyn Shell, script: &Script<'_>) -> Result<Printed, HostError> {
    match collect(shell, script) {
        Err(HostError::Lost { .. }) => collect(shell, script),
        other => other,
    }
}

fn is_job_folder(dir: &str) -> bool {
    let name = dir.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
    name.is_some_and(|name| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']))
}

fn unsendable(shell: &dyn Shell, command: String, reason: &str) -> HostError {
    HostError::Unsendable { host: shell.name().to_owned(), command, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{super::shell::local::LocalShell, *};

    fn sh(script: &str) -> Command {
        Command::write("sh").args(["-c", script])
    }

    /// A job on this machine, cleared away at the end of a test.
    struct Running {
        shell: LocalShell,
        job: Job,
    }

    impl Running {
        fn new(command: &Command) -> Self {
            let shell = LocalShell::default();
            let job = start(&shell, "test job", command).unwrap();
            assert_eq!(shell.executions.swap(0, Ordering::Relaxed), 1, "one remote execution");
            Self { shell, job }
        }

        fn follow(&self) -> (Output, Vec<String>) {
            let mut lines = Vec::new();
            let end = follow(&self.shell, &self.job, &mut |line| {
                lines.extend((!line.is_empty()).then(|| line.to_owned()));
                ControlFlow::Continue(())
            });
            let Ok(JobEnd::Finished(output)) = end else { panic!("{end:?}") };
            (output, lines)
        }

        /// Follows until the first line, which says that the work has begun.
        fn wait_for_first_line(&self) {
            let end = follow(&self.shell, &self.job, &mut |line| {
                if line.is_empty() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            assert_eq!(end.unwrap(), JobEnd::Detached);
        }

        fn file(&self, name: &str) -> String {
            std::fs::read_to_string(format!("{}/{name}", self.job.dir)).unwrap()
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = cancel(&self.shell, &self.job);
            let removed = remove(&self.shell, std::slice::from_ref(&self.job));
            assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
        }
    }

    #[test]
    fn a_job_leaves_its_output_and_its_status_in_its_folder() {
        let running = Running::new(&sh("echo one; echo two; echo wrong >&2; exit 3"));
        let (output, lines) = running.follow();
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(output.ending, Ending::Exit(3));
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\ntwo\n", "wrong\n"));
        assert!(running.job.dir.starts_with("/var/tmp/pve-restore/test-job-"), "{:?}", running.job);
        assert_eq!(running.file("pid").trim(), running.job.pid.to_string());
        assert_eq!(running.file("command").trim(), running.job.command);
        assert_eq!((running.file("out"), running.file("status")), ("one\ntwo\n".into(), "3\n".into()));
        assert_eq!(running.follow().1, lines, "following again later shows the same");
    }

    #[test]
    fn a_job_reads_its_bytes_fails_with_its_pipe_and_speaks_english() {
        let upper =
            Running::new(&Command::write("cat").pipe(Command::read("od").args(["-An", "-c"])).stdin("a\0b"));
        assert_eq!(upper.follow().0.stdout.split_whitespace().collect::<Vec<_>>(), ["a", r"\0", "b"]);
        let failing = Running::new(&Command::write("false").pipe(Command::read("cat")));
        assert_eq!(failing.follow().0.ending, Ending::Exit(1));
        assert_eq!(Running::new(&sh("echo $LC_ALL")).follow().1, ["C.UTF-8"]);
    }

    #[test]
    fn what_a_job_makes_has_the_usual_permissions_and_its_folder_has_none_for_others() {
        let usual = std::process::Command::new("sh").args(["-c", "umask"]).output().unwrap().stdout;
        let running = Running::new(&sh("umask; stat -c %a ."));
        assert_eq!(running.follow().1, [text(usual).trim(), "700"]);
    }

    #[test]
    fn a_follower_may_leave_and_come_back() {
        let running = Running::new(&sh("echo begun; while [ ! -e go ]; do :; done; echo ended"));
        running.wait_for_first_line();
        std::fs::write(format!("{}/go", running.job.dir), "").unwrap();
        assert_eq!(running.follow().1, ["begun", "ended"]);
    }

    #[test]
    fn a_follower_of_a_silent_job_may_leave() {
        let running = Running::new(&sh("exec sleep 600"));
        let end = follow(&running.shell, &running.job, &mut |_| ControlFlow::Break(()));
        assert_eq!(end.unwrap(), JobEnd::Detached);
        assert_eq!(cancel(&running.shell, &running.job).unwrap().ending, Ending::Exit(143));
    }

    #[test]
    fn cancelling_lets_the_work_clean_up_and_tells_how_it_ended() {
        let running = Running::new(&sh("trap 'echo cleaned; exit 7' TERM; echo begun; while :; do :; done"));
        running.wait_for_first_line();
        let output = cancel(&running.shell, &running.job).unwrap();
        assert_eq!((output.ending, output.stdout.as_str()), (Ending::Exit(7), "begun\ncleaned\n"));
        let again = cancel(&running.shell, &running.job).unwrap();
        assert_eq!(again.ending, Ending::Exit(7), "cancelling what ended changes nothing");
    }

    #[test]
    fn work_whose_leader_was_killed_is_reported_as_killed() {
        let running = Running::new(&sh("echo begun; exec sleep 600"));
        running.wait_for_first_line();
        let group = format!("-{}", running.job.pid);
        assert!(std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
        let (output, _) = running.follow();
        assert_eq!(output.ending, Ending::Signal("KILL".into()));
        assert!(output.stderr.contains("left no exit status"), "{output:?}");
    }

    #[test]
    fn a_long_output_is_passed_on_but_not_kept() {
        let running = Running::new(&Command::read("seq").arg("200000"));
        let (output, lines) = running.follow();
        assert_eq!(lines.len(), 200_000);
        assert!(lines.iter().enumerate().all(|(index, line)| *line == (index + 1).to_string()));
        assert_eq!(output.stdout.lines().count(), 40);
    }

    /// Cuts the connection after a few bytes, again and again.
    struct Cutting {
        shell: LocalShell,
        after: usize,
    }

    impl Shell for Cutting {
        fn name(&self) -> &str {
            self.shell.name()
        }

        fn exec(
            &self,
            script: &Script<'_>,
            sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        ) -> Result<Option<Ending>, HostError> {
            let mut left = self.after;
            let ending = self.shell.exec(script, &mut |event| match event {
                Event::Stdout(bytes) if left < bytes.len() => {
                    let flow = sink(Event::Stdout(&bytes[..left]));
                    left = 0;
                    assert!(flow.is_continue());
                    ControlFlow::Break(())
                }
                Event::Stdout(bytes) => {
                    left -= bytes.len();
                    sink(Event::Stdout(bytes))
                }
                other => sink(other),
            })?;
            ending.map(Some).ok_or_else(|| HostError::Lost {
                host: "here".into(),
                command: script.shown.into(),
                reason: "cut".into(),
            })
        }
    }

    #[test]
    fn no_line_is_lost_or_doubled_when_the_connection_breaks() {
        let running = Running::new(&sh("printf 'a\\r\\nbb\\ncaf\\303\\251\\nlast'"));
        let shell = Cutting { shell: LocalShell::default(), after: 3 };
        let mut lines = Vec::new();
        let end = follow(&shell, &running.job, &mut |line| {
            lines.extend((!line.is_empty()).then(|| line.to_owned()));
            ControlFlow::Continue(())
        });
        assert!(matches!(end, Ok(JobEnd::Finished(_))), "{end:?}");
        assert_eq!(lines, ["a", "bb", "café", "last"]);
        assert!(shell.shell.executions.load(Ordering::Relaxed) > 3);
    }

    #[test]
    fn only_folders_of_jobs_are_removed() {
        let shell = LocalShell::default();
        for dir in [
            "/var/tmp/pve-restore/",
            "/var/tmp/pve-restore/..",
            "/var/tmp/pve-restore/a/b",
            "/var/tmp/x",
            "/",
        ] {
            let job = Job { dir: dir.to_owned(), pid: 1, command: String::new() };
            let error = remove(&shell, &[job]).unwrap_err();
            assert!(matches!(error, HostError::Unsendable { .. }), "{dir}: {error}");
        }
        assert_eq!(shell.executions.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_job_whose_folder_is_gone_is_an_error_not_an_end() {
        let running = Running::new(&sh("true"));
        let missing = Job { dir: "/var/tmp/pve-restore/none".into(), ..running.job.clone() };
        let error = follow(&running.shell, &missing, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().contains("/var/tmp/pve-restore/none"), "{error}");
    }
}
