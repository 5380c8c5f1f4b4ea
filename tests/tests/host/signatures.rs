//! Images of a registry that are signed, with keys that are trusted and others: cosign's signatures, made by openssl, and
//! simple signing by the real skopeo and gpg.

use std::fs;
use std::process::Command;

use rkt_tests::aci::Aci;
use rkt_tests::authority::Authority;
use rkt_tests::command::{self, Finished, limit};
use rkt_tests::cosign::{Cosign, bundle, payload, put_bundle, put_signatures};
use rkt_tests::gpg::{Gpg, Key};
use rkt_tests::oci::{Image, Layer, Layout, digest};
use rkt_tests::registry::Registry;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::server::{Answer, Server};

use crate::publisher::{USER, blobs};

const REPOSITORY: &str = "team/app";

/// A registry with an image, and an rkt that knows its certificate.
struct Place {
    rkt: TestRkt,
    registry: Registry,
    authority: Authority,
    /// The image's manifest.
    digest: String,
}

impl Place {
    fn new() -> Self {
        let authority = Authority::new();
        let (mut rkt, registry) = (TestRkt::new(), Registry::https(&authority));
        rkt.set_env("SSL_CERT_FILE", authority.certificate());
        let digest = registry.push(&layout().reference("latest"), "team/app:1");
        Self { rkt, registry, authority, digest }
    }

    /// What signatures call the image.
    fn name(&self) -> String {
        format!("{}/{REPOSITORY}", self.registry.host())
    }

    /// The prefix of the registry's images.
    fn prefix(&self) -> String {
        format!("--prefix={}", self.registry.host().replace(':', "_"))
    }

    fn trust_cosign(&self, key: &Cosign) -> Finished {
        let file = key.public_key();
        let arguments =
            ["trust", "--skip-fingerprint-review", &self.prefix(), file.to_str().expect("a path")];
        self.rkt.run(arguments).expect_code(0)
    }

    fn trust_gpg(&self, gpg: &Gpg, key: &Key) {
        crate::publisher::trust(&self.rkt, gpg, key, &[&self.prefix()]);
    }

    fn sign(&self, key: &Cosign) {
        key.sign(&self.registry, REPOSITORY, &self.digest);
    }

    fn fetch(&self, version: &str) -> Finished {
        self.rkt.run(["fetch", &self.registry.reference(&format!("{REPOSITORY}{version}"))])
    }

    #[track_caller]
    fn accepted(&self) -> Finished {
        let output = self.fetch(":1").expect_code(0).expect_out("sha512-").expect_err("signature verified:");
        assert_eq!(blobs(&self.rkt).len(), 1);
        output
    }

    #[track_caller]
    fn refused(&self, why: &str) -> Finished {
        let output = self.fetch(":1").expect_code(RKT_FAILED).expect_err(why);
        assert!(!output.out().contains("sha512-"), "printed an image ID: {output:?}");
        assert!(blobs(&self.rkt).is_empty(), "a refused image is in the store");
        output
    }

    /// Copies the image again, signed by skopeo, with the signatures in `sigs`.
    fn sign_with_skopeo(&self, gpg: &Gpg, key: &Key, name: &str) {
        let registries = self.rkt.path("registries.d");
        fs::create_dir_all(&registries).expect("a directory");
        let sigs = self.rkt.path("sigs");
        let text = format!("default-docker:\n  lookaside-staging: file://{}\n", sigs.display());
        fs::write(registries.join("default.yaml"), text).expect("writing");
        let layout = layout();
        let mut command = self.registry.copy_command(&layout.reference("latest"), name);
        command.arg("--registries.d").arg(registries).args(["--sign-by", &key.fingerprint]);
        command::run(command.env("GNUPGHOME", gpg.home()), limit(60)).expect_code(0);
        assert!(sigs.exists(), "skopeo left no signature");
    }

    /// Says where the signatures of the registry's images are.
    fn configure_lookaside(&self, location: &str) {
        let directory = self.rkt.local_config().join("lookaside.d");
        fs::create_dir_all(&directory).expect("a directory");
        let text = format!(
            r#"{{"rktKind":"lookaside","rktVersion":"v1","registries":["{}"],"location":"{location}"}}"#,
            self.registry.host()
        );
        fs::write(directory.join("sigs.json"), text).expect("writing");
    }

    fn configure_lookaside_directory(&self) {
        self.configure_lookaside(&format!("file://{}", self.rkt.path("sigs").display()));
    }
}

fn layout() -> Layout {
    Layout::of(&Image::new([Layer::new(&Aci::empty().file("app", 0o755, b"#!/bin/sh\n"))]))
}

#[test]
fn image_with_a_cosign_signature_by_a_trusted_key_needs_no_option() {
    let place = Place::new();
    let key = Cosign::new();
    place.sign(&key);
    place.trust_cosign(&key);

    place.accepted().expect_err(&format!("cosign key {}", key.fingerprint()));
}

