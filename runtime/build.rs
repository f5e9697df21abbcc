//! Nothing to build: cargo wants a build script beside `links`, and `links` is what keeps a second
//! version of the runtime out of the process.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
