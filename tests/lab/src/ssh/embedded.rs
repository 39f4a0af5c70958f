//! An SSH server in this process.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use russh::{
    Channel, ChannelId, Sig,
    server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    runtime::Runtime,
    sync::{Notify, mpsc},
};

use super::ServerOptions;

/// A moment of a remote execution, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before execution K begins.
    Before(usize),
    /// While execution K runs, at its first output. One that prints nothing does not have this moment.
    During(usize),
    /// After execution K ended, before its answer is sent.
    After(usize),
}

/// What the server does at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// Its work.
    #[default]
    GoOn,
    /// It cuts every open connection.
    Cut,
    /// It does not run the execution and answers that it failed. Only before it.
    Fail,
}

/// Is asked at every moment, while the execution waits.
type Watcher = Arc<dyn Fn(Moment) -> Act + Send + Sync>;

/// Makes what an execution prints into what is told of it.
type Liar = Arc<dyn Fn(usize, Vec<u8>) -> Vec<u8> + Send + Sync>;

struct Shared {
    options: ServerOptions,
    connections: AtomicUsize,
    executions: AtomicUsize,
    watcher: Mutex<Option<Watcher>>,
    liar: Mutex<Option<Liar>>,
    /// Cuts every connection that is open.
    cut_all: Notify,
}

impl Shared {
    /// Asks the watcher. It may take its time: other executions go on.
    fn at(&self, moment: Moment) -> Act {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let act = watcher.map(|watcher| tokio::task::block_in_place(|| watcher(moment))).unwrap_or_default();
        if act == Act::Cut {
            self.cut_all.notify_waiters();
        }
        act
    }
}

/// A running server; it ends at drop.
pub struct Embedded {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Embedded {
    /// Listens and serves in the background.
    pub fn start(options: ServerOptions) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(options.address))?;
        let address = listener.local_addr()?;
        let config = Arc::new(server::Config {
            keys: vec![options.host_key.private().clone()],
            auth_rejection_time: Duration::ZERO,
            inactivity_timeout: None,
            ..server::Config::default()
        });
        let shared = Arc::new(Shared {
            options,
            connections: AtomicUsize::new(0),
            executions: AtomicUsize::new(0),
            watcher: Mutex::new(None),
            liar: Mutex::new(None),
            cut_all: Notify::new(),
        });
        runtime.spawn(accept(listener, config, Arc::clone(&shared)));
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections logged in so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many remote executions began so far.
    pub fn executions(&self) -> usize {
        self.shared.executions.load(Ordering::SeqCst)
    }

    /// Plans a cut. It comes once.
    pub fn cut_at(&self, planned: Moment) {
        let done = AtomicBool::new(false);
        self.watch(move |moment| {
            let hit = moment == planned && !done.swap(true, Ordering::SeqCst);
            if hit { Act::Cut } else { Act::GoOn }
        });
    }

    /// From now on `watcher` is asked at every moment of every execution, in place of the one before it. The execution
    /// waits meanwhile, so what the watcher does (look at the node, kill the client) happens exactly then.
    pub fn watch(&self, watcher: impl Fn(Moment) -> Act + Send + Sync + 'static) {
        self.set_watcher(Some(Arc::new(watcher)));
    }

    fn set_watcher(&self, watcher: Option<Watcher>) {
        *self.shared.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
    }

    /// From now on the node lies: what execution K, counted from 1, prints on standard output is told as `liar` makes it. How
    /// it ended is told as it was.
    pub fn lie(&self, liar: impl Fn(usize, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) {
        self.set_liar(Some(Arc::new(liar)));
    }

    fn set_liar(&self, liar: Option<Liar>) {
        *self.shared.liar.lock().unwrap_or_else(PoisonError::into_inner) = liar;
    }

    /// Cuts every open connection, and counts from the beginning with nobody watching and no lies.
    pub fn begin_anew(&self) {
        self.set_watcher(None);
        self.set_liar(None);
        self.cut_now();
        self.shared.connections.store(0, Ordering::SeqCst);
        self.shared.executions.store(0, Ordering::SeqCst);
    }

    /// Cuts every open connection now.
    pub fn cut_now(&self) {
        self.shared.cut_all.notify_waiters();
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, config: Arc<server::Config>, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, Arc::clone(&config), Arc::clone(&shared)));
    }
}

/// One connection. A pipe stands between the socket and the server, so that a cut takes the socket away at once, as a
/// broken line does.
async fn serve(mut socket: TcpStream, config: Arc<server::Config>, shared: Arc<Shared>) {
    drop(socket.set_nodelay(true));
    let (mut near, far) = tokio::io::duplex(1 << 18);
    let handler = Connection { shared: Arc::clone(&shared), inputs: HashMap::new() };
    let session = tokio::spawn(async move {
        if let Ok(running) = server::run_stream(config, far, handler).await {
            drop(running.await);
        }
    });
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut socket, &mut near) => {}
        () = shared.cut_all.notified() => {}
    }
    drop(socket);
    drop(near);
    drop(session.await);
}

