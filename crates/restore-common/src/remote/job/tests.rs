//! Jobs with a shell that plays the node.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    super::{
        claim::{HELD, claim_command},
        local::LocalShell,
    },
    *,
};

fn sh(script: &str) -> Command {
    Command::write("sh").args(["-c", script])
}

/// A job on this machine, cleared away at the end of a test.
struct Running {
    shell: LocalShell,
    run: RunId,
    job: Job,
    command: Command,
}

impl Running {
    /// A job that was not sent yet.
    fn planned(command: &Command) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let run = RunId::try_from(format!("test-{}-{count}", std::process::id())).unwrap();
        let job = Job::new(ROOT, &run, "1 work", command);
        Self { shell: LocalShell::new(ROOT, Vec::new()), run, job, command: command.clone() }
    }

    /// A job that was begun, and left at its first line, if it ever prints one.
    fn new(command: &Command) -> Self {
        let running = Self::planned(command);
        let end = run(&running.shell, &running.job, command, &mut |_| ControlFlow::Break(()));
        assert!(matches!(end, Ok(JobEnd::Detached | JobEnd::Finished(_))), "{end:?}");
        assert_eq!(running.shell.executions.swap(0, Ordering::Relaxed), 1, "one remote execution");
        running
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

    fn cancel(&self) -> Output {
        let end = cancel(&self.shell, &self.job);
        let Ok(JobEnd::Finished(output)) = end else { panic!("{end:?}") };
        output
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

    fn pid(&self) -> String {
        self.file("pid").trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = cancel(&self.shell, &self.job);
        let cleared = clear(&self.shell, &self.run);
        assert!(std::thread::panicking() || cleared.is_ok(), "{cleared:?}");
    }
}

#[test]
fn a_job_leaves_its_output_and_its_status_in_its_folder() {
    let running = Running::new(&sh("echo one; echo two; echo wrong >&2; exit 3"));
    let (output, lines) = running.follow();
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(output.ending, Ending::Exit(3));
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\ntwo\n", "wrong\n"));
    assert_eq!(running.job.dir, format!("/var/tmp/pve-restore/{}/jobs/1-work", running.run));
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
    assert_eq!(running.cancel().ending, Ending::Exit(143));
}

#[test]
fn cancelling_lets_the_work_clean_up_and_tells_how_it_ended() {
    let running = Running::new(&sh("trap 'echo cleaned; exit 7' TERM; echo begun; while :; do :; done"));
    running.wait_for_first_line();
    let output = running.cancel();
    assert_eq!((output.ending, output.stdout.as_str()), (Ending::Exit(7), "begun\ncleaned\n"));
    let again = running.cancel();
    assert_eq!(again.ending, Ending::Exit(7), "cancelling what ended changes nothing");
}

#[test]
fn work_whose_leader_was_killed_is_reported_as_killed() {
    let running = Running::new(&sh("echo begun; exec sleep 600"));
    running.wait_for_first_line();
    let group = format!("-{}", running.pid());
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
fn no_line_is_lost_or_doubled_and_nothing_runs_twice_when_the_connection_breaks() {
    let once = sh("echo ran >>marks; printf 'a\\r\\nbb\\ncaf\\303\\251\\nlast'");
    let running = Running::planned(&once);
    let shell = Cutting { shell: LocalShell::new(ROOT, Vec::new()), after: 3 };
    let mut lines = Vec::new();
    let end = run(&shell, &running.job, &once, &mut |line| {
        lines.extend((!line.is_empty()).then(|| line.to_owned()));
        ControlFlow::Continue(())
    });
    assert!(matches!(end, Ok(JobEnd::Finished(_))), "{end:?}");
    assert_eq!(lines, ["a", "bb", "café", "last"]);
    assert!(shell.shell.executions.load(Ordering::Relaxed) > 3);
    assert_eq!(running.file("marks"), "ran\n");
}

#[test]
fn sending_a_job_again_gives_its_first_result() {
    let command = sh("echo ran >>marks; cat; exit 5").stdin("input");
    let running = Running::new(&command);
    for _ in 0..2 {
        let end = run(&running.shell, &running.job, &running.command, &mut |_| ControlFlow::Continue(()));
        let Ok(JobEnd::Finished(output)) = end else { panic!("{end:?}") };
        assert_eq!((output.ending, output.stdout.as_str()), (Ending::Exit(5), "input\n"));
    }
    assert_eq!(running.file("marks"), "ran\n");
}

/// Loses the input on its way.
struct Deaf(LocalShell);

impl Shell for Deaf {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn exec(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, HostError> {
        let cut = &script.stdin[..script.stdin.len() / 2];
        self.0.exec(&Script { stdin: cut, ..*script }, sink)
    }
}

#[test]
fn a_job_whose_input_was_cut_off_is_not_begun() {
    let command = Command::write("cat").stdin("all of it");
    let running = Running::planned(&command);
    let shell = Deaf(LocalShell::new(ROOT, Vec::new()));
    let error = run(&shell, &running.job, &command, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("did not arrive"), "{error}");
    let states = states(&running.shell, std::slice::from_ref(&running.job)).unwrap();
    assert_eq!(states, [JobState::Missing]);
    let end = run(&running.shell, &running.job, &command, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(matches!(end, JobEnd::Finished(output) if output.stdout == "all of it\n"));
}

#[test]
fn jobs_are_missing_running_ended_or_killed() {
    let (ended, busy) = (Running::new(&sh("exit 9")), Running::new(&sh("exec sleep 600")));
    let killed = Running::new(&sh("echo begun; exec sleep 600"));
    let group = format!("-{}", killed.pid());
    assert!(std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    killed.follow();
    let missing = Running::planned(&sh("true"));
    let jobs = [&missing, &busy, &ended, &killed].map(|running| running.job.clone());
    let states = states(&busy.shell, &jobs).unwrap();
    let ended_by = |ending| JobState::Ended(ending);
    let expected = [
        JobState::Missing,
        JobState::Running,
        ended_by(Ending::Exit(9)),
        ended_by(Ending::Signal("KILL".into())),
    ];
    assert_eq!(states, expected);
    assert_eq!(cancel(&missing.shell, &missing.job).unwrap(), JobEnd::Missing);
    let end = follow(&missing.shell, &missing.job, &mut |_| ControlFlow::Continue(()));
    assert_eq!(end.unwrap(), JobEnd::Missing);
}

#[test]
fn nothing_is_cleared_away_below_work_that_goes_on() {
    let running = Running::new(&sh("exec sleep 600"));
    let error = clear(&running.shell, &running.run).unwrap_err();
    assert!(error.to_string().contains("sleep 600") && error.to_string().contains("still works"), "{error}");
    running.cancel();
    clear(&running.shell, &running.run).unwrap();
    assert!(!std::path::Path::new(&format!("{ROOT}/{}", running.run)).exists());
}

#[test]
fn a_guest_is_claimed_by_one_run_at_a_time() {
    let (first, second) = (Running::new(&sh("true")), Running::new(&sh("true")));
    let what = format!("guest-of-{}", first.run);
    let claim = |running: &Running, over: &[RunId]| {
        let command = claim_command(ROOT, &running.run, &what, &format!("somebody at {}", running.run), over);
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", &command.to_string()]).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let free = (0, String::new());
    assert_eq!(claim(&first, &[]), free);
    assert_eq!(claim(&first, &[]), free, "taking it again is harmless");
    assert_eq!(claim(&second, &[]), (HELD, format!("somebody at {}\n", first.run)));
    assert_eq!(claim(&second, std::slice::from_ref(&first.run)), free, "a run that is over holds nothing");
    assert_eq!(claim(&first, &[]).0, HELD);
    clear(&second.shell, &second.run).unwrap();
    assert_eq!(claim(&first, &[]), free, "released with its run");
}
