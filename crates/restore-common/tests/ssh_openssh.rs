//! The SSH host against a real OpenSSH server on a loopback port, with keys of its own.
//!
//! Without `/usr/sbin/sshd` these tests say that they skipped; where `CI` is `true` that is a failure.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    ops::ControlFlow,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command as Program, Stdio},
    sync::{Arc, Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use restore_common::remote::{
    Command, Ending, Host, HostError, Job, JobEnd, JobState, Output, ReadOnly, RunId, SshEnv, SshHost,
    SshTarget,
};

const SSHD: &str = "/usr/sbin/sshd";

/// A running server, the operator's home and the program's state folder, all gone at the end.
struct Sshd {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    port: u16,
    user: String,
    folder: tempfile::TempDir,
}

impl Sshd {
    /// Starts a server, or says that there is none. Told that it is an inner shell, bash does not read the start-up file
    /// of whoever runs the tests.
    fn start() -> Option<Self> {
        Self::start_with("SetEnv SHLVL=1")
    }

    /// Starts a server whose logins bash takes for such, with this as `~/.bashrc`.
    fn start_with_start_up_file(text: &str) -> Option<Self> {
        let sshd = Self::start_with("SetEnv HOME=DIR/home")?;
        fs::write(sshd.path("home/.bashrc"), text).unwrap();
        Some(sshd)
    }

    /// Starts a server with these options besides the usual ones.
    fn start_with(options: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{SSHD} is missing");
            eprintln!("skipped: {SSHD} is missing");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("home/.ssh")).unwrap();
        make_key(&folder.path().join("host"), "ed25519", "");
        make_key(&folder.path().join("mine"), "ed25519", "");
        fs::copy(folder.path().join("mine.pub"), folder.path().join("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let user = output_of("id", &["-un"]).trim().to_owned();
        let options = options.replace("DIR", &folder.path().display().to_string());
        fs::write(folder.path().join("options"), options).unwrap();
        let (child, log) = run_sshd(folder.path(), port);
        let sshd = Self { child, log, port, user, folder };
        let known = format!("[127.0.0.1]:{port} {}", fs::read_to_string(sshd.path("host.pub")).unwrap());
        fs::write(sshd.path("known_hosts"), known).unwrap();
        Some(sshd)
    }

    /// The same server with another host key.
    fn restart_with_new_host_key(&mut self) {
        self.stop();
        fs::remove_file(self.path("host")).unwrap();
        make_key(&self.path("host"), "ed25519", "");
        (self.child, self.log) = run_sshd(self.folder.path(), self.port);
    }

    fn stop(&mut self) {
        self.cut_connections();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn env(&self) -> SshEnv {
        SshEnv { home: self.path("home"), state: self.path("state"), agent: None, config: None }
    }

    /// All that is needed to log in.
    fn target(&self) -> SshTarget {
        SshTarget {
            label: "lab1".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: Some(self.port),
            user: Some(self.user.clone()),
            identity: Some(self.path("mine")),
            known_hosts: Some(self.path("known_hosts")),
            accept_new_host_key: false,
        }
    }

    fn connect(&self) -> SshHost {
        SshHost::connect(&self.target(), &self.env()).unwrap()
    }

    fn refusal(&self, target: &SshTarget) -> HostError {
        match SshHost::connect(target, &self.env()) {
            Ok(_) => panic!("{target:?} was let in"),
            Err(error) => error,
        }
    }

    fn config(&self, text: &str) {
        let text = text
            .replace("PORT", &self.port.to_string())
            .replace("USER", &self.user)
            .replace("DIR", &self.folder.path().display().to_string());
        fs::write(self.path("home/.ssh/config"), text).unwrap();
    }

    /// Shell text that waits for a file, and for no longer than the test lasts.
    fn wait_for(&self, file: &str) -> String {
        format!("while [ -e '{}' ] && [ ! -e '{file}' ]; do sleep 0.1; done;", self.folder.path().display())
    }

    fn logins(&self) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains("Accepted publickey")).count()
    }

    /// Ends the processes that serve connections, without a word to the other side.
    fn cut_connections(&self) {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let _ = Program::new("kill").args(["-KILL", child]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run_sshd(folder: &Path, port: u16) -> (Child, Arc<Mutex<Vec<String>>>) {
    // The folder that Debian's sshd insists on when root runs it; its service makes it.
    let _ = fs::create_dir("/run/sshd");
    let usual = format!(
        "Port {port}\nListenAddress 127.0.0.1\nListenAddress ::1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\n\
         StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         Include {0}/options\n",
        folder.display()
    );
    let second = folder.join("host2");
    let second = if second.exists() { format!("HostKey {}\n", second.display()) } else { String::new() };
    fs::write(folder.join("sshd_config"), usual + &second).unwrap();
    let mut child = Program::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let addresses = 1 + usize::from(has_ipv6());
    while said.iter().filter(|line: &&String| line.contains("Server listening")).count() < addresses {
        said.push(lines.next().unwrap_or_else(|| panic!("sshd did not start: {said:?}")));
    }
    let log = Arc::new(Mutex::new(said));
    let shared = Arc::clone(&log);
    thread::spawn(move || lines.for_each(|line| shared.lock().unwrap().push(line)));
    (child, log)
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

fn make_key(file: &Path, kind: &str, passphrase: &str) {
    let status = Program::new("ssh-keygen")
        .args(["-q", "-t", kind, "-C", "test key", "-N", passphrase, "-f"])
        .arg(file)
        .status()
        .unwrap();
    assert!(status.success());
}

fn output_of(program: &str, args: &[&str]) -> String {
    let output = Program::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn sh(script: &str) -> Command {
    Command::read("sh").args(["-c", script])
}

fn ends_well(host: &SshHost) {
    assert_eq!(host.run(&Command::read("echo").arg("here")).unwrap().stdout, "here\n");
}

#[test]
fn commands_share_one_connection_and_keep_their_streams_apart() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    for _ in 0..3 {
        let outputs = host
            .run_all(&[sh("echo a; echo b >&2; exit 3"), sh("cat").stdin("own bytes"), sh("printf '\\377'")])
            .unwrap();
        assert_eq!(
            outputs[0],
            Output { ending: Ending::Exit(3), stdout: "a\n".into(), stderr: "b\n".into() }
        );
        assert_eq!(outputs[1].stdout, "own bytes");
        assert_eq!(outputs[2].stdout, "\u{fffd}");
    }
    let alone = host.run(&sh("echo a; echo b >&2; cat; exit 4").stdin("c")).unwrap();
    assert_eq!(alone, Output { ending: Ending::Exit(4), stdout: "a\nc".into(), stderr: "b\n".into() });
    assert_eq!(host.run(&sh("kill -KILL $$")).unwrap().ending, Ending::Signal("KILL".into()));
    assert_eq!(sshd.logins(), 1);
}

#[test]
fn commands_of_several_threads_do_not_wait_for_one_another() {
    let Some(sshd) = Sshd::start() else { return };
    let (host, pipe) = (sshd.connect(), sshd.path("pipe").display().to_string());
    assert!(host.run(&Command::read("mkfifo").arg(&pipe)).unwrap().success());
    thread::scope(|scope| {
        let reader = scope.spawn(|| host.run(&Command::read("cat").arg(&pipe)));
        assert!(host.run(&sh(&format!("echo met > '{pipe}'"))).unwrap().success());
        assert_eq!(reader.join().unwrap().unwrap().stdout, "met\n");
    });
}

#[test]
fn many_megabytes_travel_both_ways() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let bytes = "0123456789abcde\n".repeat(500_000);
    let output = host.run(&sh("tee /dev/stderr").stdin(bytes.as_bytes())).unwrap();
    assert!(output.stdout == bytes && output.stderr == bytes);
    let unread = host.run(&sh("echo early; exit 2").stdin(bytes.as_bytes())).unwrap();
    assert_eq!((unread.ending, unread.stdout.as_str()), (Ending::Exit(2), "early\n"));
}

#[test]
fn a_host_key_is_unknown_then_noted_and_never_changes() {
    let Some(mut sshd) = Sshd::start() else { return };
    let shown = output_of("ssh-keygen", &["-lf", &sshd.path("host.pub").display().to_string()]);
    let fingerprint = shown.split_whitespace().nth(1).unwrap().to_owned();
    let unknown = SshTarget { known_hosts: Some(sshd.path("none")), ..sshd.target() };
    let accepting = SshTarget { accept_new_host_key: true, ..unknown.clone() };

    let error = sshd.refusal(&unknown);
    assert!(matches!(error, HostError::HostKey { .. }), "{error}");
    let words = format!("its ssh-ed25519 key {fingerprint} is not known for `[127.0.0.1]:{}`", sshd.port);
    assert!(error.to_string().contains(&words), "{error}");
    assert!(error.hint().unwrap().contains("--accept-new-host-key"));

    ends_well(&SshHost::connect(&accepting, &sshd.env()).unwrap());
    let noted = sshd.path("state/known_hosts");
    assert_eq!(fs::metadata(&noted).unwrap().permissions().mode() & 0o777, 0o600);
    ends_well(&SshHost::connect(&unknown, &sshd.env()).unwrap());

    sshd.restart_with_new_host_key();
    let before = fs::read(&noted).unwrap();
    for target in [&unknown, &accepting] {
        let error = sshd.refusal(target);
        assert!(matches!(error, HostError::HostKey { .. }), "{error}");
        let place = format!("but line 1 of `{}` has the ssh-ed25519 key {fingerprint}", noted.display());
        assert!(error.to_string().contains(&place), "{error}");
        assert!(error.hint().unwrap().contains("ssh-keygen -R"));
    }
    assert_eq!(fs::read(&noted).unwrap(), before);
}

#[test]
fn refused_keys_are_all_named() {
    let Some(sshd) = Sshd::start() else { return };
    make_key(&sshd.path("home/.ssh/id_ed25519"), "ed25519", "");
    make_key(&sshd.path("home/.ssh/id_ecdsa"), "ecdsa", "secret words");
    let target = SshTarget { identity: None, ..sshd.target() };
    let error = sshd.refusal(&target);
    assert!(matches!(error, HostError::Authentication { .. }), "{error}");
    let text = error.to_string();
    for expected in ["id_ed25519` (refused)", "id_ecdsa` (encrypted: give it to the agent with `ssh-add"] {
        assert!(text.contains(expected), "{text}");
    }
    let missing = SshTarget { identity: Some(sshd.path("nowhere")), ..sshd.target() };
    assert!(sshd.refusal(&missing).to_string().contains("nowhere` (No such file"));
}

#[test]
fn keys_of_every_usual_type_are_accepted() {
    let Some(sshd) = Sshd::start() else { return };
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let file = sshd.path(kind);
        make_key(&file, kind, "");
        fs::copy(sshd.path(&format!("{kind}.pub")), sshd.path("authorized_keys")).unwrap();
        let target = SshTarget { identity: Some(file), ..sshd.target() };
        ends_well(&SshHost::connect(&target, &sshd.env()).unwrap_or_else(|error| panic!("{kind}: {error}")));
    }
}

#[test]
fn a_host_known_by_one_of_its_keys_is_asked_for_that_one() {
    let Some(mut sshd) = Sshd::start() else { return };
    for kind in ["rsa", "ecdsa"] {
        sshd.stop();
        let _ = fs::remove_file(sshd.path("host2"));
        make_key(&sshd.path("host2"), kind, "");
        (sshd.child, sshd.log) = run_sshd(sshd.folder.path(), sshd.port);
        let key = fs::read_to_string(sshd.path("host2.pub")).unwrap();
        fs::write(sshd.path("known_hosts"), format!("[127.0.0.1]:{} {key}", sshd.port)).unwrap();
        ends_well(&sshd.connect());
    }
}

#[test]
fn a_batch_of_hundreds_of_commands_is_answered() {
    let Some(sshd) = Sshd::start() else { return };
    let commands: Vec<Command> =
        (0..400).map(|n| Command::read("echo").arg(n.to_string()).arg("x".repeat(100))).collect();
    let outputs = sshd.connect().run_all(&commands).unwrap();
    for (number, output) in outputs.iter().enumerate() {
        assert_eq!(output.stdout.split(' ').next(), Some(number.to_string().as_str()));
    }
    assert_eq!(outputs.len(), commands.len());
    let error = sshd.connect().run(&Command::read("echo").arg("x".repeat(40_000))).unwrap_err();
    assert!(matches!(error, HostError::Unsendable { .. }), "{error}");
}

#[test]
fn a_key_of_the_agent_is_used() {
    let Some(sshd) = Sshd::start() else { return };
    let socket = sshd.path("agent");
    let mut agent =
        Program::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    wait_until(|| socket.exists());
    let mine = sshd.path("mine");
    let added = Program::new("ssh-add").arg("-q").arg(&mine).env("SSH_AUTH_SOCK", &socket).status().unwrap();
    let env = SshEnv { agent: Some(socket), ..sshd.env() };
    let result = SshHost::connect(&SshTarget { identity: None, ..sshd.target() }, &env);
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(added.success());
    ends_well(&result.unwrap());
}

#[test]
fn an_alias_of_the_configuration_is_enough() {
    let Some(sshd) = Sshd::start() else { return };
    let status = Program::new("ssh-keygen")
        .args(["-q", "-H", "-f"])
        .arg(sshd.path("known_hosts"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    sshd.config(
        "Host pve-lab\n  HostName 127.0.0.1\n  Port PORT\n  User USER\n  IdentityFile DIR/mine\n  UserKnownHostsFile DIR/known_hosts\n",
    );
    let target = SshTarget { label: "lab1".into(), address: "pve-lab".into(), ..SshTarget::default() };
    ends_well(&SshHost::connect(&target, &sshd.env()).unwrap());
}

#[test]
fn an_ipv6_address_is_an_address() {
    let Some(sshd) = Sshd::start() else { return };
    if !has_ipv6() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let key = fs::read_to_string(sshd.path("host.pub")).unwrap();
    fs::write(sshd.path("known_hosts"), format!("[::1]:{} {key}", sshd.port)).unwrap();
    for address in ["::1", "[::1]"] {
        let target = SshTarget { address: address.to_owned(), ..sshd.target() };
        ends_well(&SshHost::connect(&target, &sshd.env()).unwrap());
    }
}

#[test]
fn a_host_in_between_leads_to_the_node() {
    let Some(sshd) = Sshd::start() else { return };
    sshd.config(
        "Host *\n  Port PORT\n  User USER\n  IdentityFile DIR/mine\n  UserKnownHostsFile DIR/known_hosts\n\
         Host jump\n  HostName 127.0.0.1\nHost behind\n  HostName 127.0.0.1\n  ProxyJump jump\n\
         Host lost\n  HostName 127.0.0.1\n  ProxyJump no-such-user@jump\n",
    );
    let env = SshEnv { config: Some(sshd.path("home/.ssh/config")), ..sshd.env() };
    let target =
        |address: &str| SshTarget { label: "lab1".into(), address: address.into(), ..SshTarget::default() };
    let host = SshHost::connect(&target("behind"), &env).unwrap();
    ends_well(&host);
    assert_eq!(sshd.logins(), 2, "one on the way, one at the end");
    let Err(error) = SshHost::connect(&target("lost"), &env) else { panic!("an unknown user was let in") };
    assert!(
        error.to_string().contains("over `no-such-user@jump`")
            && error.to_string().contains("Permission denied"),
        "{error}"
    );
}

#[test]
fn what_is_not_reached_is_named_with_its_port() {
    let Some(sshd) = Sshd::start() else { return };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = sshd.refusal(&SshTarget { port: Some(closed), ..sshd.target() });
    assert_eq!(error.to_string(), format!("cannot reach lab1: 127.0.0.1 port {closed}: connection refused"));
    let error = sshd.refusal(&SshTarget { address: "no-such-host.invalid".into(), ..sshd.target() });
    assert!(error.to_string().contains("the name `no-such-host.invalid` is not found"), "{error}");
    sshd.config("Host behind\n  ProxyCommand nc %h %p\n");
    let error = sshd.refusal(&SshTarget { address: "behind".into(), ..sshd.target() });
    assert!(error.to_string().contains("`ProxyCommand` in line 2 of"), "{error}");
}

#[test]
fn a_question_is_asked_again_when_the_connection_breaks() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    // The parent of the login shell is the process that serves the connection.
    let asked = sshd.path("asked").display().to_string();
    let script =
        format!("[ -e {asked} ] && echo again && exit; touch {asked}; kill -KILL $PPID; echo killed");
    assert_eq!(host.run(&sh(&script)).unwrap().stdout, "again\n");
    assert_eq!(sshd.logins(), 2);
    ends_well(&host);
    sshd.cut_connections();
    ends_well(&host);
}

#[test]
fn twenty_threads_share_one_connection_and_none_gets_what_is_anothers() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    std::thread::scope(|scope| {
        for thread in 0..20 {
            let host = &host;
            scope.spawn(move || {
                for round in 0..5 {
                    let text = format!("{thread}-{round} ").repeat(20_000);
                    let output = host.run(&Command::read("cat").stdin(text.clone())).unwrap();
                    assert!(
                        output.success() && output.stdout == text,
                        "{thread}-{round}: {:?}",
                        output.ending
                    );
                }
            });
        }
    });
    assert_eq!(sshd.logins(), 1);
}

#[test]
fn a_script_that_takes_long_does_not_hold_up_another_one() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let go = sshd.path("go").display().to_string();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| host.run(&sh(&format!("{} echo gone", sshd.wait_for(&go)))).unwrap());
        assert!(host.run(&sh("echo meanwhile")).unwrap().success());
        assert!(!waiting.is_finished());
        fs::write(&go, "").unwrap();
        assert_eq!(waiting.join().unwrap().stdout, "gone\n");
    });
    assert_eq!(sshd.logins(), 1);
}