#[test]
fn every_kind_of_key_that_can_be_trusted_verifies() {
    let kinds: [&[&str]; 3] = [
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &["-algorithm", "ED25519"],
    ];
    for kind in kinds {
        let place = Place::new();
        let key = Cosign::generate(kind);
        place.sign(&key);
        place.trust_cosign(&key);

        place.accepted();
    }
}

#[test]
fn unsigned_image_is_refused_with_both_ways_out() {
    let place = Place::new();
    place.refused("rkt trust --prefix").expect_err("--insecure-options=image");

    place.trust_cosign(&Cosign::new());
    place.refused("is not signed").expect_err("rkt trust --prefix").expect_err("--insecure-options=image");

    let reference = place.registry.reference("team/app:1");
    place.rkt.run(["--insecure-options=image", "fetch", &reference]).expect_code(0);
}

#[test]
fn fetch_that_verifies_is_not_answered_by_one_that_did_not() {
    let place = Place::new();
    place.trust_cosign(&Cosign::new());
    let reference = place.registry.reference("team/app:1");
    place.rkt.run(["--insecure-options=image", "fetch", &reference]).expect_code(0);

    place.fetch(":1").expect_code(RKT_FAILED).expect_err("is not signed");
}

#[test]
fn cosign_signature_by_an_untrusted_key_is_refused() {
    let place = Place::new();
    place.sign(&Cosign::new());
    place.trust_cosign(&Cosign::new());

    place.refused("made by no key that is trusted for");
}

#[test]
fn signature_may_be_of_the_index_or_of_the_image_in_it() {
    let image = || Image::new([Layer::new(&Aci::empty().file("app", 0o755, b"#!/bin/sh\n"))]);
    let mut layout = Layout::new();
    layout.add_index("many", &[image().for_architecture("arm64"), image()]);
    for is_index_signed in [true, false] {
        let mut place = Place::new();
        let index = place.registry.push(&layout.reference("many"), "team/app:1");
        place.digest = if is_index_signed { index } else { digest(&image().manifest_bytes()) };
        let key = Cosign::new();
        place.trust_cosign(&key);

        place.refused("is not signed in a way");
        place.sign(&Cosign::new());
        place.refused("made by no key that is trusted for");
        place.sign(&key);
        place.accepted();
    }
}

#[test]
fn cosign_signature_of_another_image_is_refused() {
    let place = Place::new();
    let key = Cosign::new();
    place.trust_cosign(&key);
    let other = format!("sha256:{}", "0".repeat(64));
    let payload = payload(&place.name(), &other);
    let signature = key.sign_bytes(&payload);
    put_signatures(&place.registry, REPOSITORY, &place.digest, &[(payload, signature)]);

    place.refused(&format!("for the manifest {other}"));
}

#[test]
fn cosign_signature_for_another_repository_is_refused() {
    let place = Place::new();
    let key = Cosign::new();
    place.trust_cosign(&key);
    let payload = payload(&format!("{}/team/other", place.registry.host()), &place.digest);
    let signature = key.sign_bytes(&payload);
    put_signatures(&place.registry, REPOSITORY, &place.digest, &[(payload, signature)]);

    place.refused("for an image named");
}

#[test]
fn key_of_another_prefix_is_refused() {
    let place = Place::new();
    let key = Cosign::new();
    place.sign(&key);
    let (file, prefix) = (key.public_key(), format!("{}/tea", place.prefix()));
    let file = file.to_str().expect("a path");
    place.rkt.run(["trust", "--skip-fingerprint-review", &prefix, file]).expect_code(0);

    place.refused("no key is trusted for");
}

#[test]
fn empty_local_file_takes_trust_in_a_vendors_cosign_key_away() {
    let place = Place::new();
    let key = Cosign::new();
    place.sign(&key);
    place.trust_cosign(&key);
    let (local, system) =
        (place.rkt.local_config().join("trustedkeys"), place.rkt.path("system/trustedkeys"));
    fs::rename(&local, &system).expect("renaming");
    let prefix = local.join("prefix.d").join(place.registry.host().replace(':', "_"));
    fs::create_dir_all(&prefix).expect("a directory");
    let mask = prefix.join(format!("cosign-{}.pub", key.fingerprint()));
    fs::write(&mask, "").expect("writing");
    place.refused("no key is trusted for");

    fs::remove_file(mask).expect("removing");
    place.accepted();
}

#[test]
fn image_with_a_sigstore_bundle_by_a_trusted_key_needs_no_option() {
    let place = Place::new();
    let key = Cosign::new();
    put_bundle(&place.registry, REPOSITORY, &place.digest, &bundle(&key, &place.digest));
    place.trust_cosign(&key);

    place.accepted().expect_err(&format!("cosign key {}", key.fingerprint()));
}

#[test]
fn sigstore_bundle_about_another_image_or_by_another_key_is_refused() {
    let place = Place::new();
    let key = Cosign::new();
    place.trust_cosign(&key);
    let other = format!("sha256:{}", "0".repeat(64));
    put_bundle(&place.registry, REPOSITORY, &place.digest, &bundle(&key, &other));
    place.refused(&format!("for the manifest {other}"));

    put_bundle(&place.registry, REPOSITORY, &place.digest, &bundle(&Cosign::new(), &place.digest));
    place.refused("made by no key that is trusted for");
}

