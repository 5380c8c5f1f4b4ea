//! Images by name: meta discovery of images, signatures and keys, and what must match what was asked for.

use std::fs;

use rkt_tests::aci::{self, Aci};
use rkt_tests::command::Finished;
use rkt_tests::rkt::RKT_FAILED;
use rkt_tests::server::Answer;
use serde_json::json;

use crate::publisher::{NAME, blobs, image_id, small_image};
use crate::site::Site;

const TEMPLATE: &str = "example.com https://images.example.com/{name}-{version}-{os}-{arch}.{ext}";
const IMAGE: &str = "images.example.com/example.com/app-1.0.0-linux-amd64.aci";
const LATEST: &str = "images.example.com/example.com/app-latest-linux-amd64.aci";

fn named(name: &str) -> Aci {
    Aci::new(&aci::manifest(name)).file("rootfs/app", 0o755, name.as_bytes())
}

fn depending(name: &str, dependencies: serde_json::Value) -> Aci {
    let mut manifest = aci::manifest(name);
    manifest["dependencies"] = dependencies;
    Aci::new(&manifest).file("rootfs/app", 0o755, name.as_bytes())
}

#[track_caller]
fn refused(site: &Site, output: Finished) -> Finished {
    let output = output.expect_code(RKT_FAILED);
    assert!(blobs(&site.rkt).is_empty(), "a refused image is in the store");
    output
}

#[test]
fn name_is_discovered_downloaded_and_verified() {
    let site = Site::trusted();
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    site.image(IMAGE, &small_image());

    let output = site.rkt.run(["fetch", "example.com/app:1.0.0"]);

    output.expect_code(0).expect_err("signature verified:").expect_out(&image_id(&small_image()));
    let asked =
        ["https://example.com/app?ac-discovery=1", "https://images.example.com/example.com/app-1.0.0"];
    for (request, wanted) in site.server.requests().iter().zip(asked) {
        assert!(request.contains(wanted), "{request}");
    }
}

#[test]
fn name_without_version_asks_for_latest() {
    let site = Site::trusted();
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    site.image(LATEST, &small_image());

    site.rkt.run(["fetch", NAME]).expect_code(0).expect_out(&image_id(&small_image()));
}

#[test]
fn prefixes_are_asked_upwards_until_one_has_the_tag() {
    let site = Site::trusted();
    site.page("example.com", &[("ac-discovery", TEMPLATE)]);
    site.page("example.com/tools", &[("ac-discovery", "example.com/other https://example.com/{name}.{ext}")]);
    let image = named("example.com/tools/git");
    site.image("images.example.com/example.com/tools/git-1.0.0-linux-amd64.aci", &image);

    let output = site.rkt.run(["--debug", "fetch", "example.com/tools/git:1.0.0"]);

    let output = output.expect_code(0).expect_out(&image_id(&image));
    output
        .expect_err("meta tag 'ac-discovery' not found on https://example.com/tools/git")
        .expect_err("meta tag 'ac-discovery' not found on https://example.com/tools:");
}

#[test]
fn template_with_a_label_that_was_not_asked_for_is_skipped() {
    let site = Site::trusted();
    let with_channel = "example.com https://images.example.com/{channel}/{name}.{ext}";
    site.page("example.com/app", &[("ac-discovery", with_channel), ("ac-discovery", TEMPLATE)]);
    let mut manifest = aci::manifest(NAME);
    manifest["labels"].as_array_mut().expect("labels").push(json!({ "name": "channel", "value": "beta" }));
    let beta = Aci::new(&manifest);
    site.image(IMAGE, &small_image());
    site.image("images.example.com/beta/example.com/app.aci", &beta);

    site.rkt.run(["fetch", "example.com/app:1.0.0"]).expect_code(0).expect_out(&image_id(&small_image()));
    site.rkt.run(["fetch", "example.com/app,channel=beta"]).expect_code(0).expect_out(&image_id(&beta));
}

#[test]
fn http_is_asked_only_when_allowed() {
    let site = Site::trusted();
    // No server on the https port: the proxy knows pages by host, so these must differ.
    let http = "example.com http://images.example.com/{name}-{version}-{os}-{arch}.{ext}";
    site.page("example.com/app", &[("ac-discovery", http)]);
    site.image(IMAGE, &small_image());

    let output = site.rkt.run(["fetch", "example.com/app:1.0.0"]);
    refused(&site, output).expect_err("--insecure-options=http");
    assert!(!site.server.requests().iter().any(|request| request.contains("http://")));

    let output = site.rkt.run(["--insecure-options=http", "fetch", "example.com/app:1.0.0"]);
    output.expect_code(0).expect_err("signature verified:");
    assert!(site.server.requests().iter().any(|request| request.contains("http://images.example.com")));
}

