//! One SSH connection and the scripts that run over it.
//!
//! A connection serves one script at a time: libssh2 is not made for several threads, and a script that waits for
//! hours must not hold up another one. [`super::SshHost`] keeps the connection for the next script.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    ops::ControlFlow,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    process::Child,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use ssh2::{BlockDirections, Channel, ErrorCode, Session};

use super::{
    Ending,
    shell::{Event, QUIET, Script},
};

/// How long connecting, the handshake, and each step of logging in may take.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// libssh2's number for "not now", which only happens while nothing blocks.
const EAGAIN: ErrorCode = ErrorCode::Session(-37);

/// Most bytes taken from a connection at once.
const PIECE: usize = 64 * 1024;

/// Why a script did not come to its end.
pub(super) enum Broken {
    /// Before it was sent: it can be tried again without harm.
    NotStarted(String),
    /// The connection ended and nobody knows how far it came.
    Lost(String),
    /// Its time was over.
    TimedOut,
}

/// What bytes travel through.
pub(super) enum Wire {
    /// Straight to the node.
    Tcp(TcpStream),
    /// By way of another `ssh`.
    Jump(UnixStream, Jump),
}

/// The `ssh -W` that leads to a node behind another host.
pub(super) struct Jump(Mutex<Child>);

impl Jump {
    pub(super) fn new(child: Child) -> Self {
        Self(Mutex::new(child))
    }

    /// Ends it and gives what it said.
    pub(super) fn end(&self) -> String {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
        let mut words = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut words);
        }
        words.trim().replace("\r\n", " / ")
    }
}

impl Drop for Jump {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Jump(stream, _) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A connection that is logged in.
pub(super) struct Connection {
    session: Session,
    wire: Arc<Wire>,
}

impl Connection {
    /// Takes over a session that has logged in over `wire`.
    pub(super) fn new(session: Session, wire: Arc<Wire>) -> Self {
        session.set_blocking(false);
        Self { session, wire }
    }

    /// Runs a script; see [`super::shell::Shell::exec`].
    pub(super) fn exec(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, Broken> {
        let opening = Some(Instant::now() + CONNECT_WITHIN);
        let not_started = |broken| match broken {
            Broken::Lost(reason) => Broken::NotStarted(reason),
            Broken::TimedOut => Broken::NotStarted("no answer".to_owned()),
            other @ Broken::NotStarted(_) => other,
        };
        let mut channel = self.retry(opening, || self.session.channel_session()).map_err(not_started)?;
        let deadline = script.limit.map(|limit| Instant::now() + limit);
        self.retry(deadline, || channel.exec(script.text))?;
        if self.pump(&mut channel, script.stdin, deadline, sink)?.is_break() {
            return Ok(None);
        }
        // Only the close that the host sends proves that the status is its answer: libssh2 has 0 until one comes.
        self.retry(deadline, || channel.wait_close())?;
        let signal = channel.exit_signal().map_err(|error| lost(&error))?;
        let status = channel.exit_status().map_err(|error| lost(&error))?;
        Ok(Some(signal.exit_signal.map_or(Ending::Exit(status), Ending::Signal)))
    }

    /// Moves bytes both ways until the script closes its streams.
    fn pump(
        &self,
        channel: &mut Channel,
        mut stdin: &[u8],
        deadline: Option<Instant>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Broken> {
        let mut buffer = vec![0; PIECE];
        let mut told_end = false;
        let mut last_moved = Instant::now();
        while !channel.eof() {
            let mut moved = false;
            if !stdin.is_empty() {
                let count = self.move_some(deadline, || channel.write(stdin))?;
                stdin = &stdin[count..];
                moved = count > 0;
            } else if !told_end {
                self.retry(deadline, || channel.send_eof())?;
                told_end = true;
            }
            for is_err in [false, true] {
                let mut stream = channel.stream(i32::from(is_err));
                let count = self.move_some(deadline, || stream.read(&mut buffer))?;
                if count > 0 {
                    moved = true;
                    let bytes = &buffer[..count];
                    let event = if is_err { Event::Stderr(bytes) } else { Event::Stdout(bytes) };
                    if sink(event).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            if moved {
                last_moved = Instant::now();
            } else if !channel.eof() {
                self.wait(deadline)?;
                if last_moved.elapsed() >= QUIET {
                    last_moved = Instant::now();
                    if sink(Event::Quiet).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads or writes, 0 bytes when nothing can be moved now. A packet that went out in part must be finished by the
    /// same call before anything else may be sent, and reading sends too.
    fn move_some(
        &self,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> std::io::Result<usize>,
    ) -> Result<usize, Broken> {
        loop {
            match call() {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(Broken::Lost(error.to_string()));
                }
                Err(_) => match self.session.block_directions() {
                    BlockDirections::Outbound | BlockDirections::Both => self.wait(deadline)?,
                    BlockDirections::Inbound | BlockDirections::None => return Ok(0),
                },
            }
        }
    }

    /// Calls libssh2 until it does not say "not now".
    fn retry<T>(
        &self,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Broken> {
        loop {
            match call() {
                Err(error) if error.code() == EAGAIN => self.wait(deadline)?,
                Err(error) => return Err(lost(&error)),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// Waits until bytes can be moved, at most [`QUIET`].
    fn wait(&self, deadline: Option<Instant>) -> Result<(), Broken> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Broken::TimedOut);
        }
        let longest = deadline.map_or(QUIET, |deadline| QUIET.min(deadline - now));
        let flags = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        };
        let timeout = Timespec::try_from(longest).map_err(|error| Broken::Lost(error.to_string()))?;
        match poll(&mut [PollFd::new(&self.wire, flags)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Broken::Lost(error.to_string())),
        }
    }
}

fn lost(error: &ssh2::Error) -> Broken {
    Broken::Lost(error.message().to_owned())
}
