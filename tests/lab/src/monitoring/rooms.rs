//! What stands behind the doors.

use std::{io, net::SocketAddr};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{ALERTMANAGER, PROMETHEUS, Shared, grafana, lock, services};

/// A real service listens this far above the port where it is asked.
pub(super) const HIDDEN: u16 = 10_000;

/// How many segments of its log Prometheus replays, and the number of the first.
const SEGMENTS: (u64, u64) = (12, 50);

type Answer = Response<Full<Bytes>>;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Prometheus,
    Alertmanager,
    Grafana,
    Exporter,
}

impl Room {
    /// Answers; an error closes the connection without a word.
    pub(super) async fn answer(self, request: Request<Bytes>, shared: &Shared) -> io::Result<Answer> {
        match self {
            Self::Prometheus => {
                let percent = services::replay(shared, &lock(&shared.orders).faults);
                match percent.and_then(|percent| while_replaying(request.uri().path(), percent)) {
                    Some(answer) => Ok(answer),
                    None => forward(request, (shared.address, PROMETHEUS + HIDDEN).into()).await,
                }
            }
            Self::Alertmanager => forward(request, (shared.address, ALERTMANAGER + HIDDEN).into()).await,
            Self::Grafana => {
                let faults = lock(&shared.orders).faults.clone();
                let (status, value) = grafana::answer(&request.into_parts().0, shared, &faults);
                Ok(json_of(status, &value))
            }
            Self::Exporter => Ok(metrics(request.uri().path())),
        }
    }
}

/// What a Prometheus answers that has not read its log yet; nothing where it answers as always.
fn while_replaying(path: &str, percent: u64) -> Option<Answer> {
    if path == "/api/v1/status/walreplay" {
        let (first, count) = SEGMENTS;
        // Before the log come the chunks of the head, and no segment is known.
        let (min, max, current) = match percent {
            0 => (0, 0, 0),
            percent => (first, first + count - 1, first + (count - 1) * percent / 100),
        };
        let data = json!({ "min": min, "max": max, "current": current });
        return Some(json_of(StatusCode::OK, &json!({ "status": "success", "data": data })));
    }
    if path == "/-/ready" || path.starts_with("/api/v1/") {
        return Some(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "text/plain; charset=utf-8",
            "Service Unavailable",
        ));
    }
    None
}

/// What a node exporter answers, of what matters here.
fn metrics(path: &str) -> Answer {
    match path {
        "/metrics" => text(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.21\n",
        ),
        _ => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

/// Asks the real service. One that does not listen (yet) is felt as behind Docker's proxy: the connection is closed.
async fn forward(request: Request<Bytes>, to: SocketAddr) -> io::Result<Answer> {
    let socket = TcpStream::connect(to).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request.map(Full::new)).await.map_err(io::Error::other)?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    // It comes whole now, whatever it came as.
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    Ok(Response::from_parts(parts, Full::new(body)))
}

fn json_of(status: StatusCode, value: &Value) -> Answer {
    text(status, "application/json", &value.to_string())
}

fn text(status: StatusCode, content_type: &'static str, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
