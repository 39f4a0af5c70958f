//! A long way to a server: a relay on loopback that every byte passes late, and no faster than a link would carry it.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// As much as is passed on at once; a link carries packets, not megabytes.
const PIECE: usize = 16 << 10;
/// So many pieces are under way before the sender has to wait.
const UNDER_WAY: usize = 256;

/// How long a way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// From a question to its answer.
    pub round_trip: Duration,
    /// What passes in each direction of a connection; `None` is as much as comes.
    pub bytes_per_second: Option<u32>,
}

/// The relay. It takes connections until it is dropped; those that are open then go on.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    bytes: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Link {
    /// Listens on a port of `address` and passes everything on to `server`.
    pub fn start(address: IpAddr, server: SocketAddr, way: Way) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let link =
            Self { address, connections: Arc::default(), bytes: Arc::default(), ended: Arc::default() };
        let (connections, ended) = (Arc::clone(&link.connections), Arc::clone(&link.ended));
        let bytes = Arc::clone(&link.bytes);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                // A server that is not there ends the connection: a relay cannot refuse it any more.
                drop(TcpStream::connect(server).and_then(|server| pass(client, server, way, &bytes)));
            }
        });
        Ok(link)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made over it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many bytes it carried, in both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next one.
        drop(TcpStream::connect(self.address));
    }
}

fn pass(client: TcpStream, server: TcpStream, way: Way, bytes: &Arc<AtomicU64>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // The client was answered at once here. On a real way its SYN, the answer to that, and the end of the handshake
    // would have taken one and a half round trips before the server hears of it.
    let open = Instant::now() + way.round_trip * 3 / 2;
    let answers = open + way.round_trip / 2;
    one_direction(client.try_clone()?, server.try_clone()?, open, way, Arc::clone(bytes));
    one_direction(server, client, answers, way, Arc::clone(bytes));
    Ok(())
}

/// Reads on one thread and writes on another, so that many pieces can be under way.
fn one_direction(mut from: TcpStream, mut to: TcpStream, open: Instant, way: Way, bytes: Arc<AtomicU64>) {
    let (send, receive) = mpsc::sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    thread::spawn(move || {
        let mut free = open;
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            bytes.fetch_add(count as u64, Ordering::SeqCst);
            let takes = way.bytes_per_second.map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64(f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / f64::from(rate))
            });
            free = free.max(Instant::now()) + takes;
            let arrives = open.max(free + way.round_trip / 2);
            if send.send((arrives, piece[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (arrives, piece) in receive {
            thread::sleep(arrives.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every byte with the same byte.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
            }
        });
        address
    }

    fn connect(way: Way) -> (Link, TcpStream) {
        let link = Link::start("127.0.0.1".parse().unwrap(), echo(), way).unwrap();
        let stream = TcpStream::connect(link.address()).unwrap();
        (link, stream)
    }

    #[test]
    fn an_answer_takes_a_round_trip_and_a_connection_one_more() {
        let way = Way { round_trip: Duration::from_millis(40), bytes_per_second: None };
        let begun = Instant::now();
        let (link, mut stream) = connect(way);
        for count in 2_u32..5 {
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            assert!(begun.elapsed() >= way.round_trip * count, "{:?} after {count}", begun.elapsed());
        }
        assert_eq!(link.connections(), 1);
    }

    #[test]
    fn no_more_passes_than_the_link_carries() {
        let way = Way { round_trip: Duration::ZERO, bytes_per_second: Some(1_000_000) };
        let begun = Instant::now();
        let (link, stream) = connect(way);
        let mut reader = stream.try_clone().unwrap();
        let sent = thread::spawn(move || (&stream).write_all(&vec![7; 200_000]).unwrap());
        let mut back = vec![0; 200_000];
        reader.read_exact(&mut back).unwrap();
        sent.join().unwrap();
        assert!(back.iter().all(|byte| *byte == 7));
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
        assert_eq!(link.bytes(), 400_000);
    }

    #[test]
    fn the_end_is_passed_on() {
        let (_link, mut stream) = connect(Way::default());
        stream.write_all(b"the end").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "the end");
    }
}
