//! A homelab on loopback, to watch (`demo`) or to work in (`shell`).

use std::{
    error::Error,
    io::{self, IsTerminal as _},
    net::TcpStream,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use restore_lab::{
    homelab::Scenario,
    lab::{CT, Front, Lab, LabBuilder, MONITORING, NODE, VM},
    monitoring::{self, PROMETHEUS},
    s3::{Credentials, Embedded, Engine, Options, S3Server},
    terraform::{ENVIRONMENTS, Project},
};

const USAGE: &str = "usage: restore-lab demo [--yes]
       restore-lab shell [--pve 8|9] [--front embedded|openssh] [--s3 embedded|minio] [--monitoring]
       restore-lab shell --scenario NAME [--s3 embedded|minio]
       restore-lab s3 [--port PORT] [--folder DIR]";

/// The backup job of the demonstration.
const JOBS: &str = "vzdump: nightly\n\tschedule 01:00\n\tstorage local\n\tall 1\n";

/// How long a guest may take to answer, or to fall silent.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo(false),
        ["demo", "--yes"] => demo(true),
        ["shell", "--scenario", name] => rehearse(name, Engine::Embedded),
        ["shell", "--scenario", name, "--s3", "minio"] => rehearse(name, Engine::MinIo),
        ["shell", options @ ..] => shell(options),
        ["s3", options @ ..] => serve(options),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Breaks both guests, has them restored and everything verified, as an operator would.
fn demo(yes: bool) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let lab = LabBuilder::new().file("/etc/pve/jobs.cfg", JOBS).start()?;
    let asks = !yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    println!(
        "A homelab on loopback: {NODE}, Proxmox VE 8, with VM {VM} `prod-web` and container {CT} `prod-dns`.\n"
    );
    restore(&lab, VM, "/etc/pve/qemu-server/101.conf", "scsi0", asks, &|| lab.break_disk(VM))?;
    restore(&lab, CT, "/etc/pve/lxc/102.conf", "rootfs", asks, &|| lab.break_container(CT))?;
    println!("$ verify-backups --full --no-state\n");
    let status = lab.command("verify-backups").args(["--full", "--no-state"]).status()?;
    if !status.success() {
        return Err(format!("verify-backups ended with {status}").into());
    }
    println!(
        "\nBoth guests are back, bit for bit, and answer. All of it took {:.1} s.",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn restore(
    lab: &Lab,
    vmid: u32,
    config: &str,
    disk: &str,
    asks: bool,
    break_it: &dyn Fn() -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    answers(lab, vmid, true)?;
    let before = lab.disk_sha256(config, disk)?;
    println!("Guest {vmid} answers. SHA-256 of its {disk}: {before}");
    break_it()?;
    answers(lab, vmid, false)?;
    let broken = lab.disk_sha256(config, disk)?;
    println!("Broken: it does not answer any more.        SHA-256: {broken}\n");

    let mut command = lab.command("restore-vm");
    command.arg(vmid.to_string());
    if !asks {
        command.arg("--force");
    }
    println!("$ restore-vm {vmid}{}\n", if asks { "" } else { " --force" });
    let status = command.status()?;
    if !status.success() {
        return Err(format!("restore-vm ended with {status}").into());
    }
    let after = lab.disk_sha256(config, disk)?;
    if after != before {
        return Err(format!("the disk of guest {vmid} is not what it was: {after}").into());
    }
    answers(lab, vmid, true)?;
    println!("\nGuest {vmid} answers again. SHA-256 of its {disk}: {after}, the one from before.\n");
    Ok(())
}

/// Waits until a guest answers on TCP, or until it does not.
fn answers(lab: &Lab, vmid: u32, wanted: bool) -> Result<(), Box<dyn Error>> {
    let address = lab.guest_address(vmid).ok_or("no such guest in the lab")?;
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok() != wanted {
        if Instant::now() > deadline {
            let word = if wanted { "does not answer" } else { "still answers" };
            return Err(format!("guest {vmid} {word} on {address}").into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// A shell of the operator, with everything set up.
fn shell(options: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut builder = LabBuilder::new();
    let mut engine = None;
    let mut rest = options;
    while !rest.is_empty() {
        (builder, rest) = match rest {
            ["--pve", version, rest @ ..] => (builder.pve(version.parse()?), rest),
            ["--front", "openssh", rest @ ..] => (builder.front(Front::OpenSsh), rest),
            ["--front", "embedded", rest @ ..] => (builder.front(Front::Embedded), rest),
            ["--s3", "embedded", rest @ ..] => {
                engine = Some(Engine::Embedded);
                (builder, rest)
            }
            ["--s3", "minio", rest @ ..] => {
                engine = Some(Engine::MinIo);
                (builder, rest)
            }
            ["--monitoring", rest @ ..] => {
                if !monitoring::is_installed()? {
                    return Err("the monitoring stack needs Prometheus and Alertmanager".into());
                }
                (builder.monitoring(monitoring::Options::default()), rest)
            }
            _ => return Err(USAGE.into()),
        };
    }
    let lab = builder.start()?;
    let state = engine.map(|engine| keep_state(&lab, engine)).transpose()?;
    println!(
        "You are the operator of a homelab: {NODE} with VM {VM} and container {CT}.\n\
         Its files are below {} (break something there), your project is this folder.\n\
         Try: restore-vm {VM} --list, restore-vm {VM} --dry-run, restore-vm {VM}. `exit` ends the lab.\n",
        lab.root().display()
    );
    if let Some(stack) = lab.stack() {
        println!(
            "VM {MONITORING} `monitoring-stack` runs Prometheus at http://{}:{PROMETHEUS}. Try: rebuild-monitoring --check-only.\n",
            stack.address()
        );
    }
    let state_variables = state.as_ref().map(|(_, project)| project.variables()).unwrap_or_default();
    open_shell(&lab, state_variables)
}

/// A shell of an operator whose homelab is broken in this way.
fn rehearse(name: &str, engine: Engine) -> Result<(), Box<dyn Error>> {
    let scenario: Scenario = name.parse()?;
    println!("Terraform makes a homelab, and then something happens to it …");
    let Some(homelab) = scenario.start(engine)? else { return Err("something is not installed".into()) };
    println!(
        "\n{}\n\n`verify-backups --full` says when all is well. `exit` ends the lab.\n",
        scenario.task()
    );
    open_shell(&homelab, homelab.terraform().variables())
}

/// A shell in the operator's project, with the programs in its path.
fn open_shell(lab: &Lab, more: Vec<(String, String)>) -> Result<(), Box<dyn Error>> {
    let programs = std::env::current_exe()?;
    let folder = programs.parent().unwrap_or(std::path::Path::new("."));
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "bash".to_owned());
    Command::new(shell)
        .env_clear()
        .envs(lab.operator().variables())
        .envs(more)
        .env("PATH", path)
        .env("LAB_NODE", lab.root())
        .current_dir(lab.operator().project())
        .status()?;
    Ok(())
}

/// Gives the operator's project a server for its states, and applies every environment twice.
fn keep_state(lab: &Lab, engine: Engine) -> Result<(Box<dyn S3Server>, Project), Box<dyn Error>> {
    let server = engine.start(&Options::default())?.ok_or("there is no such S3 server")?;
    let project = Project::add_to(lab.operator().project(), &*server)?;
    project.make_buckets(&*server)?;
    for name in ENVIRONMENTS {
        project.init(name)?;
        for release in [1, 2] {
            project.release(name, release)?;
            project.apply(name)?;
        }
    }
    println!("The states of all environments are in S3 at {}.", server.endpoint());
    Ok((server, project))
}

/// An S3 server until this program is killed.
fn serve(words: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    for pair in words.chunks(2) {
        match pair {
            ["--port", port] => options.port = port.parse()?,
            ["--folder", folder] => options.folder = Some(folder.into()),
            _ => return Err(USAGE.into()),
        }
    }
    let server = Embedded::start(&options)?;
    let Credentials { access_key, secret_key } = server.credentials();
    println!(
        "export AWS_ENDPOINT_URL={} AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key}",
        server.endpoint()
    );
    loop {
        std::thread::park();
    }
}
