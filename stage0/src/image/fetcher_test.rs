use std::path::PathBuf;

use clap::Parser;
use sequoia_openpgp::Cert;
use tempfile::TempDir;

use super::test_keys::{key, sign};
use super::test_server::TestServer;
use super::{FetchOptions, Fetcher, Finder, HttpClient, ImageError, PullPolicy, VerifyError};
use crate::cli::Cli;
use crate::cli::insecure::InsecureOptions;
use crate::config::Configuration;
use crate::extract::test_archive::{TestArchive, manifest_json};
use crate::keystore::Keystore;
use crate::store::{ImageStore, Key};

struct Place {
    directory: TempDir,
    store: ImageStore,
    keystore: Keystore,
    configuration: Configuration,
}

fn options(insecure: &str, pull_policy: PullPolicy) -> FetchOptions {
    let insecure = InsecureOptions::parse(insecure).unwrap();
    FetchOptions { pull_policy, insecure, trust_keys_from_https: false, debug: false }
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&directory.path().join("data")).unwrap();
        let keystore = Keystore::new(&directory.path().join("system"), &directory.path().join("local"));
        let flag = |name: &str| format!("--{name}-config={}", directory.path().join(name).display());
        let line = ["rkt", &flag("system"), &flag("local"), "version"];
        let configuration = Configuration::of(&Cli::try_parse_from(line).unwrap().globals);
        Self { directory, store, keystore, configuration }
    }

    fn trust(&self, prefix: &str, key: &Cert) {
        self.keystore.store_prefix(&prefix.parse().unwrap(), key).unwrap();
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn fetch(&self, image: &str, insecure: &str, pull_policy: PullPolicy) -> Result<Key, ImageError> {
        let options = options(insecure, pull_policy);
        Fetcher::new(&self.store, &self.keystore, &self.configuration, options).fetch(image, None)
    }

    /// Fetches with every check on; nothing may be stored.
    fn refusal(&self, image: &str) -> ImageError {
        let error = self.fetch(image, "none", PullPolicy::Update).unwrap_err();
        let blobs = self.directory.path().join("data/cas/blob");
        assert!(!blobs.exists(), "a refused image is in the store");
        let files = |directory: &str| {
            let entries = std::fs::read_dir(self.directory.path().join(directory));
            entries.map_or(0, |entries| entries.filter(|e| e.as_ref().unwrap().path().is_file()).count())
        };
        assert_eq!(files("data/cas/tmp") + files("data/cas/tmp/downloads"), 0, "something is left in tmp");
        error
    }
}

fn image(name: &str) -> Vec<u8> {
    TestArchive::image(name).file("rootfs/f", b"content").finish()
}