#[test]
fn name_that_nobody_publishes_is_an_error_that_says_where_was_asked() {
    let site = Site::trusted();

    let output = site.rkt.run(["fetch", "example.com/app"]);

    refused(&site, output)
        .expect_err("discovery failed for \"example.com/app\"")
        .expect_err("https://example.com (bad HTTP status code: 404)");
}

#[test]
fn page_of_megabytes_does_not_matter_behind_its_head() {
    let site = Site::trusted();
    let mut page = format!("<head><meta name='ac-discovery' content='{TEMPLATE}'></head>").into_bytes();
    page.resize(64 << 20, b'x');
    site.server.answer("example.com/app", Answer::body(page));
    site.image(IMAGE, &small_image());
    // A head without an end.
    let mut head = b"<head>".to_vec();
    head.resize(64 << 20, b'<');
    site.server.answer("example.com/other", Answer::body(head));

    site.rkt.run(["fetch", "example.com/app:1.0.0"]).expect_code(0);
    site.rkt.run(["fetch", "example.com/other"]).expect_code(RKT_FAILED).expect_err("discovery failed");
}

#[test]
fn image_of_another_name_is_refused_with_and_without_verification() {
    for option in ["--insecure-options=none", "--insecure-options=image"] {
        let site = Site::trusted();
        site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
        site.image(IMAGE, &named("example.com/other"));

        let output = site.rkt.run([option, "fetch", "example.com/app:1.0.0"]);

        refused(&site, output).expect_err("its name is \"example.com/other\"");
    }
}

#[test]
fn image_with_another_label_is_refused_with_and_without_verification() {
    for option in ["--insecure-options=none", "--insecure-options=image"] {
        let site = Site::trusted();
        site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
        site.image("images.example.com/example.com/app-2.0.0-linux-amd64.aci", &small_image());

        let output = site.rkt.run([option, "fetch", "example.com/app:2.0.0"]);

        refused(&site, output).expect_err("its label \"version\" is \"1.0.0\"");
    }
}

#[test]
fn image_by_the_wrong_signer_for_its_name_is_refused() {
    let site = Site::new();
    crate::publisher::trust(&site.rkt, &site.gpg, &site.key, &["--prefix=example.com/other"]);
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    site.image(IMAGE, &small_image());

    let output = site.rkt.run(["fetch", "example.com/app:1.0.0"]);

    refused(&site, output)
        .expect_err("not trusted for \"example.com/app\"")
        .expect_err("rkt trust --prefix \"example.com/app\"");
}

#[test]
fn publishers_keys_are_fetched_when_https_may_vouch_for_them() {
    let site = Site::new();
    let keys = ("ac-discovery-pubkeys", "example.com https://keys.example.com/key.asc");
    site.page("example.com/app", &[("ac-discovery", TEMPLATE), keys]);
    site.image(IMAGE, &small_image());
    site.public_key("keys.example.com/key.asc");

    let output = site.rkt.run(["fetch", "--trust-keys-from-https", "example.com/app:1.0.0"]);

    output.expect_code(0).expect_err("signature verified:");
    let file = format!("trustedkeys/prefix.d/{NAME}/{}", site.key.fingerprint.to_lowercase());
    assert!(site.rkt.local_config().join(file).exists());

    // They are known now.
    site.server.forget();
    let output = site.rkt.run(["--debug", "fetch", "--trust-keys-from-https", "example.com/app:1.0.0"]);
    output.expect_code(0).expect_err("keys already exist for prefix \"example.com/app\"");
    assert!(!site.server.requests().iter().any(|request| request.contains("key.asc")));
}

