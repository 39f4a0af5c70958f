//! One command on a simulated node.

fn main() {}
