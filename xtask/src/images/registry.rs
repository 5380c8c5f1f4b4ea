//! Debian's `docker-registry`, started to fill a storage directory by `skopeo` and ended when that is done. Follows the
//! registry's configuration reference (version 2.8) and skopeo-copy(1).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result};
use serde_json::json;

use crate::process::text;

/// A registry on a free port of the loopback.
pub(crate) struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts a registry that keeps its images in `storage`.
    pub(crate) fn start(storage: &Path) -> Result<Self> {
        let configuration = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": storage } },
            "http": { "addr": "127.0.0.1:0", "secret": "none" },
            "log": { "accesslog": { "disabled": true } },
        });
        let file = tempfile::NamedTempFile::new().context("writing the registry's configuration")?;
        // JSON is YAML.
        std::fs::write(file.path(), configuration.to_string())
            .context("writing the registry's configuration")?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(file.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting docker-registry")?;
        let errors = child.stderr.take().context("the registry has no standard error")?;
        let mut registry = Self { child, port: 0 };
        let mut said = Vec::new();
        let mut lines = BufReader::new(errors).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(port) = port(&line) {
                registry.port = port;
                // It must not wait for a reader.
                thread::spawn(move || lines.for_each(drop));
                return Ok(registry);
            }
            said.push(line);
        }
        anyhow::bail!("docker-registry ended: {}", said.join("\n"))
    }

    /// Copies the image of a layout here; as docker's own format when `docker` says so.
    pub(crate) fn push(&self, layout: &Path, reference: &str, docker: bool) -> Result<()> {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-no-creds"]);
        command.args(if docker { ["--format", "v2s2"].as_slice() } else { &["--preserve-digests"] });
        command.arg(format!("oci:{}", layout.display()));
        text(command.arg(format!("docker://localhost:{}/{reference}", self.port)))?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It writes nothing but by rename, so it may end at any time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port in `… msg="listening on 127.0.0.1:PORT" …`.
fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}
