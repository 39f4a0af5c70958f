//! One execution on a host: what batches and jobs are built on.

use std::{ops::ControlFlow, time::Duration};

use super::{Ending, HostError};

/// What a remote execution consists of.
pub(super) struct Script<'a> {
    /// Text for the login shell.
    pub text: &'a str,
    /// The command as the operator knows it, for messages.
    pub shown: &'a str,
    /// What the script reads.
    pub stdin: &'a [u8],
    /// How long it may take; without one it is waited for as long as the connection lasts.
    pub limit: Option<Duration>,
}

/// Longest text of a script: libssh2 sends it in one packet, and its packets end at 35,000 bytes.
pub(super) const LONGEST_SCRIPT: usize = 32_000;

/// What arrives while a script runs.
pub(super) enum Event<'a> {
    /// Bytes of its standard output, as they come.
    Stdout(&'a [u8]),
    /// Bytes of its standard error.
    Stderr(&'a [u8]),
    /// Nothing came for [`QUIET`].
    Quiet,
}

/// After how much silence [`Event::Quiet`] is sent.
pub(super) const QUIET: Duration = Duration::from_millis(500);

/// Runs a script by the login shell of a host: over SSH, or (in tests) here.
pub(super) trait Shell {
    /// The host as the operator knows it.
    fn name(&self) -> &str;

    /// Runs one script and passes on what it prints. `None` when `sink` broke off: the script may still run.
    fn exec(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, HostError>;
}

/// Everything a script printed.
pub(super) struct Printed {
    pub ending: Ending,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a script to its end and keeps what it prints.
pub(super) fn collect(shell: &dyn Shell, script: &Script<'_>) -> Result<Printed, HostError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ending = shell.exec(script, &mut |event| {
        match event {
            Event::Stdout(bytes) => stdout.extend_from_slice(bytes),
            Event::Stderr(bytes) => stderr.extend_from_slice(bytes),
            Event::Quiet => {}
        }
        ControlFlow::Continue(())
    })?;
    match ending {
        Some(ending) => Ok(Printed { ending, stdout, stderr }),
        None => Err(protocol(shell, "the script was left before its end")),
    }
}

pub(super) fn protocol(shell: &dyn Shell, reason: impl Into<String>) -> HostError {
    HostError::Protocol { host: shell.name().to_owned(), reason: reason.into() }
}

/// Bytes as text, wrong ones replaced.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned())
}

/// A shell on this machine, for the tests of what is sent to nodes.
#[cfg(test)]
pub(super) mod local {
    use std::{
        io::{Read, Write},
        os::unix::process::ExitStatusExt,
        process::{Command, Stdio},
        sync::{
            atomic::{AtomicU32, Ordering},
            mpsc,
        },
        thread,
    };

    use super::*;

    /// Runs scripts by `sh` and counts them.
    #[derive(Default)]
    pub(crate) struct LocalShell {
        pub(crate) executions: AtomicU32,
    }

    impl Shell for LocalShell {
        fn name(&self) -> &'static str {
            "here"
        }

        fn exec(
            &self,
            script: &Script<'_>,
            sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        ) -> Result<Option<Ending>, HostError> {
            self.executions.fetch_add(1, Ordering::Relaxed);
            let mut child = Command::new("sh")
                .args(["-c", script.text])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (mut stdin, bytes) = (child.stdin.take().unwrap(), script.stdin.to_vec());
            thread::spawn(move || stdin.write_all(&bytes));
            let (sender, pieces) = mpsc::channel();
            let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
            read_on(out, false, sender.clone());
            read_on(err, true, sender);
            loop {
                let flow = match pieces.recv_timeout(QUIET) {
                    Ok((false, bytes)) => sink(Event::Stdout(&bytes)),
                    Ok((true, bytes)) => sink(Event::Stderr(&bytes)),
                    Err(mpsc::RecvTimeoutError::Timeout) => sink(Event::Quiet),
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                };
                if flow.is_break() {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return Ok(None);
                }
            }
            let status = child.wait().unwrap();
            let signal = || Ending::Signal(status.signal().unwrap_or_default().to_string());
            Ok(Some(status.code().map_or_else(signal, Ending::Exit)))
        }
    }

    fn read_on(mut from: impl Read + Send + 'static, is_err: bool, to: mpsc::Sender<(bool, Vec<u8>)>) {
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if to.send((is_err, buffer[..count].to_vec())).is_err() {
                    return;
                }
            }
        });
    }
}
