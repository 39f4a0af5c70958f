//! A node that is reached by SSH.

use std::{
    env,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use super::{
    Command, Effect, Ending, Host, HostError, Job, JobEnd, JobState, Output, RunId,
    auth::Keys,
    batch,
    config::{self, HostConfig, expand_home, expand_signs},
    connect::Route,
    connection::{Broken, Connection},
    job,
    login::{self, Login},
    shell::{Event, LONGEST_SCRIPT, Script, Shell},
};

/// The node to connect to, as far as options say. What they leave open, `~/.ssh/config` says.
#[derive(Clone, Debug, Default)]
pub struct SshTarget {
    /// The host as the operator knows it, for messages: `pve-prod (192.168.1.100)`.
    pub label: String,
    /// Host name, IP address, or a `Host` of the SSH configuration.
    pub address: String,
    /// Else that of the configuration, else 22.
    pub port: Option<u16>,
    /// Else that of the configuration, else `root`.
    pub user: Option<String>,
    /// A private key that is tried before all others.
    pub identity: Option<PathBuf>,
    /// A file of host keys instead of the operator's own ones.
    pub known_hosts: Option<PathBuf>,
    /// Whether the key of a host that is not known yet may be noted. A changed key is never accepted.
    pub accept_new_host_key: bool,
}

/// Where things lie on the operator's machine.
#[derive(Clone, Debug)]
pub struct SshEnv {
    /// The folder with `.ssh` in it.
    pub home: PathBuf,
    /// The program's own folder for what outlives a run; host keys that were accepted are noted in it.
    pub state: PathBuf,
    /// The socket of an SSH agent.
    pub agent: Option<PathBuf>,
    /// A configuration to read instead of `~/.ssh/config`.
    pub config: Option<PathBuf>,
}

impl SshEnv {
    /// As the environment variables `HOME`, `XDG_STATE_HOME` and `SSH_AUTH_SOCK` say.
    pub fn from_process() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = env::home_dir().unwrap_or_default();
        Self { home, state: crate::cli::state_folder(), agent: variable("SSH_AUTH_SOCK"), config: None }
    }
}

/// What this machine has to log in to a node with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtHand {
    /// The types of the host keys that it is known by.
    pub known_keys: Vec<String>,
    /// The keys that would be tried.
    pub keys: Vec<String>,
    /// Those that cannot be, and why.
    pub unusable: Vec<String>,
}

/// Looks at that without asking the node.
pub fn at_hand(target: &SshTarget) -> Result<AtHand, HostError> {
    let wrong = |reason| HostError::Configuration { host: target.label.clone(), reason };
    let route = route(target, &SshEnv::from_process()).map_err(wrong)?;
    let known = route.known_host()?;
    let (keys, unusable) = route.keys.at_hand();
    Ok(AtHand { known_keys: known.key_types().map(str::to_owned).collect(), keys, unusable })
}

/// Most scripts that run over a connection at the same time: sshd takes ten unless `MaxSessions` says otherwise.
const MOST_SCRIPTS: usize = 8;

/// A node by SSH. All threads that use the host share one connection; a new one is made when it breaks.
pub struct SshHost {
    route: Route,
    connection: Mutex<Option<Arc<Connection>>>,
    scripts: Mutex<usize>,
    one_ended: Condvar,
}

impl SshHost {
    /// Connects and logs in, so that everything that can be wrong with that is said at once.
    pub fn connect(target: &SshTarget, env: &SshEnv) -> Result<Self, HostError> {
        let route = route(target, env)
            .map_err(|reason| HostError::Configuration { host: target.label.clone(), reason })?;
        let connection = Mutex::new(Some(Arc::new(route.connect()?)));
        Ok(Self { route, connection, scripts: Mutex::new(0), one_ended: Condvar::new() })
    }

    /// The connection, made anew when the last one broke; and whether it was there before.
    fn connection(&self) -> Result<(Arc<Connection>, bool), HostError> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = kept.as_ref() {
            return Ok((Arc::clone(connection), true));
        }
        let connection = Arc::new(self.route.connect()?);
        *kept = Some(Arc::clone(&connection));
        Ok((connection, false))
    }

    /// A connection that broke is not used again. Somebody may have made a new one meanwhile.
    fn forget(&self, broken: &Arc<Connection>) {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, broken)) {
            *kept = None;
        }
    }

    /// Waits for one of the places that a connection has for scripts.
    fn place(&self) -> Place<'_> {
        let count = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.one_ended.wait_while(count, |count| *count >= MOST_SCRIPTS);
        *count.unwrap_or_else(PoisonError::into_inner) += 1;
        Place(self)
    }
}

/// A script's place on the connection, free again at drop.
struct Place<'a>(&'a SshHost);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.scripts.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.one_ended.notify_one();
    }
}

impl Shell for SshHost {
    fn name(&self) -> &str {
        &self.route.name
    }

