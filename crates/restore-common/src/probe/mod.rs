//! Whether something answers, and waiting until it does.
//!
//! Nothing here sleeps a fixed time in the hope that it is enough: a [`Wait`] asks again and again, has a limit, says
//! what it waits for, and ends at once when the operator interrupts. A probe has three answers: yes, no, and *could not
//! ask*.

mod http;
mod ping;
mod tcp;
mod wait;

pub use http::{Http, HttpUrl, Login, Manner, http, http_head};
pub use ping::{Ping, ping};
pub use tcp::{SshBanner, Tcp, ssh_banner, tcp};
pub use wait::{Wait, Waited};
