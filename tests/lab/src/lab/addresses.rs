//! The loopback addresses of a lab.

use std::{io, net::TcpListener};

/// The port that says that a lab's addresses are taken.
const CLAIM_PORT: u16 = 2221;

/// For how many labs there are addresses: 254 second parts with 80 groups of three each.
const LABS: u32 = 254 * 80;

/// Loopback addresses that no other lab on this machine has. Linux has all of 127.0.0.0/8; elsewhere a lab needs them
/// to be added to the loopback interface.
pub(super) struct Addresses {
    pub(super) node: String,
    pub(super) vm: String,
    pub(super) ct: String,
    pub(super) monitoring: String,
    /// Whoever holds this has the addresses: guests of two labs on one address would answer for each other.
    pub(super) claim: TcpListener,
}

impl Addresses {
    /// Takes the first free ones. Each process begins somewhere else, so that few tries are in vain.
    pub(super) fn take() -> io::Result<Self> {
        for lab in 0..LABS {
            let lab = (std::process::id() + lab) % LABS;
            let nth = |n: u32, host: u8| format!("127.{}.{}.{host}", 1 + lab / 80, 1 + 3 * (lab % 80) + n);
            let address = |n: u32| nth(n, 1);
            match TcpListener::bind((address(0), CLAIM_PORT)) {
                Ok(claim) => {
                    let (node, vm, ct) = (address(0), address(1), address(2));
                    return Ok(Self { node, vm, ct, monitoring: nth(0, 50), claim });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    let text = format!("cannot listen on {}: {error}", address(0));
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Err(io::Error::other("every loopback address for labs is taken"))
    }
}
