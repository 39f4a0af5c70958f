//! What is fuzzed: a plain function for every reader of bytes that the programs did not write themselves.
//!
//! `cargo xtask fuzz` has libFuzzer call them (the workspace in `fuzz/`); `tests/corpus.rs` calls them with the seeds in
//! `corpus/` and some thousand mutations of each. Whatever the bytes are, a reader ends soon, takes little memory, and
//! gives a value or an error. It never panics.

mod archives;
mod memory;
mod node;
mod project;

pub use memory::{LIMIT, Memory};
pub use node::report_of;

/// A reader, and what it is called.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its corpus and of its program in `fuzz/`.
    pub name: &'static str,
    /// Reads some bytes.
    pub read: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 10] = [
    Target { name: "vma", read: archives::vma },
    Target { name: "tar", read: archives::tar },
    Target { name: "zstd", read: archives::zstd },
    Target { name: "gzip", read: archives::gzip },
    Target { name: "lzop", read: archives::lzop },
    Target { name: "tfvars", read: project::tfvars },
    Target { name: "state", read: project::state },
    Target { name: "s3", read: project::s3 },
    Target { name: "pve", read: node::pve },
    Target { name: "look", read: node::look },
];

/// Has the reader of this name read some bytes, and panics when it takes too much memory for that.
pub fn fuzz(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target `{name}`"));
    let memory = Memory::now();
    (target.read)(bytes);
    memory.assert_small(name);
}

/// That there is a value is all that is asked for: it is made, whatever a compiler thinks of that.
fn seen<T>(value: T) {
    std::hint::black_box(value);
}
