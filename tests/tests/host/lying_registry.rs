//! `rkt fetch docker://` from a registry that lies, breaks off or refuses: the error says what and where, nothing of it
//! enters the store, and nobody gets credentials who should not.

use std::fs;
use std::path::PathBuf;

use rkt_tests::aci::Aci;
use rkt_tests::authority::Authority;
use rkt_tests::command::Finished;
use rkt_tests::oci::{CONFIG, Image, Layer, MANIFEST, digest};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::server::{Answer, Delivery, Server};
use serde_json::json;

use crate::publisher::blobs;

/// A registry that has `app:1`, to be made to lie.
struct Liar {
    rkt: TestRkt,
    server: Server,
    authority: Authority,
    image: Image,
}

/// A layer with bytes that do not compress, so that there is something to break off.
fn layer(number: u8) -> Layer {
    let noise: Vec<u8> =
        (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ number).collect();
    Layer::new(&Aci::empty().file(&format!("file-{number}"), 0o644, &noise))
}

impl Liar {
    fn new() -> Self {
        let authority = Authority::new();
        let server = Server::https(&authority);
        let mut rkt = TestRkt::new();
        rkt.set_env("SSL_CERT_FILE", authority.certificate());
        rkt.set_env("HOME", rkt.path("home"));
        let liar = Self { rkt, server, authority, image: Image::new([layer(1), layer(2)]) };
        liar.tell_the_truth();
        liar
    }

    fn tell_the_truth(&self) {
        self.manifest(Answer::body(self.image.manifest_bytes()).header("Content-Type", MANIFEST));
        self.blob(&digest(&self.image.config_bytes()), Answer::body(self.image.config_bytes()));
        for layer in &self.image.layers {
            self.blob(&layer.digest(), Answer::body(layer.blob()));
        }
    }

    fn manifest(&self, answer: Answer) {
        self.server.answer("/v2/app/manifests/1", answer);
    }

    fn blob(&self, digest: &str, answer: Answer) {
        self.server.answer(&format!("/v2/app/blobs/{digest}"), answer);
    }

    /// The answer for the second layer.
    fn layer(&self, answer: Answer) {
        self.blob(&self.image.layers[1].digest(), answer);
    }

    fn fetch(&self) -> Finished {
        self.rkt.run(["--insecure-options=image", "fetch", &format!("docker://{}/app:1", self.server.host())])
    }

    /// Checks that a fetch fails with a message and stores no image.
    #[track_caller]
    fn refused(&self, message: &str) {
        let output = self.fetch().expect_code(RKT_FAILED).expect_err(message);
        assert!(!output.out().contains("sha512-"), "printed an image ID: {output:?}");
        assert_eq!(blobs(&self.rkt), [] as [PathBuf; 0], "a refused image is in the store");
    }
}

#[test]
fn a_registry_that_tells_the_truth_is_believed() {
    Liar::new().fetch().expect_code(0);
}

#[test]
fn a_layer_with_another_digest_is_refused_and_layers_that_were_whole_stay_for_the_next_attempt() {
    let mut liar = Liar::new();
    liar.image = Image::new((0..5).map(layer).collect::<Vec<_>>());
    liar.tell_the_truth();
    let mut wrong = liar.image.layers[4].blob();
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    liar.blob(&liar.image.layers[4].digest(), Answer::body(wrong));

    liar.refused("does not have its digest");

    liar.tell_the_truth();
    let before = liar.server.requests().len();
    liar.fetch().expect_code(0);
    let requests = liar.server.requests().split_off(before);
    let is_fetched = |layer: &&Layer| requests.iter().any(|request| request.ends_with(&layer.digest()));
    let again = liar.image.layers[..4].iter().filter(is_fetched).count();
    // At most two others were on their way when the last of the five failed.
    assert!(again <= 2, "{requests:?}");
    assert!(is_fetched(&&liar.image.layers[4]));
}

#[test]
fn a_layer_whose_content_is_another_than_the_configuration_says_is_refused() {
    let mut liar = Liar::new();
    let diff_ids = [liar.image.layers[0].diff_id(), digest(b"another layer")];
    liar.image.config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
    liar.tell_the_truth();

    liar.refused(&digest(b"another layer"));
}

#[test]
fn sizes_that_are_wrong_are_refused() {
    let short = Liar::new();
    short.layer(Answer::body(&b"short"[..]));
    short.refused("does not have its size");

    let long = Liar::new();
    let mut bytes = long.image.layers[1].blob();
    bytes.extend_from_slice(&[0; 100_000]);
    long.layer(Answer::body(bytes));
    long.refused("does not have its size");
}

