//! Compiles the API's definition. protox does what `protoc` would, so nothing has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=api");
    let files = protox::compile(["v1alpha/api.proto"], ["api"])?;
    tonic_prost_build::configure().build_client(false).build_transport(false).compile_fds(files)?;
    Ok(())
}
