//! Lint, test, demo, lab and bench.

fn main() {}