#[test]
fn publishers_keys_are_not_trusted_unasked() {
    let site = Site::new();
    let keys = ("ac-discovery-pubkeys", "example.com https://keys.example.com/key.asc");
    site.page("example.com/app", &[("ac-discovery", TEMPLATE), keys]);
    site.image(IMAGE, &small_image());
    site.public_key("keys.example.com/key.asc");

    let output = site.rkt.run(["fetch", "example.com/app:1.0.0"]);
    refused(&site, output).expect_err("lack of tty").expect_err("rkt trust --prefix");

    // A connection whose certificate nobody checks vouches for nothing.
    let flags = ["--trust-keys-from-https", "--insecure-options=tls", "fetch", "example.com/app:1.0.0"];
    let output = site.rkt.run(flags);
    refused(&site, output).expect_err("lack of tty");
    assert!(!site.rkt.local_config().join("trustedkeys/prefix.d/example.com/app").exists());
}

#[test]
fn keys_of_a_page_on_plain_http_are_looked_for_only_when_allowed() {
    let site = Site::new();
    let keys = ("ac-discovery-pubkeys", "example.com http://keys.example.com/key.asc");
    site.page("example.com/app", &[("ac-discovery", TEMPLATE), keys]);
    site.image(IMAGE, &small_image());
    site.public_key("keys.example.com/key.asc");

    let output = site.rkt.run(["fetch", "--trust-keys-from-https", "example.com/app:1.0.0"]);
    refused(&site, output).expect_err("error determining key location");

    // Allowed, but plain http vouches for nothing: somebody would have to look.
    let flags = ["--trust-keys-from-https", "--insecure-options=pubkey", "fetch", "example.com/app:1.0.0"];
    refused(&site, site.rkt.run(flags)).expect_err("lack of tty");
}

#[test]
fn a_redirect_to_https_does_not_vouch_for_whom_plain_http_led_to_it() {
    let site = Site::new();
    let keys = ("ac-discovery-pubkeys", "example.com https://keys.example.com/key.asc");
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    site.page("mallory.example.com/keys", &[keys]);
    // The first is for https, the second for http.
    let elsewhere = Answer::redirect("https://mallory.example.com/keys");
    site.server.answers("example.com", [Answer::status(404), elsewhere]);
    site.image(IMAGE, &small_image());
    site.public_key("keys.example.com/key.asc");

    let flags = ["--trust-keys-from-https", "--insecure-options=pubkey", "fetch", "example.com/app:1.0.0"];
    refused(&site, site.rkt.run(flags)).expect_err("lack of tty");
}

#[test]
fn dependencies_are_discovered_and_verified_too() {
    let site = Site::trusted();
    site.page("example.com", &[("ac-discovery", TEMPLATE)]);
    let app = depending(NAME, json!([{ "imageName": "example.com/base" }]));
    let base = depending("example.com/base", json!([{ "imageName": "example.com/libc" }]));
    site.image(IMAGE, &app);
    site.image("images.example.com/example.com/base-latest-linux-amd64.aci", &base);
    let libc = "images.example.com/example.com/libc-latest-linux-amd64.aci";
    site.server.answer(libc, Answer::body(named("example.com/libc").gzip()));

    // Unsigned.
    site.rkt
        .run(["fetch", "example.com/app:1.0.0"])
        .expect_code(RKT_FAILED)
        .expect_err("libc-latest-linux-amd64.aci.asc");
    site.image(libc, &named("example.com/libc"));
    site.rkt.run(["fetch", "example.com/app:1.0.0"]).expect_code(0).expect_out(&image_id(&app));

    assert_eq!(blobs(&site.rkt).len(), 3);
}

#[test]
fn dependencies_in_a_circle_are_an_error_that_names_it() {
    let site = Site::trusted();
    site.page("example.com", &[("ac-discovery", TEMPLATE)]);
    site.image(LATEST, &depending(NAME, json!([{ "imageName": "example.com/base" }])));
    let base = depending("example.com/base", json!([{ "imageName": NAME }]));
    site.image("images.example.com/example.com/base-latest-linux-amd64.aci", &base);

    let output = site.rkt.run(["fetch", NAME]).expect_code(RKT_FAILED);

    output.expect_err("example.com/app -> example.com/base -> example.com/app");
}

#[test]
fn dependency_by_id_must_be_that_image() {
    let site = Site::trusted();
    site.page("example.com", &[("ac-discovery", TEMPLATE)]);
    let base = named("example.com/base");
    let place = "images.example.com/example.com/base-latest-linux-amd64.aci";
    let app = depending(NAME, json!([{ "imageName": "example.com/base", "imageID": image_id(&base) }]));
    site.image(LATEST, &app);
    site.image(place, &depending("example.com/base", json!([])).file("rootfs/other", 0o644, b"other"));

    let output = site.rkt.run(["fetch", NAME]).expect_code(RKT_FAILED);
    output.expect_err("must have the image ID").expect_err(&image_id(&base));
    site.image(place, &base);
    site.rkt.run(["fetch", NAME]).expect_code(0);
}

