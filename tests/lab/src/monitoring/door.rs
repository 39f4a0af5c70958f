//! A port of the VM, and what stands behind it.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use http_body_util::BodyExt as _;
use hyper::{Request as HttpRequest, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::{JoinHandle, JoinSet},
};
use tokio_native_tls::TlsAcceptor;

use super::{Shared, lock, rooms::Room};

/// How services of the stack introduce themselves to each other.
const OWN: [&str; 2] = ["Prometheus/", "Alertmanager/"];

/// A request as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The port.
    pub port: u16,
    /// `GET`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// Whether a login came with it.
    pub has_login: bool,
}

/// How a door treats whoever connects.
#[derive(Clone)]
pub(super) enum Manner {
    Plain,
    Tls(TlsAcceptor),
    /// It lets in and says nothing.
    Silent,
}

/// An open port; it is closed at drop, and so are its connections.
pub(super) struct Door {
    runtime: Handle,
    task: Option<JoinHandle<()>>,
}

impl Door {
    pub(super) fn open(
        runtime: &Handle,
        address: SocketAddr,
        manner: Manner,
        room: Room,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        let behind = Behind { port: address.port(), room, shared: Arc::clone(shared) };
        Ok(Self { runtime: runtime.clone(), task: Some(runtime.spawn(accept(listener, manner, behind))) })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The port is free when the task is gone, and not before.
            drop(self.runtime.block_on(task));
        }
    }
}

/// Connections end with the task, as the set of them does.
async fn accept(listener: TcpListener, manner: Manner, behind: Behind) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        drop(socket.set_nodelay(true));
        connections.spawn(behind.clone().greet(socket, manner.clone()));
    }
}

#[derive(Clone)]
struct Behind {
    port: u16,
    room: Room,
    shared: Arc<Shared>,
}

impl Behind {
    async fn greet(self, socket: TcpStream, manner: Manner) {
        match manner {
            Manner::Plain => self.serve(socket).await,
            Manner::Tls(acceptor) => {
                if let Ok(socket) = acceptor.accept(socket).await {
                    self.serve(socket).await;
                }
            }
            Manner::Silent => {
                let _held = socket;
                std::future::pending::<Infallible>().await;
            }
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, socket: S) {
        let service = service_fn(|request: HttpRequest<Incoming>| async {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            self.note(&parts);
            self.room.answer(HttpRequest::from_parts(parts, body), &self.shared).await
        });
        // A client that closes the connection is no error.
        drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
    }

    fn note(&self, request: &hyper::http::request::Parts) {
        let agent = request.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        if agent.is_some_and(|agent| OWN.iter().any(|own| agent.starts_with(own))) {
            return;
        }
        lock(&self.shared.requests).push(Request {
            port: self.port,
            method: request.method.to_string(),
            path: request.uri.path().to_owned(),
            query: request.uri.query().map(str::to_owned),
            has_login: request.headers.contains_key(header::AUTHORIZATION),
        });
    }
}