#[test]
fn image_that_skopeo_signed_is_believed_from_a_directory() {
    let (place, gpg) = (Place::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    place.trust_gpg(&gpg, &key);
    place.sign_with_skopeo(&gpg, &key, "team/app:1");
    place.refused("is not signed");

    place.configure_lookaside_directory();

    place.accepted().expect_err(USER);
}

#[test]
fn image_that_skopeo_signed_is_believed_from_a_lookaside_server() {
    let (place, gpg) = (Place::new(), Gpg::new());
    let key = gpg.generate("rsa2048", USER);
    place.trust_gpg(&gpg, &key);
    place.sign_with_skopeo(&gpg, &key, "team/app:1");
    let server = Server::https(&place.authority);
    let path = format!("team/app@{}/signature-1", place.digest.replace(':', "="));
    let signature = fs::read(place.rkt.path("sigs").join(&path)).expect("skopeo's signature");
    server.answer(&format!("/sigs/{path}"), Answer::body(signature));
    place.configure_lookaside(&server.url("/sigs"));

    place.accepted().expect_err(USER);
}

#[test]
fn lookaside_server_that_fails_is_named() {
    let (place, gpg) = (Place::new(), Gpg::new());
    place.trust_gpg(&gpg, &gpg.generate("ed25519", USER));
    let server = Server::https(&place.authority);
    let path = format!("/team/app@{}/signature-1", place.digest.replace(':', "="));
    server.answer(&path, Answer::status(403));
    place.configure_lookaside(&server.url(""));

    place.refused("bad HTTP status code: 403").expect_err("signature-1");
}

#[test]
fn signature_by_skopeo_for_another_tag_is_refused() {
    let (place, gpg) = (Place::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    place.trust_gpg(&gpg, &key);
    place.sign_with_skopeo(&gpg, &key, "team/app:2");
    place.configure_lookaside_directory();

    place.refused("for an image named").expect_err("team/app:2");
    place.fetch(":2").expect_code(0);
    place.fetch(&format!("@{}", place.digest)).expect_code(0);
}

#[test]
fn signature_by_skopeo_with_an_untrusted_or_revoked_key_is_refused() {
    let (place, gpg) = (Place::new(), Gpg::new());
    let (key, stranger) =
        (gpg.generate("ed25519", USER), gpg.generate("ed25519", "Stranger <stranger@example.org>"));
    place.trust_gpg(&gpg, &key);
    place.configure_lookaside_directory();
    place.sign_with_skopeo(&gpg, &stranger, "team/app:1");
    place.refused("signature made by unknown entity");

    fs::remove_dir_all(place.rkt.path("sigs")).expect("removing");
    place.sign_with_skopeo(&gpg, &key, "team/app:1");
    gpg.revoke(&key);
    place.trust_gpg(&gpg, &key);
    place.refused("is revoked");
}

#[test]
fn simple_signature_of_another_image_is_refused() {
    let (place, gpg) = (Place::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    place.trust_gpg(&gpg, &key);
    place.sign_with_skopeo(&gpg, &key, "team/app:1");
    // The registry serves another image under the name, and the old image's signature is offered for it.
    let image = Image::new([Layer::new(&Aci::empty().file("app", 0o755, b"#!/bin/malice\n"))]);
    let other = place.registry.push(&Layout::of(&image).reference("latest"), "team/app:1");
    let sigs = place.rkt.path("sigs/team");
    let directory = |digest: &str| sigs.join(format!("app@{}", digest.replace(':', "=")));
    fs::rename(directory(&place.digest), directory(&other)).expect("renaming");
    place.configure_lookaside_directory();

    place.refused(&format!("for the manifest {}", place.digest));
}

#[test]
fn malformed_lookaside_configuration_is_named() {
    let (place, gpg) = (Place::new(), Gpg::new());
    place.trust_gpg(&gpg, &gpg.generate("ed25519", USER));
    place.configure_lookaside("http://sigs.example.com");

    place.refused("sigs.json").expect_err("https://");
}

#[test]
fn skopeo_reads_the_same_signatures() {
    // What rkt believes, the tool that made it believes, too: the fixture is the real thing.
    let (place, gpg) = (Place::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    place.sign_with_skopeo(&gpg, &key, "team/app:1");
    let signature = place.rkt.path(&format!("sigs/team/app@{}/signature-1", place.digest.replace(':', "=")));
    let manifest = place.registry.stored(&place.digest);

    let mut verify = Command::new("skopeo");
    verify.arg("standalone-verify").arg(manifest).arg(format!("{}:1", place.name()));
    verify.args([&key.fingerprint]).arg(signature).env("GNUPGHOME", gpg.home());

    command::run(&mut verify, limit(60)).expect_code(0).expect_out("Signature verified");
}
