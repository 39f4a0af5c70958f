//! A port that stays the server's own while the server is stopped.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt};

/// A socket that is bound and never listens: connections are refused, and the kernel gives the port to nobody else. A
/// server that asks for this very address may listen on it, as all do here (`SO_REUSEADDR`).
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl Port {
    /// Takes the port; 0 is one that is free.
    pub(super) fn take(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        let address = getsockname(&socket)?.try_into().map_err(io::Error::from)?;
        Ok(Self { address, _socket: socket })
    }

    /// The address with its port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}