#[test]
fn a_break_is_everybodys_and_one_new_connection_is_enough() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let go = sshd.path("go").display().to_string();
    let script = format!("{} echo gone", sshd.wait_for(&go));
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..6).map(|_| scope.spawn(|| host.run(&sh(&script)).unwrap())).collect();
        // All of them wait when this one is answered after them.
        assert!(host.run(&sh("true")).unwrap().success());
        sshd.cut_connections();
        fs::write(&go, "").unwrap();
        for thread in waiting {
            assert_eq!(thread.join().unwrap().stdout, "gone\n");
        }
    });
    assert_eq!(sshd.logins(), 2);
}

#[test]
fn a_command_that_takes_too_long_is_left() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let endless = sh("tail -f /dev/null --pid=$PPID").limit(Duration::from_secs(1));
    let started = Instant::now();
    let error = host.run(&endless).unwrap_err();
    assert!(matches!(error, HostError::TimedOut { seconds: 1, .. }), "{error}");
    assert!(started.elapsed() >= Duration::from_secs(1));
    ends_well(&host);
}

#[test]
fn a_job_survives_its_connection_and_no_line_is_lost() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    // Prints in three parts, each of which waits for its file.
    let go = |part: usize| sshd.path("go").display().to_string() + &part.to_string();
    let part = |n: usize| format!("seq {} {}; {}", n * 5000 + 1, (n + 1) * 5000, sshd.wait_for(&go(n)));
    let script = format!("{} {} {} exit 9", part(0), part(1), part(2));
    let (run, command) = (run_id("restore-101"), change(&script));
    let job = Job::new("/var/tmp/pve-restore", &run, "restore", &command);
    let mut lines = Vec::new();
    let end = host.run_job(&job, &command, &mut |line| {
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        lines.push(line.parse::<usize>().unwrap());
        if lines.len() % 5000 == 0 {
            sshd.cut_connections();
            fs::write(go(lines.len() / 5000 - 1), "").unwrap();
        }
        ControlFlow::Continue(())
    });
    let Ok(JobEnd::Finished(output)) = end else { panic!("{end:?}") };
    assert_eq!(output.ending, Ending::Exit(9));
    assert_eq!(lines, (1..=15_000).collect::<Vec<_>>());
    assert_eq!(sshd.logins(), 4, "it had to connect again after each part");
    clear(&host, &run, &job);
}

