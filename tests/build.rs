//! Compiles a client of rkt's API from the product's definition of it.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=../stage0/api");
    let files = protox::compile(["v1alpha/api.proto"], ["../stage0/api"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
