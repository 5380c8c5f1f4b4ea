//! Keys and signatures as cosign makes them, made by openssl(1), and put into a registry where cosign puts them. Must not
//! know rkt. Follows cosign's `specs/SIGNATURE_SPEC.md`, the sigstore bundle 0.3 and the OCI distribution specification
//! 1.1 ("Referrers Tag Schema").

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oci::{INDEX, MANIFEST, descriptor};
use crate::registry::Registry;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A key pair.
#[derive(Debug)]
pub struct Cosign {
    directory: TempDir,
    prehashed: bool,
}

impl Default for Cosign {
    fn default() -> Self {
        Self::new()
    }
}

impl Cosign {
    /// ECDSA on P-256, cosign's own choice.
    pub fn new() -> Self {
        Self::generate(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    /// A key that `openssl genpkey` makes with these options.
    pub fn generate(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("rkt-test-cosign-").tempdir().expect("a directory");
        let key = Self { prehashed: !options.contains(&"ED25519"), directory };
        openssl(Command::new("openssl").arg("genpkey").args(options).arg("-out").arg(key.path("key")));
        let mut public = Command::new("openssl");
        public.args(["pkey", "-pubout", "-in"]).arg(key.path("key")).arg("-out").arg(key.public_key());
        openssl(&mut public);
        key
    }

    /// The public key's PEM file, as `cosign.pub` is.
    pub fn public_key(&self) -> PathBuf {
        self.path("cosign.pub")
    }

    /// The private key's PEM file.
    pub fn private(&self) -> PathBuf {
        self.path("key")
    }

    /// SHA-256 of the public key in DER, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut command = Command::new("openssl");
        command.args(["pkey", "-pubin", "-outform", "DER", "-in"]).arg(self.public_key());
        let digest = crate::oci::digest(&openssl(&mut command));
        digest.trim_start_matches("sha256:").to_owned()
    }

    /// Signs the image `repository@digest` of the registry, there.
    pub fn sign(&self, registry: &Registry, repository: &str, digest: &str) {
        let payload = payload(&format!("{}/{repository}", registry.host()), digest);
        let signature = self.sign_bytes(&payload);
        put_signatures(registry, repository, digest, &[(payload, signature)]);
    }

    /// A signature over `message`, in base64.
    pub fn sign_bytes(&self, message: &[u8]) -> String {
        let file = self.path("message");
        fs::write(&file, message).expect("writing a message");
        let mut command = Command::new("openssl");
        if self.prehashed {
            command.args(["dgst", "-sha256", "-sign"]).arg(self.private()).arg(file);
        } else {
            command.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(self.private()).arg("-in").arg(file);
        }
        STANDARD.encode(openssl(&mut command))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn openssl(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("openssl starts");
    assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What cosign signs: a manifest's digest and the repository's name.
pub fn payload(docker_reference: &str, digest: &str) -> Vec<u8> {
    let critical = json!({
        "identity": { "docker-reference": docker_reference },
        "image": { "docker-manifest-digest": digest },
        "type": "cosign container image signature",
    });
    json!({ "critical": critical, "optional": null }).to_string().into_bytes()
}

/// Puts a signature of the manifest `digest` beside it, as `cosign sign --key` does: each a payload and its signature.
pub fn put_signatures(registry: &Registry, repository: &str, digest: &str, signatures: &[(Vec<u8>, String)]) {
    let config = b"{}";
    registry.put_blob(repository, config);
    let layers: Vec<Value> = signatures
        .iter()
        .map(|(payload, signature)| {
            registry.put_blob(repository, payload);
            let mut layer = descriptor(PAYLOAD, payload);
            layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
            layer
        })
        .collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", config);
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string();
    let tag = format!("{}.sig", digest.replace(':', "-"));
    registry.put_manifest(repository, &tag, MANIFEST, manifest.as_bytes());
}

/// A bundle that says that `key` signed the manifest, as cosign 3 makes it.
pub fn bundle(key: &Cosign, digest: &str) -> Value {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.trim_start_matches("sha256:") } }],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    })
    .to_string();
    let message = format!("DSSEv1 {} {IN_TOTO} {} {statement}", IN_TOTO.len(), statement.len());
    json!({
        "mediaType": BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "key" }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": key.sign_bytes(message.as_bytes()) }],
        },
    })
}

/// Makes a bundle refer to the manifest `digest`, for registries that have no list of referrers.
pub fn put_bundle(registry: &Registry, repository: &str, digest: &str, bundle: &Value) {
    let (config, bundle) = (b"{}", bundle.to_string());
    registry.put_blob(repository, config);
    registry.put_blob(repository, bundle.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": descriptor("application/vnd.oci.empty.v1+json", config),
        "layers": [descriptor(BUNDLE, bundle.as_bytes())],
    })
    .to_string();
    let named = registry.put_manifest(repository, "bundle", MANIFEST, manifest.as_bytes());
    let mut referrer = descriptor(MANIFEST, manifest.as_bytes());
    assert_eq!(referrer["digest"], named.as_str());
    referrer["artifactType"] = json!(BUNDLE);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer] }).to_string();
    registry.put_manifest(repository, &digest.replace(':', "-"), INDEX, index.as_bytes());
}
