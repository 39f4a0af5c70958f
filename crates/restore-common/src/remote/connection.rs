//! One SSH connection and the scripts that run over it, several at the same time.
//!
//! Each script has a channel of its own. libssh2 knows one thing at a time, though: a packet that went out in part has to
//! be finished by the call that began it before any other call may send, and reading sends too. So every call is made
//! under one lock, which is kept while a call has begun to send and given up while it only waits for bytes to come.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    ops::ControlFlow,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
    process::Child,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
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

/// How long a host may take to begin a script. Nothing else moves on the connection meanwhile.
const START_WITHIN: Duration = Duration::from_secs(30);

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

/// How long a script waits for bytes when others use the connection as well: these may take them off the wire for it.
const SHARED_WAIT: Duration = Duration::from_millis(20);

/// A connection that is logged in.
pub(super) struct Connection {
    session: Session,
    wire: Arc<Wire>,
    /// Held by whoever calls libssh2.
    turn: Mutex<()>,
    scripts: AtomicUsize,
}

/// The turn of a script, which it has for as long as it lives.
type Turn<'a> = MutexGuard<'a, ()>;

impl Connection {
    /// Takes over a session that has logged in over `wire`.
    pub(super) fn new(session: Session, wire: Arc<Wire>) -> Self {
        session.set_blocking(false);
        Self { session, wire, turn: Mutex::new(()), scripts: AtomicUsize::new(0) }
    }

    /// Runs a script; see [`super::shell::Shell::exec`]. Others may run at the same time.
    pub(super) fn exec(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, Broken> {
        self.scripts.fetch_add(1, Ordering::SeqCst);
        let ended = self.run(script, sink);
        self.scripts.fetch_sub(1, Ordering::SeqCst);
        ended
    }

    fn run(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, Broken> {
        let mut channel = self.open().map_err(|broken| match broken {
            Broken::Lost(reason) => Broken::NotStarted(reason),
            Broken::TimedOut => Broken::NotStarted("no answer".to_owned()),
            other @ Broken::NotStarted(_) => other,
        })?;
        let deadline = script.limit.map(|limit| Instant::now() + limit);
        let ended = self.to_its_end(&mut channel, script, deadline, sink);
        if !matches!(ended, Err(Broken::Lost(_))) {
            // Freeing a channel that is not closed would send, out of turn.
            self.retry(Some(Instant::now() + CONNECT_WITHIN), || channel.close())?;
        }
        let _turn = self.turn();
        drop(channel);
        ended
    }

    /// The session knows one channel that is being opened at a time.
    fn open(&self) -> Result<Channel, Broken> {
        self.request(CONNECT_WITHIN, || self.session.channel_session())
    }

    /// Asks the host for something and keeps the turn until it has answered. libssh2 takes the next answer of a kind that
    /// comes for its own: with two requests under way, one of them gets the other's and fails.
    fn request<T>(
        &self,
        within: Duration,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Broken> {
        let deadline = Some(Instant::now() + within);
        let _turn = self.turn();
        loop {
            match call() {
                Err(error) if error.code() == EAGAIN => self.wait(deadline)?,
                Err(error) => return Err(lost(&error)),
                Ok(value) => return Ok(value),
            }
        }
    }

    fn to_its_end(
        &self,
        channel: &mut Channel,
        script: &Script<'_>,
        deadline: Option<Instant>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, Broken> {
        self.request(START_WITHIN, || channel.exec(script.text)).map_err(|broken| match broken {
            // How far it came nobody knows, and its own limit is for its work.
            Broken::TimedOut => Broken::Lost("the host did not say that it began".to_owned()),
            other => other,
        })?;
        if self.pump(channel, script.stdin, deadline, sink)?.is_break() {
            return Ok(None);
        }
        // Only the close that the host sends proves that the status is its answer: libssh2 has 0 until one comes.
        self.retry(deadline, || channel.wait_close())?;
        let _turn = self.turn();
        let signal = channel.exit_signal().map_err(|error| lost(&error))?;
        let status = channel.exit_status().map_err(|error| lost(&error))?;
        Ok(Some(signal.exit_signal.map_or(Ending::Exit(status), Ending::Signal)))
    }

    fn turn(&self) -> Turn<'_> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
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
        while !self.is_at_end(channel) {
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
            } else if !self.is_at_end(channel) {
                self.wait_for_bytes(deadline)?;
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

    fn is_at_end(&self, channel: &Channel) -> bool {
        let _turn = self.turn();
        channel.eof()
    }

    /// Reads or writes, 0 bytes when nothing can be moved now.
    fn move_some(
        &self,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> std::io::Result<usize>,
    ) -> Result<usize, Broken> {
        let _turn = self.turn();
        loop {
            match call() {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(Broken::Lost(error.to_string()));
                }
                Err(_) if self.is_sending() => self.wait(deadline)?,
                Err(_) => return Ok(0),
            }
        }
    }

    /// Calls libssh2 until it does not say "not now".
    fn retry<T>(
        &self,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Broken> {
        let mut turn = self.turn();
        loop {
            match call() {
                Err(error) if error.code() == EAGAIN => {
                    if self.is_sending() {
                        self.wait(deadline)?;
                    } else {
                        drop(turn);
                        self.wait_for_bytes(deadline)?;
                        turn = self.turn();
                    }
                }
                Err(error) => return Err(lost(&error)),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// Whether a packet went out in part, so that the turn has to be kept.
    fn is_sending(&self) -> bool {
        matches!(self.session.block_directions(), BlockDirections::Outbound | BlockDirections::Both)
    }

    /// Waits for bytes to come, without the turn.
    fn wait_for_bytes(&self, deadline: Option<Instant>) -> Result<(), Broken> {
        let alone = self.scripts.load(Ordering::SeqCst) < 2;
        self.poll(deadline, if alone { QUIET } else { SHARED_WAIT }, PollFlags::IN)
    }

    /// Waits, in turn, until the call that was made last can go on.
    fn wait(&self, deadline: Option<Instant>) -> Result<(), Broken> {
        let flags = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::OUT,
            BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
        };
        self.poll(deadline, QUIET, flags)
    }

    fn poll(&self, deadline: Option<Instant>, longest: Duration, flags: PollFlags) -> Result<(), Broken> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Broken::TimedOut);
        }
        let longest = deadline.map_or(longest, |deadline| longest.min(deadline - now));
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