#[test]
fn a_greeting_is_no_part_of_an_answer() {
    let greeting = "echo Welcome; printf 'to {\"pve1\"} > '; echo 'stdin: is not a tty' >&2";
    let Some(sshd) = Sshd::start_with_start_up_file(greeting) else { return };
    let host = sshd.connect();
    let said = said_by_ssh(&sshd, "echo answer");
    assert_eq!(said, "Welcome\nto {\"pve1\"} > answer\n", "the test's sshd does not greet");
    let outputs = host.run_all(&[sh("echo out; echo err >&2; exit 3"), sh("echo two")]).unwrap();
    let expected = Output { ending: Ending::Exit(3), stdout: "out\n".into(), stderr: "err\n".into() };
    assert_eq!(outputs[0], expected);
    assert_eq!(outputs[1].stdout, "two\n");
    assert_eq!(host.run(&sh("echo out; echo err >&2; exit 3")).unwrap(), expected);

    let run = run_id("greeted");
    let command = change("echo out; echo err >&2; exit 3");
    let job = Job::new(host.root(), &run, "work", &command);
    let mut lines = Vec::new();
    let end = host.run_job(&job, &command, &mut |line| {
        lines.extend((!line.is_empty()).then(|| line.to_owned()));
        ControlFlow::Continue(())
    });
    assert_eq!(end.unwrap(), JobEnd::Finished(expected));
    assert_eq!(lines, ["out"]);
    assert_eq!(host.job_states(std::slice::from_ref(&job)).unwrap(), [JobState::Ended(Ending::Exit(3))]);
    clear(&host, &run, &job);
}

