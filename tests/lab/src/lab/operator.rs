//! The operator's side: a home with SSH keys, and a Terraform project in the usual layout.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    project::{self, ENVIRONMENTS},
    secrets,
    ssh::KeyPair,
};

/// An operator's home and project.
#[derive(Clone, Debug)]
pub struct Operator {
    home: PathBuf,
    project: PathBuf,
    path: String,
}

/// What the operator's files say about the node.
pub(super) struct About<'a> {
    pub(super) node: &'a str,
    pub(super) node_address: std::net::SocketAddr,
    pub(super) host_key: &'a str,
    pub(super) user: &'a str,
    pub(super) guest_port: u16,
    pub(super) vm_address: &'a str,
    pub(super) ct_address: &'a str,
}

impl Operator {
    /// Writes home and project below `folder`.
    pub(super) fn create(folder: &Path, key: &KeyPair, about: &About<'_>) -> io::Result<Self> {
        let (home, project) = (folder.join("home"), folder.join("project"));
        let ssh = home.join(".ssh");
        fs::create_dir_all(&ssh)?;
        key.write(&ssh.join("id_ed25519"))?;
        let (ip, port) = (about.node_address.ip(), about.node_address.port());
        fs::write(ssh.join("config"), format!("Host {ip}\n  Port {port}\n  User {}\n", about.user))?;
        fs::write(ssh.join("known_hosts"), format!("[{ip}]:{port} {}\n", about.host_key))?;
        write_project(&project, about)?;
        let programs = home.join("bin");
        fs::create_dir_all(&programs)?;
        write_program(&programs.join("ping"), &ping(about.guest_port))?;
        write_program(&programs.join("bash"), &noting_bash()?)?;
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(Self { home, project, path: format!("{}:{path}", programs.display()) })
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The project's folder.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// The folder of one environment.
    pub fn environment(&self, name: &str) -> PathBuf {
        project::environment(&self.project, name)
    }

    /// From now on the node's SSH server is looked for on this port.
    pub(super) fn dial(&self, node: IpAddr, port: u16) -> io::Result<()> {
        let change = |file: &str, lead: &str, line: String| -> io::Result<()> {
            let path = self.home.join(".ssh").join(file);
            let text = fs::read_to_string(&path)?;
            let lines = text.lines().map(|old| match old.strip_prefix(lead) {
                // What follows the port stays: the key, in `known_hosts`.
                Some(rest) => line.clone() + rest.trim_start_matches(|c: char| c.is_ascii_digit()) + "\n",
                None => old.to_owned() + "\n",
            });
            fs::write(path, lines.collect::<String>())
        };
        change("config", "  Port ", format!("  Port {port}"))?;
        change("known_hosts", &format!("[{node}]:"), format!("[{node}]:{port}"))
    }

    /// The environment variables of the operator's shell.
    pub fn variables(&self) -> Vec<(String, String)> {
        let state = self.home.join(".local/state");
        let pair = |name: &str, value: String| (name.to_owned(), value);
        vec![
            pair("HOME", self.home.display().to_string()),
            pair("XDG_STATE_HOME", state.display().to_string()),
            pair("PATH", self.path.clone()),
            pair("TERM", std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned())),
            pair("LC_ALL", "C.UTF-8".to_owned()),
            pair("TF_VAR_licence", secrets::IN_ENVIRONMENT.to_owned()),
        ]
    }
}

/// A `ping` for which a guest is there while its port answers: every loopback address answers the real one. It notes how it
/// was called and in which environment, none of which is a secret's place.
fn ping(guest_port: u16) -> String {
    format!(
        "#!/usr/bin/env bash\n{NOTE}\nexport -p >>\"$0.environment\"\n\
         (exec 3<>\"/dev/tcp/${{!#}}/{guest_port}\") 2>/dev/null\n"
    )
}

/// The real `bash`, which notes its arguments first: everybody on the operator's machine can read them.
fn noting_bash() -> io::Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|folder| folder.join("bash")).find(|bash| bash.is_file());
    let real = real.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "bash is not in the path"))?;
    Ok(format!("#!/bin/sh\n{NOTE}\nexec '{}' \"$@\"\n", real.display()))
}

/// Notes the arguments beside the program.
const NOTE: &str = r#"printf '%s\n' "$@" >>"$0.arguments""#;

fn write_program(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// One node stands for all three environments, as in a homelab that begins with one machine.
fn write_project(project: &Path, about: &About<'_>) -> io::Result<()> {
    for name in ENVIRONMENTS {
        let folder = project::environment(project, name);
        fs::create_dir_all(&folder)?;
        let common = project::common_tfvars(name, about.node, about.node_address.ip());
        let guests = project::guests_tfvars(name, about.vm_address, about.ct_address);
        let login = project::login_tfvars(secrets::IN_VARIABLES);
        fs::write(folder.join("terraform.tfvars"), common + &guests + &login)?;
    }
    fs::write(
        project.join("restore.toml"),
        format!(
            "# Guests of this lab answer on another port than 22.\n[prove]\nports = [{port}]\nssh_port = {port}\nwait = 20\n",
            port = about.guest_port
        ),
    )
}
