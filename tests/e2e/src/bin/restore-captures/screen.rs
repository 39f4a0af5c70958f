//! A terminal that is looked at.

use std::{
    io,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long a screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A screen from the first line that begins this way.
pub fn from(screen: &str, words: &str) -> String {
    let at = screen.find(&format!("\n{words}")).map_or(0, |at| at + 1);
    screen[at..].to_owned()
}

/// A screen up to the first line that begins this way.
pub fn until(screen: &str, words: &str) -> String {
    let at = screen.find(&format!("\n{words}")).unwrap_or(screen.len());
    screen[..at].to_owned()
}

/// A terminal of 80 columns with a program in it.
pub struct Screen {
    socket: String,
}

impl Screen {
    /// Shows `line` at a prompt, and what the command does. The terminal stays open when it has ended.
    pub fn open(line: &str, command: &Command) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A server that was told to end may still be there: each screen has one of its own.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = format!("restore-captures-{}-{number}", std::process::id());
        let screen = Self { socket };
        let mut tmux = screen.tmux();
        tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"]);
        if let Some(folder) = command.get_current_dir() {
            tmux.arg("-c").arg(folder);
        }
        tmux.args(["env", "-i", "TERM=tmux-256color"]);
        for (name, value) in command.get_envs() {
            let mut variable = name.to_owned();
            variable.push("=");
            variable.push(value.unwrap_or_default());
            tmux.arg(variable);
        }
        tmux.arg("sh").args([
            "-c",
            r#"printf '$ %s\n' "$1"; shift; "$@"; echo "[exit $?]"; cat"#,
            "sh",
            line,
        ]);
        tmux.arg(command.get_program()).args(command.get_args());
        Self::check(&mut tmux)?;
        Ok(screen)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]);
        command
    }

    fn check(command: &mut Command) -> io::Result<String> {
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(format!("tmux: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }

    /// All that was shown so far, as it stands on the screen and above it. A word that was too long for a line is whole.
    fn shown(&self) -> io::Result<String> {
        let shown = Self::check(self.tmux().args(["capture-pane", "-J", "-p", "-S", "-"]))?;
        Ok(shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }

    /// The same with its colours, as escape sequences.
    pub fn coloured(&self) -> io::Result<String> {
        Self::check(self.tmux().args(["capture-pane", "-e", "-p", "-S", "-"]))
    }

    pub fn wait_for(&self, words: &str) -> io::Result<String> {
        let begun = Instant::now();
        loop {
            let shown = self.shown()?;
            if shown.contains(words) {
                return Ok(shown);
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("`{words}` did not appear:\n{shown}")));
            }
        }
    }

    pub fn enter(&self, words: &str) -> io::Result<()> {
        Self::check(self.tmux().args(["send-keys", words, "Enter"])).map(|_| ())
    }

    /// Kills the program in the terminal, which gets no chance to do anything about it.
    pub fn kill(&self) -> io::Result<()> {
        let shell = Self::check(self.tmux().args(["display-message", "-p", "#{pane_pid}"]))?;
        Self::check(Command::new("pkill").args(["-KILL", "-P", shell.trim()])).map(|_| ())
    }

    /// What is on the screen when the program has ended.
    pub fn ends(&self) -> io::Result<String> {
        self.wait_for("[exit ")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Takes the program with it, by SIGHUP first; a screen that is gone already is no loss.
        drop(self.tmux().arg("kill-server").output());
    }
}