#[test]
fn an_endless_body_is_cut() {
    let layer = Liar::new();
    layer.layer(Answer::body(vec![b'x'; 65536]).delivered(Delivery::Endless));
    layer.refused("does not have its size");

    let config = Liar::new();
    let name = digest(&config.image.config_bytes());
    config.blob(&name, Answer::body(vec![b' '; 65536]).delivered(Delivery::Endless));
    config.refused("is larger than 4194304 bytes");

    let manifest = Liar::new();
    manifest.manifest(Answer::body(vec![b' '; 65536]).delivered(Delivery::Endless));
    manifest.refused("is larger than 4194304 bytes");
}

#[test]
fn a_manifest_of_100_megabytes_is_not_read() {
    let liar = Liar::new();
    liar.manifest(Answer::body(vec![b'['; 100 << 20]).header("Content-Type", MANIFEST));

    liar.refused("is larger than 4194304 bytes");
}

#[test]
fn json_1000_levels_deep_is_refused() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let manifest = Liar::new();
    manifest.manifest(Answer::body(format!(r#"{{"schemaVersion":2,"x":{deep}}}"#).into_bytes()));
    manifest.refused("nested deeper");

    let config = Liar::new();
    let bytes = format!(r#"{{"os":"linux","architecture":"amd64","history":{deep}}}"#).into_bytes();
    let mut image: serde_json::Value = serde_json::from_slice(&config.image.manifest_bytes()).expect("JSON");
    image["config"] = rkt_tests::oci::descriptor(CONFIG, &bytes);
    config.manifest(Answer::body(image.to_string().into_bytes()));
    config.blob(&digest(&bytes), Answer::body(bytes));
    config.refused("nested deeper");
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let by_header = Liar::new();
    let answer = Answer::body(by_header.image.manifest_bytes());
    by_header.manifest(answer.header("Docker-Content-Digest", &digest(b"another manifest")));
    by_header.refused("does not have its digest");

    let by_reference = Liar::new();
    let wanted = digest(b"another manifest");
    by_reference
        .server
        .answer(&format!("/v2/app/manifests/{wanted}"), Answer::body(by_reference.image.manifest_bytes()));
    let reference = format!("docker://{}/app@{wanted}", by_reference.server.host());
    let output = by_reference.rkt.run(["--insecure-options=image", "fetch", &reference]);
    output.expect_code(RKT_FAILED).expect_err("does not have its digest");
}

#[test]
fn schema_1_and_artifacts_are_refused_by_name() {
    let old = Liar::new();
    let manifest = json!({"schemaVersion": 1, "name": "app", "tag": "1", "fsLayers": [], "history": [], "signatures": []});
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    old.manifest(Answer::body(manifest.to_string().into_bytes()).header("Content-Type", kind));
    old.refused("schema 1");

    let mut foreign = Liar::new();
    foreign.image.layers[1].media_type =
        Some("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned());
    foreign.tell_the_truth();
    foreign.refused("may not be distributed");
}

#[test]
fn redirects_to_http_and_in_circles_are_refused() {
    let downgrade = Liar::new();
    let plain = Server::http();
    let target = plain.url("/layer");
    plain.answer("/layer", Answer::body(downgrade.image.layers[1].blob()));
    downgrade.layer(Answer::status(307).header("Location", &target));
    downgrade.refused("it leads from https to http");
    assert_eq!(plain.requests(), [] as [String; 0]);

    let circle = Liar::new();
    let blob = format!("/v2/app/blobs/{}", circle.image.layers[1].digest());
    circle.layer(Answer::status(302).header("Location", &circle.server.url(&blob)));
    circle.refused("loop");
}

#[test]
fn a_redirect_to_another_host_is_followed_without_credentials() {
    let liar = Liar::new();
    let elsewhere = Server::https(&liar.authority);
    elsewhere.answer("/layer", Answer::body(liar.image.layers[1].blob()));
    liar.layer(Answer::status(307).header("Location", &elsewhere.url("/layer")));
    // Whoever asks without credentials is asked for them; this server takes any.
    log_in(&liar);
    let challenge = Answer::status(401).header("WWW-Authenticate", "Basic realm=\"liar\"");
    let manifest = Answer::body(liar.image.manifest_bytes()).header("Content-Type", MANIFEST);
    liar.server.answers("/v2/app/manifests/1", [challenge, manifest]);

    liar.fetch().expect_code(0);

    let with_credentials = |server: &Server| {
        server.heads().iter().filter(|head| head.to_lowercase().contains("authorization:")).count()
    };
    assert!(with_credentials(&liar.server) > 0);
    assert_eq!(elsewhere.requests(), ["GET /layer"]);
    assert_eq!(with_credentials(&elsewhere), 0);
}

/// Gives rkt credentials for the registry.
fn log_in(liar: &Liar) {
    let directory = liar.rkt.path("home/.docker");
    fs::create_dir_all(&directory).expect("creating a directory");
    let config = json!({"auths": {liar.server.host(): {"username": "u", "password": "p"}}});
    fs::write(directory.join("config.json"), config.to_string()).expect("writing");
}

#[test]
fn credentials_are_not_sent_to_a_token_server_without_tls() {
    let liar = Liar::new();
    log_in(&liar);
    let plain = Server::http();
    plain.answer("/token", Answer::body(&br#"{"token":"t"}"#[..]));
    let challenge = format!("Bearer realm=\"{}\",service=\"s\"", plain.url("/token"));
    liar.manifest(Answer::status(401).header("WWW-Authenticate", &challenge));

    liar.refused("which is not https");

    assert_eq!(plain.requests(), [] as [String; 0]);
}

#[test]
fn statuses_are_explained() {
    let cases = [
        (401, "docker login"),
        (403, "access is denied (403)"),
        (404, "there is no such repository, tag or digest"),
        (418, "bad HTTP status code: 418"),
        (429, "limits how often it may be asked (429)"),
        (500, "has a problem (status 500)"),
    ];
    for (status, message) in cases {
        let liar = Liar::new();
        let body = r#"{"errors":[{"code":"X","message":"the registry's own words"}]}"#;
        let mut answer = Answer::body(body.as_bytes()).with_status(status);
        if status == 401 {
            answer = answer.header("WWW-Authenticate", "Basic realm=\"liar\"");
        }
        liar.manifest(answer);

        liar.refused(message);

        if ![401, 404].contains(&status) {
            liar.refused("the registry's own words");
        }
    }
}

#[test]
fn what_a_registry_says_cannot_write_over_the_terminal() {
    let liar = Liar::new();
    let body = "{\"errors\":[{\"message\":\"\\u001b[2Jall is well\"}]}";
    liar.manifest(Answer::body(body.as_bytes()).with_status(403));

    let output = liar.fetch().expect_code(RKT_FAILED).expect_err("all is well");

    assert!(!output.err().contains('\u{1b}'));
}

#[test]
fn a_connection_that_breaks_half_way_is_resumed_until_it_is_hopeless() {
    let liar = Liar::new();
    let blob = liar.image.layers[1].blob();
    liar.layer(Answer::body(blob.clone()).delivered(Delivery::CutAfter(blob.len() / 2)));

    liar.refused("could not be read to its end");

    let asked =
        liar.server.heads().iter().filter(|head| head.to_lowercase().contains("range: bytes=")).count();
    assert!(asked > 0, "not resumed");
}

#[test]
fn a_layer_that_broke_off_goes_on_where_it_did() {
    for is_honest in [true, false] {
        let liar = Liar::new();
        let layer = &liar.image.layers[1];
        let whole = Answer::body(layer.blob()).etag("\"1\"");
        let cut = whole.clone().delivered(Delivery::CutAfter(layer.blob().len() / 2));
        let rest = if is_honest { whole } else { whole.ignoring_ranges() };
        liar.server.answers(&format!("/v2/app/blobs/{}", layer.digest()), [cut, rest]);

        liar.fetch().expect_code(0);
    }
}

#[test]
fn a_layer_that_leads_out_of_the_image_is_refused_with_the_entrys_name() {
    let mut liar = Liar::new();
    liar.image = Image::new([Layer::new(&Aci::empty().file("../../escape", 0o644, b"out"))]);
    liar.tell_the_truth();

    let fetched = liar.fetch();
    let output = match fetched.code() {
        0 => {
            let target = liar.rkt.path("rendered");
            let target = target.to_str().expect("a path in UTF-8");
            liar.rkt.run(["image", "render", fetched.out().trim(), target])
        }
        _ => fetched,
    };

    output.expect_code(RKT_FAILED).expect_err("../../escape");
    assert!(!liar.rkt.path("escape").exists());
}
