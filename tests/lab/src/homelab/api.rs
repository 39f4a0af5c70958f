//! The node's API: every request is a `pvesh` of the node.

use std::{convert::Infallible, fmt, io, net::SocketAddr, path::PathBuf, sync::Arc};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_native_tls::{TlsAcceptor, native_tls};

use crate::{
    lab::simulate,
    sim::{node::config::decode, shell::ShellNode},
    tls::Authority,
};

/// Where every path of the API begins.
const BASE: &str = "/api2/json";

/// A node's API; it ends at drop.
pub(super) struct Api {
    runtime: Option<Runtime>,
    _authority: Authority,
}

/// Whom the API asks, and what a client has to know.
pub(super) struct Behind {
    pub(super) simulator: PathBuf,
    pub(super) node: ShellNode,
    /// `USER@REALM!NAME=SECRET`.
    pub(super) token: String,
}

impl Api {
    /// Listens and serves in the background.
    pub(super) fn start(address: SocketAddr, behind: Behind) -> io::Result<Self> {
        let authority = Authority::create(address.ip())?;
        let acceptor = native_tls::TlsAcceptor::new(authority.identity()?).map_err(io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        runtime.spawn(accept(listener, acceptor.into(), Arc::new(behind)));
        Ok(Self { runtime: Some(runtime), _authority: authority })
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, behind: Arc<Behind>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, tls.clone(), Arc::clone(&behind)));
    }
}

async fn serve(socket: TcpStream, tls: TlsAcceptor, behind: Arc<Behind>) {
    let Ok(socket) = tls.accept(socket).await else { return };
    let service = service_fn(|request: Request<Incoming>| {
        let behind = Arc::clone(&behind);
        async move { Ok::<_, Infallible>(behind.answer(request).await) }
    });
    // A client that closes the connection is no error.
    drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
}

impl Behind {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let login = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if login.and_then(|login| login.strip_prefix("PVEAPIToken=")) != Some(self.token.as_str()) {
            return response(401, &json!({ "data": null, "message": "authentication failure" }));
        }
        let Ok(body) = body.collect().await else {
            return response(400, &json!({ "data": null, "message": "the request breaks off" }));
        };
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let query = parts.uri.query().unwrap_or_default();
        let words = words(&parts.method, parts.uri.path(), &[query, &body]);
        let answer = tokio::task::spawn_blocking(move || self.ask(&words)).await;
        match answer.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(data) => response(200, &json!({ "data": data })),
            Err(message) => response(500, &json!({ "data": null, "message": message })),
        }
    }

    /// A task tells its log before the answer, which is the last line; some calls only say what they do.
    fn ask(&self, words: &[String]) -> Result<Value, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = simulate(&self.simulator, &self.node, &words).map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        Ok(serde_json::from_str(last).unwrap_or_default())
    }
}

/// The command that a request stands for.
fn words(method: &Method, path: &str, parameters: &[&str]) -> Vec<String> {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "set",
        Method::DELETE => "delete",
        _ => "get",
    };
    let path = decode(path.strip_prefix(BASE).unwrap_or(path));
    let mut words = ["pvesh", verb, &path].map(str::to_owned).to_vec();
    let pairs = parameters.iter().flat_map(|text| text.split('&')).filter_map(|pair| pair.split_once('='));
    for (name, value) in pairs {
        words.extend([format!("--{name}"), decode(&value.replace('+', " "))]);
    }
    words.extend(["--output-format", "json"].map(str::to_owned));
    words
}

fn response(status: u16, content: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(content.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_command_of_the_node() {
        let words = words(
            &Method::POST,
            "/api2/json/nodes/pve/lxc",
            &["", "hostname=a+b&mp0=local%3A4%2Cmp%3D%2Fdata"],
        );
        let expected = [
            "pvesh",
            "create",
            "/nodes/pve/lxc",
            "--hostname",
            "a b",
            "--mp0",
            "local:4,mp=/data",
            "--output-format",
            "json",
        ];
        assert_eq!(words, expected);
    }
}
