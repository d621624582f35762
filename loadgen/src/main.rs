//! Load generator for redlatch.

fn main() {}
