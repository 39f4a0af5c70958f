//! Several commands in one remote execution, their outputs kept apart.

use std::{
    fmt::Write,
    hash::{BuildHasher, RandomState},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    Command, Ending, HostError, Output,
    shell::{LONGEST_SCRIPT, Printed, Script, Shell, collect, protocol, text},
};

/// How many commands run at the same time: one `pvesh` costs a node about a second of one core and 100 MB.
const WIDTH: usize = 8;

/// What the scripts of a batch begin with. `u` runs one command: its standard output goes on as it comes, its
/// standard error is held back and follows behind the token with the exit status. So nothing is written to the
/// node's disk. The `x` keeps the shell from dropping newlines at the end.
const PREAMBLE: &str = r#"export LC_ALL=C.UTF-8
u() { { e=$({ "$@"; } 2>&1 >&3 3>&-; s=$?; echo x; exit $s); printf '%s %s\n%s%s\n' $t $? "${e%x}" $t; } 3>&1; }
"#;

/// See [`super::Host::run_all`].
pub(super) fn run_all(shell: &dyn Shell, commands: &[Command]) -> Result<Vec<Output>, HostError> {
    if let Some(command) = commands.iter().find(|command| command.has_nul()) {
        return Err(HostError::Unsendable {
            host: shell.name().to_owned(),
            command: command.to_string().replace('\0', "\\0"),
            reason: "an argument holds a NUL byte".to_owned(),
        });
    }
    match commands {
        [] => Ok(Vec::new()),
        [command] => run_one(shell, command).map(|output| vec![output]),
        _ => run_several(shell, commands),
    }
}

/// One command needs no framing: its streams and its ending are those of the SSH channel.
fn run_one(shell: &dyn Shell, command: &Command) -> Result<Output, HostError> {
    let shown = command.to_string();
    let line = format!("LC_ALL=C.UTF-8 {}", command.simple());
    let limit = Some(command.time_limit());
    let script = Script { text: &line, shown: &shown, stdin: command.stdin_bytes(), limit };
    let Printed { ending, stdout, stderr } = collect(shell, &script)?;
    Ok(Output { ending, stdout: text(stdout), stderr: text(stderr) })
}

fn run_several(shell: &dyn Shell, commands: &[Command]) -> Result<Vec<Output>, HostError> {
    let token = token();
    let line = script(commands, &token);
    if line.len() > LONGEST_SCRIPT {
        let (front, back) = commands.split_at(commands.len() / 2);
        let mut outputs = run_all(shell, front)?;
        outputs.extend(run_all(shell, back)?);
        return Ok(outputs);
    }
    let shown = commands.iter().map(Command::to_string).collect::<Vec<_>>().join("; ");
    let stdin: String = commands.iter().filter_map(stdin_line).collect();
    let limit = commands.iter().map(Command::time_limit).max();
    let script = Script { text: &line, shown: &shown, stdin: stdin.as_bytes(), limit };
    let printed = collect(shell, &script)?;
    parse(&printed.stdout, &token, commands.len()).ok_or_else(|| {
        let words = text(printed.stderr);
        protocol(shell, format!("the batch `{shown}` ended with {}: {}", printed.ending, words.trim()))
    })
}

/// What a command reads, as one line of the batch's standard input. Not part of the script: every user of the node
/// can read the arguments of its shell.
fn stdin_line(command: &Command) -> Option<String> {
    let bytes = command.stdin_bytes();
    (!bytes.is_empty()).then(|| BASE64.encode(bytes) + "\n")
}

/// Groups of commands, one group after the other. Within a group all commands run at once: each hands on what those
/// before it print (kept open as descriptor 4), then what it prints itself.
fn script(commands: &[Command], token: &str) -> String {
    let mut script = format!("t={token}\n{PREAMBLE}");
    for (index, _) in commands.iter().enumerate().filter(|(_, c)| stdin_line(c).is_some()) {
        let _ = writeln!(script, "read -r i{index}");
    }
    for (group, members) in commands.chunks(WIDTH).enumerate() {
        for (position, command) in members.iter().enumerate() {
            let unit = unit(command, group * WIDTH + position);
            if position == 0 {
                script.push_str(&unit);
            } else {
                let _ = write!(script, " | {{ exec 4<&0; {{ {unit}; }} 4<&- | cat /proc/self/fd/4 -; }}");
            }
        }
        script.push('\n');
    }
    script
}

fn unit(command: &Command, index: usize) -> String {
    if command.stdin_bytes().is_empty() {
        format!("u {} </dev/null", command.simple())
    } else {
        format!("printf %s \"$i{index}\" | base64 -d | u {}", command.simple())
    }
}

/// The outputs in the stream of a batch, or `None` when it is not complete.
fn parse(mut stream: &[u8], token: &str, count: usize) -> Option<Vec<Output>> {
    let mut outputs = Vec::with_capacity(count);
    for _ in 0..count {
        let (stdout, rest) = split(stream, &format!("{token} "))?;
        let (status, rest) = split(rest, "\n")?;
        let (stderr, rest) = split(rest, &format!("{token}\n"))?;
        let status = std::str::from_utf8(status).ok()?.parse().ok()?;
        outputs.push(Output {
            ending: Ending::Exit(status),
            stdout: text(stdout.to_vec()),
            stderr: text(stderr.to_vec()),
        });
        stream = rest;
    }
    stream.is_empty().then_some(outputs)
}

fn split<'a>(bytes: &'a [u8], at: &str) -> Option<(&'a [u8], &'a [u8])> {
    let start = bytes.windows(at.len()).position(|window| window == at.as_bytes())?;
    Some((&bytes[..start], &bytes[start + at.len()..]))
}

