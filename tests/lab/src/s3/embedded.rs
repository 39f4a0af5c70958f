//! An S3 server in this process.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use s3s::{Body, HttpResponse, service::S3Service};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_native_tls::{TlsAcceptor, native_tls};

use super::{
    Credentials, Options, S3Server,
    faults::{Fault, Seen, Watch, response},
    port::Port,
    service::{self, IgnoreConditions, Service},
    store::Store,
};
use crate::tls::Authority;

/// How long the server's threads may take to end.
const END: Duration = Duration::from_secs(5);

/// What MinIO answers without a login.
const HEALTH: [&str; 3] = ["/minio/health/live", "/minio/health/ready", "/minio/health/cluster"];

/// An entity tag that no object here has.
const WRONG_ETAG: &str = "\"00000000000000000000000000000000\"";

/// A server in this process that can be broken; it ends at drop.
pub struct Embedded {
    port: Port,
    credentials: Credentials,
    folder: PathBuf,
    tls: Option<(Authority, PathBuf)>,
    watch: Arc<Watch>,
    runtime: Option<Runtime>,
    _temporary: Option<tempfile::TempDir>,
}

impl Embedded {
    /// Listens and serves in the background.
    pub fn start(options: &Options) -> io::Result<Self> {
        let temporary = options.folder.is_none().then(tempfile::tempdir).transpose()?;
        let own = temporary.as_ref().map(|folder| folder.path().to_owned());
        let tls = options.tls.then(|| Authority::create(options.address)).transpose()?;
        let mut server = Self {
            port: Port::take(SocketAddr::new(options.address, options.port))?,
            credentials: options.credentials.clone(),
            folder: options.folder.clone().or(own).unwrap_or_default(),
            tls: tls.map(|authority| {
                let pem = authority.pem();
                (authority, pem)
            }),
            watch: Arc::default(),
            runtime: None,
            _temporary: temporary,
        };
        server.start_again()?;
        Ok(server)
    }

    /// The requests since the start, or since [`Embedded::begin_anew`].
    pub fn requests(&self) -> Vec<Seen> {
        self.watch.requests()
    }

    /// Forgets the requests so far, counts from 1, and works.
    pub fn begin_anew(&self) {
        self.heal();
        self.watch.forget();
    }

    /// From now on this is wrong with every request.
    pub fn always(&self, fault: Fault) {
        self.watch(move |_| Some(fault));
    }

    /// This is wrong with one request, counted from 1.
    pub fn at(&self, number: usize, fault: Fault) {
        self.watch(move |seen| (seen.number == number).then_some(fault));
    }

    /// From now on `watcher` is asked what is wrong with each request, before anything is done. The request waits
    /// meanwhile, so what the watcher does (kill the client, look at the bucket) happens exactly then. It is done
    /// whether or not the client is still there.
    pub fn watch(&self, watcher: impl Fn(&Seen) -> Option<Fault> + Send + Sync + 'static) {
        self.watch.set(Some(Arc::new(watcher)));
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) {
        self.watch.set(None);
    }
}

impl S3Server for Embedded {
    fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.port.address())
    }

    fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|(_, pem)| pem.as_path())
    }

    fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    fn stop(&mut self) -> io::Result<()> {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(END);
        }
        Ok(())
    }

    fn start_again(&mut self) -> io::Result<()> {
        self.stop()?;
        let tls = match &self.tls {
            Some((authority, _)) => {
                let acceptor =
                    native_tls::TlsAcceptor::new(authority.identity()?).map_err(io::Error::other)?;
                Some(TlsAcceptor::from(acceptor))
            }
            None => None,
        };
        let store = Arc::new(Mutex::new(Store::open(&self.folder)?));
        let service = service::build(Service { store }, self.credentials.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(self.port.address()))?;
        let front = Front { service, watch: Arc::clone(&self.watch) };
        runtime.spawn(accept(listener, tls, front));
        self.runtime = Some(runtime);
        Ok(())
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("address", &self.port.address()).finish_non_exhaustive()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, front: Front) {
    while let Ok((socket, _)) = listener.accept().await {
        drop(socket.set_nodelay(true));
        let (tls, front) = (tls.clone(), front.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        front.serve(socket).await;
                    }
                }
                None => front.serve(socket).await,
            }
        });
    }
}

/// Stands before the service and breaks what is to be broken.
#[derive(Clone)]
struct Front {
    service: S3Service,
    watch: Arc<Watch>,
}

/// The connection is to be closed without another word.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl Front {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, socket: S) {
        let service = service_fn(move |request: Request<Incoming>| {
            let front = self.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
                // A client that vanishes takes nothing back.
                let answer =
                    tokio::spawn(async move { front.answer(Request::from_parts(parts, body)).await });
                answer.await.unwrap_or(Err(Cut))
            }
        });
        // A client that closes the connection is no error.
        drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<HttpResponse, Cut> {
        let (mut parts, body) = request.into_parts();
        let seen = self.watch.note(&parts);
        let fault = self.watch.ask(&seen);
        if let Some(refusal) = fault.and_then(|fault| fault.refusal(&seen)) {
            return Ok(refusal);
        }
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
            Some(Fault::CutBefore) => return Err(Cut),
            Some(Fault::IgnoreConditions) => drop(parts.extensions.insert(IgnoreConditions)),
            _ => {}
        }
        let mut answer = if is_health(&parts.method, &seen.path) {
            response(200, "text/plain", String::new())
        } else {
            let request = Request::from_parts(parts, Body::from(body));
            self.service.call(request).await.map_err(|_| Cut)?
        };
        answer.headers_mut().insert(header::SERVER, HeaderValue::from_static("MinIO"));
        match fault {
            Some(Fault::CutAfter) => Err(Cut),
            Some(Fault::Truncate) => truncate(answer).await,
            Some(Fault::WrongEtag) => {
                if let Some(tag) = answer.headers_mut().get_mut(header::ETAG) {
                    *tag = HeaderValue::from_static(WRONG_ETAG);
                }
                Ok(answer)
            }
            Some(Fault::NoVersioning) => {
                answer.headers_mut().remove("x-amz-version-id");
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }
}

fn is_health(method: &Method, path: &str) -> bool {
    [Method::GET, Method::HEAD].contains(method) && HEALTH.contains(&path)
}

/// Half of the body under the length of the whole. hyper closes the connection where the other half should come.
async fn truncate(answer: HttpResponse) -> Result<HttpResponse, Cut> {
    let (mut parts, body) = answer.into_parts();
    let whole = body.collect().await.map_err(|_| Cut)?.to_bytes();
    if whole.is_empty() || parts.status == StatusCode::NO_CONTENT {
        return Err(Cut);
    }
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    Ok(HttpResponse::from_parts(parts, Body::from(whole.slice(..whole.len() / 2))))
}