#[rstest::rstest]
#[case::it_ends("echo 'This account is locked' >&2; exit 5", "This account is locked")]
#[case::it_is_no_bash("exec sh -c \"$BASH_EXECUTION_STRING\"", "")]
fn a_login_that_runs_no_script_is_said_to(#[case] start_up: &str, #[case] words: &str) {
    let Some(sshd) = Sshd::start_with_start_up_file(start_up) else { return };
    let path = sshd.path("made");
    let made = change(&format!("touch '{}'", path.display()));
    let host = sshd.connect();
    let job = Job::new(host.root(), &run_id("locked"), "work", &made);
    let answers = [
        host.run(&sh("echo here")).map(drop),
        host.run_job(&job, &made, &mut |_| ControlFlow::Continue(())).map(drop),
    ];
    for answer in answers {
        let error = answer.unwrap_err();
        assert!(matches!(&error, HostError::LoginShell { words: said, .. } if said == words), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("chsh -s /bin/bash")));
    }
    assert!(!path.exists());
}

/// What OpenSSH's own client gets for a command.
fn said_by_ssh(sshd: &Sshd, command: &str) -> String {
    let known = format!("UserKnownHostsFile={}", sshd.path("known_hosts").display());
    let (identity, port) = (sshd.path("mine").display().to_string(), sshd.port.to_string());
    let user = format!("{}@127.0.0.1", sshd.user);
    output_of("ssh", &["-F", "none", "-o", &known, "-i", &identity, "-p", &port, &user, command])
}

