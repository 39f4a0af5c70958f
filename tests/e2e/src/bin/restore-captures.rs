//! Runs `restore-vm` in a terminal of 80 columns and puts what it shows into the documents.
//!
//! `restore-captures FILE` replaces every fenced block of FILE that follows a line `<!-- capture: NAME -->`. It needs tmux.

use std::{
    env, fs, io,
    process::{Command, ExitCode},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use restore_lab::lab::{Fault, Lab, VM};

/// How long a screen may take to show something.
const PATIENCE: Duration = Duration::from_secs(60);

type Scene = fn() -> io::Result<String>;

const SCENES: [(&str, Scene); 5] = [
    ("restore", restore),
    ("reconnect", reconnect),
    ("rollback", rollback),
    ("cut-off", cut_off),
    ("refusal", refusal),
];

fn main() -> ExitCode {
    let Some(file) = env::args().nth(1) else {
        eprintln!("usage: restore-captures FILE");
        return ExitCode::from(64);
    };
    match run(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &str) -> io::Result<()> {
    let mut page = fs::read_to_string(file)?;
    for (name, scene) in SCENES {
        if page.contains(&marker(name)) {
            page = replaced(&page, name, &scene()?)?;
        }
    }
    fs::write(file, page)
}

fn marker(name: &str) -> String {
    format!("<!-- capture: {name} -->\n```text\n")
}

fn replaced(page: &str, name: &str, screen: &str) -> io::Result<String> {
    let missing = || io::Error::other(format!("the block of `{name}` has no end"));
    let (before, rest) = page.split_once(&marker(name)).ok_or_else(missing)?;
    // The block may be empty: its end then stands right behind its beginning.
    let rest = format!("\n{rest}");
    let (_, after) = rest.split_once("\n```\n").ok_or_else(missing)?;
    Ok(format!("{before}{}{}\n```\n{after}", marker(name), screen.trim_end()))
}

/// The broken VM comes back.
fn restore() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.break_disk(VM)?;
    let screen = Screen::open(&lab, "restore-vm 101")?;
    screen.wait_for("type `101` to go on")?;
    screen.enter("101")?;
    screen.ends()
}

/// The connection breaks in the middle.
fn reconnect() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.slow_down(&["qmrestore"], 3_000)?;
    let screen = Screen::open(&lab, "restore-vm 101 --yes")?;
    screen.wait_for("[6/7]")?;
    if let Some(server) = lab.server() {
        server.cut_now();
    }
    let shown = screen.ends()?;
    Ok(until(&from(&shown, "[5/7]"), "Restore VM 101 (prod-web)"))
}

/// The restore fails, and the VM is as it was.
fn rollback() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.fault(&["qmrestore"], Some(1), &Fault::FullAfter(1 << 20))?;
    let screen = Screen::open(&lab, "restore-vm 101 --yes")?;
    let shown = screen.ends()?;
    Ok(from(&shown, "[1/7]"))
}

/// The program was killed in the middle; the next one says so.
fn cut_off() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.slow_down(&["qmrestore"], 3_000)?;
    let screen = Screen::open(&lab, "restore-vm 101 --yes")?;
    screen.wait_for("[6/7]")?;
    screen.kill()?;
    drop(screen);
    let screen = Screen::open(&lab, "restore-vm 101")?;
    screen.ends()
}

/// Everything that speaks against it.
fn refusal() -> io::Result<String> {
    let lab = Lab::start()?;
    let config = lab.read("/etc/pve/qemu-server/101.conf")?;
    lab.write("/etc/pve/qemu-server/101.conf", &format!("{config}lock: backup\nprotection: 1\n"))?;
    let screen = Screen::open(&lab, "restore-vm 101 --target-storage tank")?;
    screen.ends()
}

/// A screen from the first line that begins this way.
fn from(screen: &str, words: &str) -> String {
    let at = screen.find(&format!("\n{words}")).map_or(0, |at| at + 1);
    screen[at..].to_owned()
}

/// A screen up to the first line that begins this way.
fn until(screen: &str, words: &str) -> String {
    let at = screen.find(&format!("\n{words}")).unwrap_or(screen.len());
    screen[..at].to_owned()
}

/// A terminal of 80 columns with a program in it.
struct Screen {
    socket: String,
}

impl Screen {
    /// Types `line` at a prompt in the operator's project. The terminal stays open when the program has ended.
    fn open(lab: &Lab, line: &str) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // A server that was told to end may still be there: each screen has one of its own.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = format!("restore-captures-{}-{number}", std::process::id());
        let screen = Self { socket };
        let words: Vec<&str> = line.split(' ').collect();
        let program = lab.command(words[0]);
        let variables = lab.operator().variables().into_iter().map(|(name, value)| format!("{name}={value}"));
        let mut tmux = screen.tmux();
        tmux.args(["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c"]);
        tmux.arg(lab.operator().project()).args(["env", "-i"]).args(variables).arg("TERM=tmux-256color");
        tmux.arg("sh").args([
            "-c",
            r#"printf '$ %s\n' "$1"; shift; "$@"; echo "[exit $?]"; cat"#,
            "sh",
            line,
        ]);
        tmux.arg(program.get_program()).args(&words[1..]);
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

    /// All that was shown so far, as it stands on the screen and above it.
    fn shown(&self) -> io::Result<String> {
        Self::check(self.tmux().args(["capture-pane", "-p", "-S", "-"]))
    }

    fn wait_for(&self, words: &str) -> io::Result<String> {
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

    fn enter(&self, words: &str) -> io::Result<()> {
        Self::check(self.tmux().args(["send-keys", words, "Enter"])).map(|_| ())
    }

    /// Kills the program in the terminal, which gets no chance to do anything about it.
    fn kill(&self) -> io::Result<()> {
        let shell = Self::check(self.tmux().args(["display-message", "-p", "#{pane_pid}"]))?;
        Self::check(Command::new("pkill").args(["-KILL", "-P", shell.trim()])).map(|_| ())
    }

    /// What is on the screen when the program has ended.
    fn ends(&self) -> io::Result<String> {
        self.wait_for("[exit ")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Takes the program with it, by SIGHUP first; a screen that is gone already is no loss.
        drop(self.tmux().arg("kill-server").output());
    }
}
