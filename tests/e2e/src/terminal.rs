//! A program on a terminal of its own, as a person would sit in front of it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use restore_lab::secrets;
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

/// How long anything on a terminal may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A program that runs on a terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<(Instant, Vec<u8>)>,
    shown: String,
}

impl Terminal {
    /// Starts `command` with all three streams on a new terminal.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let name = ptsname(&near, Vec::new())?;
        let far = File::options().read(true).write(true).open(name.to_string_lossy().as_ref())?;
        let stream = || -> io::Result<Stdio> { Ok(Stdio::from(OwnedFd::from(far.try_clone()?))) };
        command.stdin(stream()?).stdout(stream()?).stderr(stream()?).env("TERM", "xterm");
        let child = command.spawn()?;
        drop(command);
        drop(far);
        let keyboard = File::from(near);
        let screen = read_all(keyboard.try_clone()?);
        Ok(Self { child, keyboard, screen, shown: String::new() })
    }

    /// Waits until these words are on the screen.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.shown.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok((_, bytes)) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("`{words}` did not come; on the screen is:\n{}", self.shown)
                }
            }
        }
    }

    /// Waits for the end, at most so long: the exit code, and what came on the screen when.
    pub fn watch(mut self, limit: Duration) -> io::Result<(i32, Vec<(Instant, String)>)> {
        let deadline = Instant::now() + limit;
        let mut moments = Vec::new();
        while Instant::now() < deadline {
            match self.screen.recv_timeout(Duration::from_millis(100)) {
                Ok((at, bytes)) => moments.push((at, String::from_utf8_lossy(&bytes).into_owned())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok((self.child.wait()?.code().unwrap_or(256), moments));
                }
            }
        }
        self.child.kill()?;
        Err(io::Error::other(format!("it does not end within {} s", limit.as_secs())))
    }

    /// Types.
    pub fn enter(&mut self, text: &str) -> io::Result<()> {
        self.keyboard.write_all(text.as_bytes())
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no such process"))?;
        Ok(kill_process(pid, Signal::INT)?)
    }

    /// Waits for the end: the exit code, and all that was on the screen.
    pub fn finish(mut self) -> io::Result<(i32, String)> {
        let deadline = Instant::now() + LIMIT;
        let code = loop {
            if let Some(status) = self.child.try_wait()? {
                break status.code().unwrap_or(256);
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                return Err(io::Error::other(format!("it does not end; on the screen is:\n{}", self.shown)));
            }
            if let Ok((_, bytes)) = self.screen.recv_timeout(Duration::from_millis(10)) {
                self.shown.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        // What it said last may still be on its way; the terminal is closed after it.
        while let Ok((_, bytes)) = self.screen.recv_timeout(Duration::from_millis(500)) {
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert!(secrets::found_in(&self.shown).is_none(), "a secret is on the screen:\n{}", self.shown);
        Ok((code, self.shown))
    }
}

fn read_all(mut screen: File) -> Receiver<(Instant, Vec<u8>)> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        // A terminal whose program ended gives an error, not an end.
        while let Ok(count @ 1..) = screen.read(&mut buffer) {
            if sender.send((Instant::now(), buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    receiver
}