/// The server's side of one connection.
struct Connection {
    shared: Arc<Shared>,
    /// Where the client's data for each running command goes.
    inputs: HashMap<ChannelId, mpsc::UnboundedSender<Vec<u8>>>,
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let offered = key.public_key.to_openssh().unwrap_or_default();
        let same = |a: &str, b: &str| a.split(' ').take(2).eq(b.split(' ').take(2));
        if user == self.shared.options.user && same(offered.trim_end(), &self.shared.options.client_key) {
            self.shared.connections.fetch_add(1, Ordering::SeqCst);
            return Ok(Auth::Accept);
        }
        Ok(Auth::reject())
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    /// Some clients want a terminal before they run anything. There is none, and they are told that there is.
    #[allow(clippy::too_many_arguments, reason = "the trait wants them")]
    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let number = self.shared.executions.fetch_add(1, Ordering::SeqCst) + 1;
        let act = self.shared.at(Moment::Before(number));
        if act == Act::Cut {
            return Err(russh::Error::Disconnect);
        }
        let text = String::from_utf8_lossy(data).into_owned();
        let (input, from_client) = mpsc::unbounded_channel();
        self.inputs.insert(channel, input);
        session.channel_success(channel)?;
        let execution =
            Execution { shared: Arc::clone(&self.shared), number, channel, handle: session.handle() };
        if act == Act::Fail {
            tokio::spawn(execution.fail());
        } else {
            tokio::spawn(execution.run(text, from_client));
        }
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        if let Some(input) = self.inputs.get(&channel) {
            drop(input.send(data.to_vec()));
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.inputs.remove(&channel);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.inputs.remove(&channel);
        Ok(())
    }
}

/// One remote execution.
struct Execution {
    shared: Arc<Shared>,
    number: usize,
    channel: ChannelId,
    handle: Handle,
}

impl Execution {
    async fn run(self, text: String, input: mpsc::UnboundedReceiver<Vec<u8>>) {
        let options = &self.shared.options;
        let spawned = Command::new(&options.simulator)
            .args(["shell", "-c", &text])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(options.variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                let words = format!("cannot run {}: {error}\n", options.simulator.display());
                let _ = self.handle.extended_data(self.channel, 1, words.into_bytes()).await;
                return self.end(Some(127), None).await;
            }
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        tokio::spawn(feed(stdin, input));
        let heard = AtomicBool::new(false);
        let output = async { tokio::join!(self.tell(stdout, &heard), self.pass_on(stderr, Some(1), &heard)) };
        let (passed_on, status) = tokio::join!(output, child.wait());
        // A connection takes a moment to be cut. What ended meanwhile must not be told on it: its output is not whole.
        if passed_on != (true, true) {
            return;
        }
        if self.shared.at(Moment::After(self.number)) == Act::Cut {
            return;
        }
        match status {
            Ok(status) => self.end(status.code(), status.signal()).await,
            Err(_) => self.end(Some(255), None).await,
        }
    }

    /// Answers as a node does that has no memory left for another process.
    async fn fail(self) {
        let words = b"bash: fork: Cannot allocate memory\n".to_vec();
        let _ = self.handle.extended_data(self.channel, 1, words).await;
        self.end(Some(254), None).await;
    }

    /// Sends what the execution prints, or what is made of all of it.
    async fn tell(&self, stdout: Option<tokio::process::ChildStdout>, heard: &AtomicBool) -> bool {
        let liar = self.shared.liar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(liar) = liar else { return self.pass_on(stdout, None, heard).await };
        let mut printed = Vec::new();
        if let Some(mut stdout) = stdout {
            // What cannot be read was not printed.
            let _ = stdout.read_to_end(&mut printed).await;
        }
        let told = liar(self.number, printed);
        self.pass_on(Some(&*told), None, heard).await
    }

    /// Sends what comes out of a pipe, up to its end. When the client is gone before, the pipe is closed and nothing else
    /// happens.
    async fn pass_on<R>(&self, pipe: Option<R>, extended: Option<u32>, heard: &AtomicBool) -> bool
    where
        R: tokio::io::AsyncRead + Unpin,
    {
        let Some(mut pipe) = pipe else { return true };
        let mut buffer = vec![0; 32_768];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            let is_first = !heard.swap(true, Ordering::SeqCst);
            if is_first && self.shared.at(Moment::During(self.number)) == Act::Cut {
                return false;
            }
            let data = buffer[..count].to_vec();
            let sent = match extended {
                None => self.handle.data(self.channel, data).await.is_ok(),
                Some(code) => self.handle.extended_data(self.channel, code, data).await.is_ok(),
            };
            if !sent {
                return false;
            }
        }
        true
    }

    async fn end(&self, code: Option<i32>, signal: Option<i32>) {
        let (handle, channel) = (&self.handle, self.channel);
        // Where any of this fails the client is gone.
        if let Some(code) = code {
            let _ = handle.exit_status_request(channel, u32::try_from(code).unwrap_or(255)).await;
        } else {
            let name = signal_name(signal.unwrap_or_default());
            let _ = handle.exit_signal_request(channel, name, false, String::new(), String::new()).await;
        }
        let _ = handle.eof(channel).await;
        let _ = handle.close(channel).await;
    }
}

async fn feed(stdin: Option<tokio::process::ChildStdin>, mut input: mpsc::UnboundedReceiver<Vec<u8>>) {
    let Some(mut stdin) = stdin else { return };
    while let Some(data) = input.recv().await {
        if stdin.write_all(&data).await.is_err() {
            return;
        }
    }
}

fn signal_name(number: i32) -> Sig {
    match number {
        1 => Sig::HUP,
        2 => Sig::INT,
        3 => Sig::QUIT,
        6 => Sig::ABRT,
        9 => Sig::KILL,
        13 => Sig::PIPE,
        15 => Sig::TERM,
        other => Sig::Custom(other.to_string()),
    }
}
