//! One execution on a host: what batches and jobs are built on.

use std::{ops::ControlFlow, time::Duration};

use super::{Ending, HostError};

/// What a remote execution consists of.
#[derive(Clone, Copy)]
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

/// The most that a script may print: far more than any answer. A node that never stops must not fill the operator's memory.
const MOST: usize = 128 << 20;

/// What arrives while a script runs.
#[derive(Clone, Copy)]
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

/// Runs a script by the login shell of a host: over SSH, or here.
pub(super) trait Shell {
    /// The host as the operator knows it.
    fn name(&self) -> &str;

    /// See [`super::Host::root`].
    fn root(&self) -> &str {
        super::job::ROOT
    }

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
        if stdout.len() + stderr.len() > MOST { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    match ending {
        Some(ending) => Ok(Printed { ending, stdout, stderr }),
        None => Err(protocol(shell, format!("`{}` prints without end", script.shown))),
    }
}

pub(super) fn protocol(shell: &dyn Shell, reason: impl Into<String>) -> HostError {
    HostError::Protocol { host: shell.name().to_owned(), reason: reason.into() }
}

/// Bytes as text, wrong ones replaced.
pub(super) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|wrong| String::from_utf8_lossy(wrong.as_bytes()).into_owned())
}