/// 128 bits that no output can hold by chance.
fn token() -> String {
    let half = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{
        super::{job::ROOT, local::LocalShell},
        *,
    };

    fn sh(script: &str) -> Command {
        Command::read("sh").args(["-c", script])
    }

    fn run(commands: &[Command]) -> Vec<Output> {
        let shell = LocalShell::new(ROOT, Vec::new());
        let outputs = run_all(&shell, commands).unwrap();
        assert_eq!(shell.executions.load(Ordering::Relaxed), 1, "one remote execution");
        outputs
    }

    fn output(status: i32, stdout: &str, stderr: &str) -> Output {
        Output { ending: Ending::Exit(status), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
    }

    #[test]
    fn streams_and_statuses_are_kept_apart_and_in_order() {
        let outputs = run(&[
            sh("echo a; echo b >&2; exit 3"),
            sh("printf 'no newline'; printf 'none here\n\n' >&2"),
            sh("exit 0"),
            Command::read("false").pipe(Command::read("cat")),
            Command::read("no-such-program-here"),
        ]);
        assert_eq!(outputs[0], output(3, "a\n", "b\n"));
        assert_eq!(outputs[1], output(0, "no newline", "none here\n\n"));
        assert_eq!(outputs[2], output(0, "", ""));
        assert_eq!(outputs[3], output(1, "", ""));
        assert_eq!(outputs[4].ending, Ending::Exit(127));
        assert!(outputs[4].stderr.contains("no-such-program-here"), "{:?}", outputs[4]);
    }

    #[test]
    fn one_command_has_its_own_streams() {
        assert_eq!(run(&[sh("echo a; echo b >&2; exit 4")]), [output(4, "a\n", "b\n")]);
    }

    #[test]
    fn every_command_reads_its_own_bytes_whatever_they_are() {
        let secret = b"a\0b\n$(id) '\n\n".to_vec();
        let outputs = run(&[
            sh("cat"),
            sh("od -An -c").stdin(secret.clone()),
            Command::read("cat").pipe(Command::read("wc").arg("-c")).stdin(secret),
            sh("tr a-z A-Z").stdin("quiet"),
        ]);
        assert_eq!(outputs[0].stdout, "", "no stdin is an empty one");
        let shown: String = outputs[1].stdout.split_whitespace().collect();
        assert_eq!(shown, r"a\0b\n$(id)'\n\n");
        assert_eq!(outputs[2].stdout.trim(), "13");
        assert_eq!(outputs[3].stdout, "QUIET");
    }

    #[test]
    fn large_outputs_of_both_streams_arrive_whole() {
        let both = sh("head -c 3000000 /dev/zero | tr '\\0' o; head -c 2000000 /dev/zero | tr '\\0' e >&2");
        for output in run(&[both.clone(), both.clone(), both]) {
            assert!(output.stdout.len() == 3_000_000 && output.stdout.bytes().all(|b| b == b'o'));
            assert!(output.stderr.len() == 2_000_000 && output.stderr.bytes().all(|b| b == b'e'));
        }
    }

    #[test]
    fn what_prints_without_end_is_left_and_said() {
        let shell = LocalShell::new(ROOT, Vec::new());
        let error = run_all(&shell, &[Command::read("yes")]).unwrap_err().to_string();
        assert!(error.contains("`yes` prints without end"), "{error}");
    }

    #[test]
    fn text_that_is_not_utf8_is_replaced() {
        let outputs = run(&[sh("printf 'a\\377b'"), sh("printf 'c\\377d' >&2")]);
        assert_eq!((outputs[0].stdout.as_str(), outputs[1].stderr.as_str()), ("a\u{fffd}b", "c\u{fffd}d"));
    }

    /// Each waits for the next one to open its end: one after the other they would wait for ever.
    #[test]
    fn the_commands_of_a_group_run_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe").display().to_string();
        assert!(run(&[Command::write("mkfifo").arg(&pipe)])[0].success());
        let commands = [Command::read("cat").arg(&pipe), sh(&format!("echo met > '{pipe}'")), sh("true")];
        assert_eq!(run(&commands)[0].stdout, "met\n");
    }

    #[test]
    fn more_commands_than_run_at_once_keep_their_order() {
        let commands: Vec<Command> = (0..30).map(|n| sh(&format!("echo {n}"))).collect();
        let stdout: Vec<String> = run(&commands).into_iter().map(|o| o.stdout.trim().to_owned()).collect();
        assert_eq!(stdout, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_script_too_long_for_one_packet_is_split() {
        let shell = LocalShell::new(ROOT, Vec::new());
        let word = "x".repeat(14_000);
        let commands: Vec<Command> = (0..4).map(|n| sh(&format!("echo {n} # {word}"))).collect();
        let outputs = run_all(&shell, &commands).unwrap();
        assert_eq!(outputs.iter().map(|o| o.stdout.as_str()).collect::<String>(), "0\n1\n2\n3\n");
        assert_eq!(shell.executions.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_nul_byte_is_refused_before_anything_runs() {
        let shell = LocalShell::new(ROOT, Vec::new());
        let error = run_all(&shell, &[sh("true"), Command::read("echo").arg("a\0b")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot run `echo 'a\\0b'` on this machine: an argument holds a NUL byte"
        );
        assert_eq!(shell.executions.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_stream_that_was_cut_is_not_an_answer() {
        let whole = "outT 0\nerrT\n";
        assert!(parse(whole.as_bytes(), "T", 1).is_some());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..end], "T", 1), None, "cut at {end}");
        }
        assert_eq!(parse(format!("{whole}more").as_bytes(), "T", 1), None);
    }
}