#[test]
fn pull_policy_decides_whether_a_name_is_discovered() {
    let site = Site::trusted();
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    site.image(LATEST, &small_image());

    let never = site.rkt.run(["fetch", "--pull-policy=never", NAME]);
    refused(&site, never).expect_err("unable to fetch image from image name \"example.com/app\"");
    assert_eq!(site.server.requests(), [""; 0]);
    site.rkt.run(["fetch", "--pull-policy=new", NAME]).expect_code(0);
    site.server.forget();
    site.rkt.run(["fetch", "--pull-policy=new", NAME]).expect_code(0);
    site.rkt.run(["fetch", "--pull-policy=never", NAME]).expect_code(0);
    site.rkt.run(["fetch", "--store-only", NAME]).expect_code(0).expect_err("deprecated");
    assert_eq!(site.server.requests(), [""; 0]);
    site.rkt.run(["fetch", NAME]).expect_code(0);
    assert!(site.server.requests().len() > 1);
    site.server.forget();
    site.rkt.run(["fetch", "--no-store", NAME]).expect_code(0).expect_err("deprecated");
    assert!(site.server.requests().len() > 1);
}

#[test]
fn latest_image_wins_over_a_newer_one_with_a_version() {
    let site = Site::trusted();
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    let mut manifest = aci::manifest(NAME);
    manifest["labels"][0]["value"] = json!("2.0.0");
    let latest = Aci::new(&manifest);
    site.image(LATEST, &latest);
    site.image(IMAGE, &small_image());

    site.rkt.run(["fetch", NAME]).expect_code(0);
    site.rkt.run(["fetch", "example.com/app:1.0.0"]).expect_code(0);

    let output = site.rkt.run(["fetch", "--pull-policy=never", NAME]).expect_code(0);
    output.expect_out(&image_id(&latest));
}

#[test]
fn credentials_are_sent_to_the_page_of_their_host_only() {
    let site = Site::trusted();
    let auth = r#"{"rktKind":"auth","rktVersion":"v1","domains":["example.com"],"type":"oauth","credentials":{"token":"secret"}}"#;
    fs::create_dir_all(site.rkt.local_config().join("auth.d")).expect("a directory");
    fs::write(site.rkt.local_config().join("auth.d/a.json"), auth).expect("writing credentials");
    site.page("example.com/app", &[("ac-discovery", TEMPLATE)]);
    site.image(IMAGE, &small_image());

    site.rkt.run(["fetch", "example.com/app:1.0.0"]).expect_code(0);

    for head in site.server.heads() {
        let is_theirs = head.to_lowercase().contains("host: example.com\r");
        assert_eq!(head.contains("Bearer secret"), is_theirs, "{head}");
    }
}

#[test]
fn publishers_keys_are_trusted_when_the_user_says_so() {
    for (answer, code) in [("yes\n", 0), ("no\n", RKT_FAILED)] {
        let site = Site::new();
        let keys = ("ac-discovery-pubkeys", "example.com https://keys.example.com/key.asc");
        site.page("example.com/app", &[("ac-discovery", TEMPLATE), keys]);
        site.image(IMAGE, &small_image());
        site.public_key("keys.example.com/key.asc");
        let fetch = site.rkt.command(["fetch", "example.com/app:1.0.0"]);
        let words = std::iter::once(fetch.get_program()).chain(fetch.get_args());
        let line: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();

        // script(1) runs it on a terminal of its own, and types there what it reads itself.
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]);
        script.envs(fetch.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        script.current_dir(site.rkt.directory()).stdin(std::process::Stdio::piped());
        script.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = script.spawn().expect("script starts");
        // The end of the input would end the terminal.
        let mut typing = child.stdin.take().expect("stdin is piped");
        std::io::Write::write_all(&mut typing, answer.as_bytes()).expect("typing");
        let output = child.wait_with_output().expect("script ends");

        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("Are you sure you want to trust this key (yes/no)?"), "{said}");
        assert_eq!(blobs(&site.rkt).len(), usize::from(code == 0), "{said}");
    }
}
