//! Registration of a pod with the metadata service.
//!
//! Responsible for: the requests on the service's socket, and the mark in the pod. Must not know: what the service tells apps,
//! when a pod registers. Follows rkt-reference.md 6.10, "Metadata service".

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use appc::PodManifest;

use super::prepare::write;
use super::prepared::PreparedPod;
use crate::error::{Context, FileContext, Result, Stage0Error};
use crate::hex;

/// Where the service takes registrations.
const SOCKET: &str = "/run/rkt/metadata-svc.sock";
/// The pod was registered and must be unregistered.
const REGISTERED: &str = "mds-registered";
/// The service may be about to be restarted.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// The service keeps everything in memory: whoever takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A status line; nothing of an answer behind it matters.
const MAX_STATUS_BYTES: u64 = 256;

const UNREACHABLE: &str = "could not reach the metadata service.\n\
    Make sure metadata service is currently running or use\n\
    \"rkt run --mds-register=false\" to skip pod registration.\n\
    For more information on running metadata service,\n\
    see https://github.com/rkt/rkt/blob/master/Documentation/subcommands/metadata-service.md";

/// Whether anybody listens.
pub fn check_available() -> Result<()> {
    UnixStream::connect(SOCKET).map(drop).map_err(|_| Stage0Error::refused(UNREACHABLE))
}

/// Registers a pod with its apps and returns the token that apps find it by.
pub fn register(directory: &Path, uuid: &str, pod: &PreparedPod) -> Result<String> {
    let token = new_token()?;
    // First, so that gc unregisters the pod wherever this process may end.
    write(&directory.join(REGISTERED), b"", 0o640)?;
    if let Err(error) = put_all(uuid, &token, pod) {
        drop(unregister(directory, uuid));
        return Err(error).context("failed to register the pod");
    }
    Ok(token)
}

fn put_all(uuid: &str, token: &str, pod: &PreparedPod) -> Result<()> {
    put(&format!("/pods/{uuid}?token={token}"), &pod.manifest_json)
        .context("failed to register pod with metadata svc")?;
    for app in &pod.apps {
        put(&format!("/pods/{uuid}/{}", app.name), &app.manifest_json)
            .context("failed to register app with metadata svc")?;
    }
    Ok(())
}

/// Tells the service of another manifest of a pod that was registered: an app has come, with its image's manifest, or gone.
pub fn apps_changed(
    directory: &Path,
    uuid: &str,
    manifest: &PodManifest,
    added: Option<(&str, &[u8])>,
) -> Result<()> {
    if directory.join(REGISTERED).symlink_metadata().is_err() {
        return Ok(());
    }
    let json = serde_json::to_vec(manifest).context("error marshalling pod manifest")?;
    // Without a token the pod keeps the one that it has; only its apps know that.
    put(&format!("/pods/{uuid}"), &json).context("failed to register pod with metadata svc")?;
    match added {
        Some((app, image)) => {
            put(&format!("/pods/{uuid}/{app}"), image).context("failed to register app with metadata svc")
        }
        None => Ok(()),
    }
}

/// Unregisters a pod that was registered.
pub fn unregister(directory: &Path, uuid: &str) -> Result<()> {
    let mark = directory.join(REGISTERED);
    if mark.symlink_metadata().is_err() {
        return Ok(());
    }
    // A service that is not there knows no pods any more: its state is in memory. One that was restarted knows not this one.
    if let Ok(stream) = UnixStream::connect(SOCKET) {
        let status = exchange(stream, "DELETE", &format!("/pods/{uuid}"), b"")?;
        if !matches!(code(&status), Some("200" | "404")) {
            return refused(&status).context("failed to unregister pod with metadata svc");
        }
    }
    std::fs::remove_file(&mark).file("remove", &mark)
}

/// 16 random bytes in hexadecimal digits.
fn new_token() -> Result<String> {
    let mut bytes = [0; 16];
    // The kernel fills up to 256 bytes in one call.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("failed to generate MDS token")?;
    Ok(hex::lower(&bytes))
}

fn put(path: &str, body: &[u8]) -> Result<()> {
    let status = exchange(connect()?, "PUT", path, body)?;
    if code(&status) == Some("200") { Ok(()) } else { refused(&status) }
}

fn code(status: &str) -> Option<&str> {
    status.split_ascii_whitespace().nth(1)
}

fn refused(status: &str) -> Result<()> {
    Err(Stage0Error::refused(format!("the metadata service answered {:?}", status.trim_end())))
}

/// One request on a connection of its own (RFC 9112); the answer's status line.
fn exchange(mut stream: UnixStream, method: &str, path: &str, body: &[u8]) -> Result<String> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: metadata\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let talk = |stream: &mut UnixStream| -> io::Result<String> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.take(MAX_STATUS_BYTES).read_to_end(&mut answer)?;
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(String::from_utf8_lossy(line).into_owned())
    };
    talk(&mut stream).context("cannot talk to the metadata service")
}

fn connect() -> Result<UnixStream> {
    for attempt in 1..=TRIES {
        match UnixStream::connect(SOCKET) {
            Ok(stream) => return Ok(stream),
            Err(_) if attempt < TRIES => std::thread::sleep(PAUSE),
            Err(_) => {}
        }
    }
    Err(Stage0Error::refused(UNREACHABLE))
}