    fn exec(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, HostError> {
        if script.text.len() > LONGEST_SCRIPT {
            let (host, command) = (self.route.name.clone(), script.shown.to_owned());
            return Err(HostError::Unsendable { host, command, reason: "it is too long".to_owned() });
        }
        let text = login::marked(script.text);
        let marked = Script { text: &text, ..*script };
        let mut login = Login::default();
        let _place = self.place();
        // A connection that was kept may have ended meanwhile; that shows before anything is sent.
        loop {
            let (connection, is_kept) = self.connection()?;
            let (host, command) = (self.route.name.clone(), script.shown.to_owned());
            let mut own = |event: Event<'_>| login.own(event).map_or(ControlFlow::Continue(()), &mut *sink);
            match connection.exec(&marked, &mut own) {
                Ok(None) => return Ok(None),
                Ok(Some(ending)) => {
                    return match login.last_words() {
                        None => Ok(Some(ending)),
                        Some(words) => Err(HostError::LoginShell { host, command, ending, words }),
                    };
                }
                Err(Broken::TimedOut) => {
                    let seconds = script.limit.unwrap_or_default().as_secs();
                    return Err(HostError::TimedOut { host, command, seconds });
                }
                Err(Broken::NotStarted(reason)) => {
                    log::debug!("the connection to {host} had ended: {reason}");
                    self.forget(&connection);
                    if !is_kept {
                        return Err(HostError::Unreachable { host, reason });
                    }
                }
                Err(Broken::Lost(reason)) => {
                    self.forget(&connection);
                    return Err(HostError::Lost { host, command, reason });
                }
            }
        }
    }
}

impl Host for SshHost {
    fn name(&self) -> &str {
        &self.route.name
    }

    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError> {
        match commands.iter().find(|command| command.effect() != Effect::Read) {
            Some(command) => {
                let (host, command) = (self.route.name.clone(), command.to_string());
                Err(HostError::Unsendable {
                    host,
                    command,
                    reason: "it changes something, so it is a job".into(),
                })
            }
            None => job::again(|| batch::run_all(self, commands)),
        }
    }

    fn run_job(
        &self,
        job: &Job,
        command: &Command,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        job::run(self, job, command, on_line)
    }

    fn follow(
        &self,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        job::follow(self, job, on_line)
    }

    fn cancel(&self, job: &Job) -> Result<JobEnd, HostError> {
        job::cancel(self, job)
    }

    fn job_states(&self, jobs: &[Job]) -> Result<Vec<JobState>, HostError> {
        job::states(self, jobs)
    }

    fn clear(&self, run: &RunId) -> Result<(), HostError> {
        job::clear(self, run)
    }
}

/// Options first, then the configuration, then what is usual.
fn route(target: &SshTarget, env: &SshEnv) -> Result<Route, String> {
    let alias = target.address.trim_start_matches('[').trim_end_matches(']');
    let file = env.config.clone().unwrap_or_else(|| env.home.join(".ssh/config"));
    let config = config::load(&file, &env.home, alias)?;
    let address = match &config.host_name {
        Some(name) => expand_signs(name, &[('h', alias), ('n', alias)])?,
        None => alias.to_owned(),
    };
    let port = target.port.or(config.port).unwrap_or(22);
    let user = target.user.clone().or_else(|| config.user.clone()).unwrap_or_else(|| "root".to_owned());
    let jump = config.proxy_jump.clone().filter(|jump| jump != "none");
    if let Some(place) = config.proxy_command.as_deref().filter(|place| jump.is_none() && *place != "none") {
        return Err(format!("`ProxyCommand` in {place} is not supported; use `ProxyJump`"));
    }
    let (home, port_text) = (env.home.to_string_lossy(), port.to_string());
    let signs = [('h', address.as_str()), ('n', alias), ('p', &port_text), ('r', &user), ('d', &home)];
    let path = |value: &String| Ok(expand_home(&expand_signs(value, &signs)?, &env.home));
    let keys = keys(target, env, &config, path)?;
    let own_known_hosts = env.state.join("known_hosts");
    let mut known_hosts = known_hosts(target, env, &config, path)?;
    known_hosts.push(own_known_hosts.clone());
    Ok(Route {
        name: target.label.clone(),
        address,
        port,
        user,
        jump,
        jump_config: env.config.clone(),
        keys,
        known_hosts,
        own_known_hosts,
        accept_new_host_key: target.accept_new_host_key,
    })
}

fn keys(
    target: &SshTarget,
    env: &SshEnv,
    config: &HostConfig,
    path: impl Fn(&String) -> Result<PathBuf, String>,
) -> Result<Keys, String> {
    let mut named: Vec<PathBuf> = target.identity.iter().cloned().collect();
    for file in config.identity_files.iter().filter(|file| *file != "none") {
        named.push(path(file)?);
    }
    let usual = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| env.home.join(".ssh").join(name)).to_vec();
    Ok(Keys { agent: env.agent.clone(), named, usual, named_first: target.identity.is_some() })
}

fn known_hosts(
    target: &SshTarget,
    env: &SshEnv,
    config: &HostConfig,
    path: impl Fn(&String) -> Result<PathBuf, String>,
) -> Result<Vec<PathBuf>, String> {
    if let Some(file) = &target.known_hosts {
        return Ok(vec![file.clone()]);
    }
    let usual = || ["known_hosts", "known_hosts2"].map(|name| env.home.join(".ssh").join(name)).to_vec();
    let mut files = match &config.known_hosts_files {
        Some(files) => files.iter().filter(|file| *file != "none").map(path).collect::<Result<_, _>>()?,
        None => usual(),
    };
    files.push(Path::new("/etc/ssh/ssh_known_hosts").to_owned());
    Ok(files)
}