fn path(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn signed_file_is_fetched_and_found_by_id_and_name() {
    let place = Place::new();
    let alice = key("Alice");
    place.trust("a.com", &alice);
    let file = place.write("b.aci", &image("a.com/b"));
    place.write("b.aci.asc", &sign(&alice, &image("a.com/b")));

    let key = place.fetch(path(&file), "none", PullPolicy::New).unwrap();

    let options = options("none", PullPolicy::New);
    let finder = Finder::new(Fetcher::new(&place.store, &place.keystore, &place.configuration, options));
    assert_eq!(finder.find(key.short(), None).unwrap(), key);
    assert_eq!(finder.find("a.com/b", None).unwrap(), key);
    assert!(finder.find("sha512-00", None).unwrap_err().to_string().contains("no image IDs found"));
}

#[test]
fn unsigned_image_is_refused_unless_the_check_is_off() {
    let place = Place::new();
    let file = place.write("b.aci", &image("a.com/b"));
    let error = place.refusal(path(&file)).to_string();
    assert!(error.contains("b.aci.asc") && error.contains("--insecure-options=image"), "{error}");
    assert!(place.fetch(path(&file), "image", PullPolicy::New).is_ok());
}

#[test]
fn key_counts_for_its_prefix_only() {
    let place = Place::new();
    let alice = key("Alice");
    place.trust("a.com/other", &alice);
    place.trust("a.com/b", &alice);
    let file = place.write("c.aci", &image("a.com/bc"));
    place.write("c.aci.asc", &sign(&alice, &image("a.com/bc")));
    let error = place.refusal(path(&file));
    assert!(matches!(error, ImageError::Verify { cause: VerifyError::Untrusted { .. }, .. }), "{error}");
}

#[test]
fn tampered_image_is_refused() {
    let place = Place::new();
    let alice = key("Alice");
    place.trust("a.com", &alice);
    let mut bytes = image("a.com/b");
    place.write("b.aci.asc", &sign(&alice, &bytes));
    let at = bytes.windows(7).position(|window| window == b"content").unwrap();
    bytes[at] = b'C';
    let file = place.write("b.aci", &bytes);
    let error = place.refusal(path(&file));
    assert!(matches!(error, ImageError::Verify { cause: VerifyError::Mismatch { .. }, .. }), "{error}");
}

#[test]
fn signed_image_is_downloaded_signature_first() {
    let (place, server, alice) = (Place::new(), TestServer::start(), key("Alice"));
    place.trust("a.com", &alice);
    server.serve("/b.aci?x=1", "", &image("a.com/b"));
    server.serve("/b.aci.asc?x=1", "", &sign(&alice, &image("a.com/b")));

    let key = place.fetch(&server.url("/b.aci?x=1"), "none", PullPolicy::Update).unwrap();

    assert!(place.store.manifest(&key).is_ok());
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /b.aci.asc?x=1 ") && requests[1].starts_with("GET /b.aci?x=1 "));
    assert!(requests[1].to_lowercase().contains(concat!("user-agent: rkt/", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn image_of_an_untrusted_signer_is_not_even_downloaded() {
    let (place, server) = (Place::new(), TestServer::start());
    place.trust("a.com", &key("Alice"));
    server.serve("/b.aci", "", &image("a.com/b"));
    server.serve("/b.aci.asc", "", &sign(&key("Mallory"), &image("a.com/b")));
    let error = place.refusal(&server.url("/b.aci"));
    assert!(matches!(error, ImageError::Verify { cause: VerifyError::Untrusted { .. }, .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn truncated_download_is_refused_and_leaves_nothing() {
    let (place, server, alice) = (Place::new(), TestServer::start(), key("Alice"));
    place.trust("a.com", &alice);
    let bytes = image("a.com/b");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    server.raw("/b.aci", [head.as_bytes(), &bytes[..1000]].concat());
    server.serve("/b.aci.asc", "", &sign(&alice, &bytes));
    let error = place.refusal(&server.url("/b.aci")).to_string();
    assert!(error.contains(&format!("truncated: got 1000 of {} bytes", bytes.len())), "{error}");
}

#[test]
fn bad_status_is_named() {
    let (place, server) = (Place::new(), TestServer::start());
    let error = place.refusal(&server.url("/b.aci")).to_string();
    assert!(error.contains("bad HTTP status code: 404") && error.contains("/b.aci.asc"), "{error}");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let (place, server) = (Place::new(), TestServer::start());
    let to = |target: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .into()
    };
    server.raw("/a.aci", to("/b.aci"));
    server.serve("/b.aci", "", &image("a.com/b"));
    server.raw("/loop.aci", to("/loop.aci"));
    assert!(place.fetch(&server.url("/a.aci"), "image", PullPolicy::Update).is_ok());
    server.requests();
    assert!(place.fetch(&server.url("/loop.aci"), "image", PullPolicy::Update).is_err());
    assert_eq!(server.requests().len(), 1, "a loop is seen at once");
}

#[test]
fn client_for_keys_speaks_no_plain_http() {
    let server = TestServer::start();
    server.serve("/key", "", b"key");
    let url = server.url("/key").parse().unwrap();

    assert_eq!(HttpClient::new(false).get_small(&url, 10).unwrap(), b"key");
    server.requests();
    assert!(HttpClient::https_only(false).get_small(&url, 10).is_err());
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn pull_policy_decides_whether_the_server_is_asked() {
    let (place, server) = (Place::new(), TestServer::start());
    let url = server.url("/b.aci");
    server.serve("/b.aci", "", &image("a.com/b"));
    let error = place.fetch(&url, "image", PullPolicy::Never).unwrap_err();
    assert!(matches!(error, ImageError::UrlNotFound(_)));
    assert_eq!(server.requests().len(), 0);

    let key = place.fetch(&url, "image", PullPolicy::New).unwrap();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(place.fetch(&url, "image", PullPolicy::New).unwrap(), key);
    assert_eq!(place.fetch(&url, "image", PullPolicy::Never).unwrap(), key);
    assert_eq!(server.requests().len(), 0);
    place.fetch(&url, "image", PullPolicy::Update).unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn fresh_image_is_not_asked_for_and_stale_one_is_revalidated() {
    let (place, server) = (Place::new(), TestServer::start());
    let url = server.url("/b.aci");
    server.serve("/b.aci", "Cache-Control: max-age=60\r\n", &image("a.com/b"));
    place.fetch(&url, "image", PullPolicy::Update).unwrap();
    server.requests();
    place.fetch(&url, "image", PullPolicy::Update).unwrap();
    assert_eq!(server.requests().len(), 0, "still fresh");

    let other = server.url("/c.aci");
    server.serve("/c.aci", "ETag: \"one\"\r\n", &image("a.com/c"));
    let key = place.fetch(&other, "image", PullPolicy::Update).unwrap();
    server.requests();
    server.raw("/c.aci", b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec());
    assert_eq!(place.fetch(&other, "image", PullPolicy::Update).unwrap(), key);
    assert!(server.requests()[0].to_lowercase().contains("if-none-match: \"one\""));
}

#[test]
fn image_that_was_fetched_unverified_does_not_pass_for_a_verified_one() {
    let (place, server, alice) = (Place::new(), TestServer::start(), key("Alice"));
    place.trust("a.com", &alice);
    let url = server.url("/b.aci");
    server.serve("/b.aci", "ETag: \"one\"\r\nCache-Control: max-age=60\r\n", &image("a.com/b"));
    let unverified = place.fetch(&url, "image", PullPolicy::Update).unwrap();

    // Fresh and current, but unsigned.
    assert!(place.fetch(&url, "none", PullPolicy::Update).is_err());
    server.requests();
    server.serve("/b.aci.asc", "", &sign(&alice, &image("a.com/b")));
    let verified = place.fetch(&url, "none", PullPolicy::Update).unwrap();

    assert_eq!(verified, unverified);
    assert!(!server.requests()[1].to_lowercase().contains("if-none-match"));
    // From now on it is a verified one, and fresh.
    assert_eq!(place.fetch(&url, "none", PullPolicy::Update).unwrap(), verified);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn name_that_is_not_in_the_store_is_a_clear_error() {
    let place = Place::new();
    let error = place.fetch("a.com/none:1.0", "none", PullPolicy::Never).unwrap_err().to_string();
    assert!(
        error.starts_with("unable to fetch image from image name \"a.com/none:1.0\": either image was not")
    );
}

#[test]
fn docker_images_of_publishers_nobody_trusts_are_refused_before_anybody_is_asked() {
    let place = Place::new();

    let error = place.fetch("docker://localhost:1/redis", "none", PullPolicy::New).unwrap_err().to_string();

    assert!(error.contains("rkt trust") && error.contains("--insecure-options=image"), "{error}");
}

#[test]
fn docker_images_are_fetched_from_the_store_only_if_nothing_else_is_allowed() {
    let place = Place::new();

    let error =
        place.fetch("docker://localhost:1/redis", "image", PullPolicy::Never).unwrap_err().to_string();

    assert!(
        error.contains("unable to fetch docker image from URL \"docker://localhost:1/redis:latest\""),
        "{error}"
    );
}

#[test]
fn image_whose_dependency_is_nowhere_is_not_fetched_successfully() {
    let place = Place::new();
    let manifest = manifest_json("a.com/b", r#","dependencies":[{"imageName":"localhost/base"}]"#);
    let archive =
        TestArchive::new().file("manifest", manifest.as_bytes()).directory("rootfs", 0o755).finish();
    let file = place.write("b.aci", &archive);
    let error = place.fetch(path(&file), "image", PullPolicy::New).unwrap_err().to_string();
    assert!(error.contains("\"localhost/base\""), "{error}");
}

#[test]
fn directory_or_pipe_is_no_image() {
    let place = Place::new();
    let directory = place.directory.path().join("d.aci");
    std::fs::create_dir(&directory).unwrap();
    assert!(place.refusal(path(&directory)).to_string().contains("not a regular file"));
    let pipe = place.directory.path().join("p.aci");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(place.refusal(path(&pipe)).to_string().contains("not a regular file"));
}
