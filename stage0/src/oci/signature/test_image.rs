//! An image in a repository in memory, and keys to sign it with.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SignatureError, Signed, Subject, verify};
use crate::config::Configuration;
use crate::keystore::{Keystore, PublicKey};
use crate::oci::types::media_type;
use crate::oci::{Descriptor, Digest, OciError, RawManifest, Repository};

pub(super) const REFERENCE: &str = "a.com/team/app:1";
pub(super) const NAME: &str = "a.com/team/app";

/// A key as cosign makes them.
pub(super) struct CosignKey {
    pair: EcdsaKeyPair,
    pub public: PublicKey,
}

impl CosignKey {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let mut der = vec![
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        der.extend_from_slice(pair.public_key().as_ref());
        Self { public: PublicKey::from_der(&der).unwrap(), pair }
    }

    /// A signature, in base64.
    pub fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.pair.sign(&SystemRandom::new(), message).unwrap())
    }
}

/// The repository of an image, and the rkt that is to believe it.
pub(super) struct TestImage {
    pub manifests: BTreeMap<String, RawManifest>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub referrers: Vec<Value>,
    /// Whether the registry refuses to list them.
    pub refuses_referrers: bool,
    /// The image's manifest.
    pub digest: Digest,
    pub directory: TempDir,
    pub keystore: Keystore,
}

impl TestImage {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(&directory.path().join("system"), &directory.path().join("local"));
        let mut image = Self {
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            referrers: Vec::new(),
            refuses_referrers: false,
            digest: Digest::sha256(b""),
            directory,
            keystore,
        };
        let manifest = json!({ "schemaVersion": 2, "config": image.add_blob("c", b"{}"), "layers": [] });
        image.digest = image.add_manifest("1", &manifest);
        image
    }

    /// Adds a blob; returns its descriptor.
    pub fn add_blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        self.blobs.insert(digest.clone(), bytes.to_vec());
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Adds a manifest under a tag and its digest.
    pub fn add_manifest(&mut self, tag: &str, manifest: &Value) -> Digest {
        let bytes = manifest.to_string().into_bytes();
        let digest = Digest::sha256(&bytes);
        let media_type = match manifest.get("manifests") {
            Some(_) => media_type::OCI_INDEX,
            None => media_type::OCI_MANIFEST,
        };
        let raw = RawManifest { media_type: media_type.to_owned(), digest: digest.clone(), bytes };
        self.manifests.insert(tag.to_owned(), raw.clone());
        self.manifests.insert(digest.to_string(), raw);
        digest
    }

    /// The tag under which cosign leaves signatures (`.sig`) and clients keep referrers (nothing).
    pub fn tag(&self, suffix: &str) -> String {
        format!("sha256-{}{suffix}", self.digest.hex())
    }

    /// Leaves cosign signatures: each a payload and its signature in base64.
    pub fn leave_cosign(&mut self, signatures: &[(Vec<u8>, String)]) {
        let mut layers = Vec::new();
        for (payload, signature) in signatures {
            let mut layer = self.add_blob("application/vnd.dev.cosign.simplesigning.v1+json", payload);
            layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
            layers.push(layer);
        }
        let manifest = json!({ "schemaVersion": 2, "config": self.add_blob("c", b"{}"), "layers": layers });
        self.add_manifest(&self.tag(".sig"), &manifest);
    }

    /// Makes a bundle refer to the image.
    pub fn leave_bundle(&mut self, bundle: &Value) {
        let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let layer = self.add_blob(kind, bundle.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "artifactType": kind, "config": self.add_blob("e", b"{}"), "layers": [layer],
        });
        let tag = format!("bundle-{}", self.referrers.len());
        let digest = self.add_manifest(&tag, &manifest);
        self.referrers.push(json!({
            "mediaType": media_type::OCI_MANIFEST, "artifactType": kind, "digest": digest, "size": 1,
        }));
    }

    /// Trusts a key for the image's name.
    pub fn trust(&self, key: &CosignKey) {
        self.keystore.store_public_key(Some(&NAME.parse().unwrap()), &key.public).unwrap();
    }

    pub fn verify(&self) -> Result<Signed, SignatureError> {
        self.verify_as(REFERENCE)
    }

    pub fn verify_as(&self, reference: &str) -> Result<Signed, SignatureError> {
        let subject = Subject {
            name: NAME.parse().unwrap(),
            docker_reference: reference.to_owned(),
            manifest_digest: self.digest.clone(),
        };
        let configuration = Configuration::in_directories(&[&self.directory.path().join("local")]);
        verify(&subject, self, &self.keystore, &configuration)
    }

    /// Why the image is not believed.
    pub fn refusal(&self) -> String {
        self.verify().unwrap_err().to_string()
    }
}

impl Repository for TestImage {
    fn manifest(&self, reference: &str) -> Result<Option<RawManifest>, OciError> {
        Ok(self.manifests.get(reference).cloned())
    }

    fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, OciError> {
        let what = format!("blob {digest}");
        match self.blobs.get(digest) {
            None => Err(OciError::Missing { what }),
            Some(bytes) if bytes.len() as u64 > limit => Err(OciError::TooLarge { what, limit }),
            Some(bytes) => Ok(bytes.clone()),
        }
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>, OciError> {
        if self.refuses_referrers {
            return Err(OciError::Missing { what: "list of referrers".to_owned() });
        }
        Ok(self.referrers.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect())
    }
}

/// What both older kinds sign.
pub(super) fn payload(kind: &str, reference: &str, digest: &Digest) -> Vec<u8> {
    let critical = json!({
        "identity": { "docker-reference": reference },
        "image": { "docker-manifest-digest": digest },
        "type": kind,
    });
    json!({ "critical": critical, "optional": null }).to_string().into_bytes()
}
