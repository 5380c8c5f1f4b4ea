//! Signs images in a registry as cosign does, with a key made by openssl(1): an image beside the signed one, under the
//! tag `sha256-<hex>.sig`, whose layers are signed payloads. Follows cosign's `specs/SIGNATURE_SPEC.md`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::command::{limit, run};
use crate::oci::{self, descriptor};
use crate::registry::Registry;

/// Media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A signing key.
#[derive(Debug)]
pub struct Cosign {
    directory: TempDir,
}

impl Default for Cosign {
    fn default() -> Self {
        Self::new()
    }
}

impl Cosign {
    /// Makes an ECDSA key on P-256, as cosign does.
    pub fn new() -> Self {
        let cosign = Self { directory: tempfile::tempdir().expect("a directory") };
        cosign.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "cosign.key",
        ]);
        cosign.openssl(&["pkey", "-in", "cosign.key", "-pubout", "-out", "cosign.pub"]);
        cosign
    }

    /// The public key, in PEM.
    pub fn public_key(&self) -> PathBuf {
        self.directory.path().join("cosign.pub")
    }

    /// Signs the image `repository@digest` of the registry, there.
    pub fn sign(&self, registry: &Registry, repository: &str, digest: &str) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": format!("{}/{repository}", registry.host()) },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        fs::write(self.directory.path().join("payload"), &payload).expect("writing what is to be signed");
        self.openssl(&["dgst", "-sha256", "-sign", "cosign.key", "-out", "signature", "payload"]);
        let signature = fs::read(self.directory.path().join("signature")).expect("openssl wrote it");

        let config = json!({ "architecture": "", "os": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [oci::digest(&payload)] } });
        let config = config.to_string().into_bytes();
        let mut layer = descriptor(PAYLOAD, &payload);
        layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": STANDARD.encode(signature) });
        let manifest = json!({ "schemaVersion": 2, "mediaType": oci::MANIFEST,
            "config": descriptor(oci::CONFIG, &config), "layers": [layer] });
        registry.put_blob(repository, &payload);
        registry.put_blob(repository, &config);
        let tag = format!("{}.sig", digest.replace(':', "-"));
        registry.put_manifest(repository, &tag, oci::MANIFEST, manifest.to_string().as_bytes());
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        run(command.args(arguments).current_dir(self.directory.path()), limit(20)).expect_code(0);
    }
}