#[test]
fn a_job_is_cancelled_and_cleared_away() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let script = format!("trap 'echo cleaned; exit 5' TERM; echo begun; {}", sshd.wait_for("never"));
    let (run, command) = (run_id("backup"), change(&script));
    let job = Job::new("/var/tmp/pve-restore", &run, "backup", &command);
    let stop_at_first = &mut |line: &str| {
        if line == "begun" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert_eq!(host.run_job(&job, &command, stop_at_first).unwrap(), JobEnd::Detached);
    assert_eq!(host.job_states(std::slice::from_ref(&job)).unwrap(), [JobState::Running]);
    let JobEnd::Finished(output) = host.cancel(&job).unwrap() else { panic!("it was begun") };
    assert_eq!((output.ending, output.stdout.as_str()), (Ending::Exit(5), "begun\ncleaned\n"));
    clear(&host, &run, &job);
}

/// A name that no other test has.
fn run_id(name: &str) -> RunId {
    RunId::try_from(format!("test-{}-{name}", std::process::id())).unwrap()
}

fn change(script: &str) -> Command {
    Command::write("sh").args(["-c", script])
}

fn clear(host: &SshHost, run: &RunId, job: &Job) {
    assert!(Path::new(&job.dir).exists());
    host.clear(run).unwrap();
    assert!(!Path::new(&job.dir).exists());
}

#[test]
fn what_changes_something_is_never_sent_as_a_question() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let file = sshd.path("written").display().to_string();
    let error = host.run(&Command::write("touch").arg(&file)).unwrap_err();
    assert!(matches!(error, HostError::Unsendable { .. }), "{error}");
    assert!(!Path::new(&file).exists());
}

#[test]
fn a_read_only_host_leaves_nothing_behind() {
    let Some(sshd) = Sshd::start() else { return };
    let host = sshd.connect();
    let (reading, file) = (ReadOnly(&host), sshd.path("written").display().to_string());
    let write = Command::write("touch").arg(&file);
    assert!(matches!(reading.run_all(&[sh("true"), write.clone()]), Err(HostError::ReadOnly { .. })));
    let job = Job::new("/var/tmp/pve-restore", &run_id("x"), "x", &write);
    let started = reading.run_job(&job, &write, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(started, Err(HostError::ReadOnly { .. })));
    assert!(!Path::new(&file).exists());
    assert_eq!(reading.run(&sh("echo a")).unwrap().stdout, "a\n");
}

#[test]
fn threads_that_begin_together_all_get_their_answer() {
    let Some(sshd) = Sshd::start() else { return };
    let (host, start) = (sshd.connect(), Barrier::new(4));
    thread::scope(|scope| {
        for number in 0..4 {
            let (host, start) = (&host, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..5 {
                    let output = host.run(&Command::read("echo").arg(number.to_string())).unwrap();
                    assert_eq!(output.stdout.trim(), number.to_string());
                }
            });
        }
    });
}

fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited 10 s in vain");
        thread::yield_now();
    }
}
