//! `rkt fetch` from files and over HTTPS: what is accepted, what is refused, and that nothing refused enters the store.

use std::fs;
use std::time::Duration;

use rkt_tests::authority::Authority;
use rkt_tests::command::Finished;
use rkt_tests::gpg::Gpg;
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::server::{Answer, Delivery, Server};

use crate::publisher::{self, USER, blobs, image_id, small_image, trusted_key};

/// Checks that the fetch failed as a refusal: rkt's own exit code, no image printed, no image stored.
#[track_caller]
fn refused(rkt: &TestRkt, output: Finished) -> Finished {
    let output = output.expect_code(RKT_FAILED);
    assert!(!output.out().contains("sha512-"), "printed an image ID: {output:?}");
    assert_eq!(blobs(rkt), [] as [std::path::PathBuf; 0], "a refused image is in the store");
    output
}

#[test]
fn fetch_accepts_a_file_signed_by_a_trusted_key_and_prints_its_id() {
    for algorithm in ["ed25519", "rsa2048"] {
        let (rkt, gpg) = (TestRkt::new(), Gpg::new());
        let key = gpg.generate(algorithm, USER);
        publisher::trust(&rkt, &gpg, &key, &["--prefix=example.com"]);
        gpg.sign(&key, &publisher::image(&rkt, "app.aci"));

        let output = rkt.run(["fetch", "./app.aci"]).expect_code(0).expect_err("signature verified:");

        assert_eq!(output.out().trim(), image_id(&small_image()));
        assert!(output.err().contains(USER), "the signer is not named: {output:?}");
        assert_eq!(blobs(&rkt).len(), 1);
    }
}

#[test]
fn fetch_accepts_a_signature_at_another_place() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = trusted_key(&rkt, &gpg);
    let signature = gpg.sign(&key, &publisher::image(&rkt, "app.aci"));
    fs::rename(signature, rkt.path("elsewhere.sig")).expect("renaming");

    let output = rkt.run(["fetch", "./app.aci", "--signature=elsewhere.sig"]);

    output.expect_code(0).expect_out(&image_id(&small_image()));
}

#[test]
fn fetch_refuses_an_unsigned_image_and_names_the_missing_signature() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    trusted_key(&rkt, &gpg);
    publisher::image(&rkt, "app.aci");

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("app.aci.asc");
}

#[test]
fn fetch_accepts_an_unsigned_image_when_told_so() {
    let rkt = TestRkt::new();
    publisher::image(&rkt, "app.aci");

    let output = rkt.run(["--insecure-options=image", "fetch", "./app.aci"]);

    output.expect_code(0).expect_out(&image_id(&small_image()));
}

#[test]
fn fetch_refuses_a_signature_by_an_untrusted_key_and_says_how_to_trust_it() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    trusted_key(&rkt, &gpg);
    let stranger = gpg.generate("ed25519", "Stranger <stranger@example.org>");
    gpg.sign(&stranger, &publisher::image(&rkt, "app.aci"));

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("rkt trust");
}

#[test]
fn fetch_refuses_a_key_that_is_trusted_for_other_images_only() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    publisher::trust(&rkt, &gpg, &key, &["--prefix=example.org"]);
    gpg.sign(&key, &publisher::image(&rkt, "app.aci"));

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("example.com/app");
}

#[test]
fn fetch_refuses_an_image_that_was_changed_after_it_was_signed() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = trusted_key(&rkt, &gpg);
    let image = publisher::image(&rkt, "app.aci");
    gpg.sign(&key, &image);
    small_image().file("rootfs/added", 0o755, b"malice").write(&image);

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("signature");
}

#[test]
fn fetch_refuses_a_sha1_signature() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("rsa2048", USER);
    publisher::trust(&rkt, &gpg, &key, &["--prefix=example.com"]);
    gpg.sign_with_sha1(&key, &publisher::image(&rkt, "app.aci"));

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("SHA1");
}

#[test]
fn fetch_refuses_a_signature_by_a_revoked_key() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = gpg.generate("ed25519", USER);
    gpg.sign(&key, &publisher::image(&rkt, "app.aci"));
    gpg.revoke(&key);
    gpg.export(&key, &rkt.path("revoked.asc"));
    // Whether rkt takes a revoked key into its keyring or not: it must not accept its signature.
    rkt.run(["trust", "--skip-fingerprint-review", "--prefix=example.com", "revoked.asc"]);

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("signature");
}

#[test]
fn fetch_refuses_a_key_revoked_after_it_was_trusted() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    let key = trusted_key(&rkt, &gpg);
    gpg.sign(&key, &publisher::image(&rkt, "app.aci"));
    gpg.revoke(&key);
    let trusted = format!("trustedkeys/prefix.d/example.com/{}", key.fingerprint.to_lowercase());
    gpg.export(&key, &rkt.local_config().join(trusted));

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("revoked");
}

#[test]
fn fetch_refuses_garbage_as_a_signature() {
    let (rkt, gpg) = (TestRkt::new(), Gpg::new());
    trusted_key(&rkt, &gpg);
    publisher::image(&rkt, "app.aci");
    fs::write(
        rkt.path("app.aci.asc"),
        "-----BEGIN PGP SIGNATURE-----\n\nbm8=\n-----END PGP SIGNATURE-----\n",
    )
    .expect("writing");

    let output = rkt.run(["fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("signature");
}

#[test]
fn fetch_names_a_file_that_is_not_there() {
    let rkt = TestRkt::new();

    let output = rkt.run(["--insecure-options=image", "fetch", "/nowhere/app.aci"]);

    refused(&rkt, output).expect_err("/nowhere/app.aci");
}

#[test]
fn fetch_refuses_a_file_that_is_not_an_archive() {
    let rkt = TestRkt::new();
    fs::write(rkt.path("app.aci"), "certainly not an archive").expect("writing");

    let output = rkt.run(["--insecure-options=image", "fetch", "./app.aci"]);

    refused(&rkt, output).expect_err("app.aci");
}

/// An rkt that trusts a key and an authority, and the server that publishes the signed image at `/app.aci`.
fn published() -> (TestRkt, Server, Authority) {
    let (mut rkt, gpg, authority) = (TestRkt::new(), Gpg::new(), Authority::new());
    let key = trusted_key(&rkt, &gpg);
    rkt.set_env("SSL_CERT_FILE", authority.certificate());
    let image = publisher::image(&rkt, "published.aci");
    let signature = gpg.sign(&key, &image);
    let server = Server::https(&authority);
    server.answer("/app.aci", Answer::body(fs::read(image).expect("reading")));
    server.answer("/app.aci.asc", Answer::body(fs::read(signature).expect("reading")));
    (rkt, server, authority)
}

#[test]
fn fetch_downloads_image_and_signature_over_https() {
    let (rkt, server, _authority) = published();

    let output = rkt.run(["fetch", &server.url("/app.aci")]);

    output.expect_code(0).expect_err("signature verified:").expect_out(&image_id(&small_image()));
    assert!(server.requests().contains(&"GET /app.aci.asc".to_owned()), "{:?}", server.requests());
}

#[test]
fn fetch_follows_a_redirect() {
    let (rkt, server, _authority) = published();
    for name in ["app.aci", "app.aci.asc"] {
        let target = server.url(&format!("/{name}"));
        server.answer(&format!("/moved/{name}"), Answer::status(302).header("Location", &target));
    }

    let output = rkt.run(["fetch", &server.url("/moved/app.aci")]);

    output.expect_code(0).expect_out(&image_id(&small_image()));
}

#[test]
fn fetch_gives_up_on_endless_redirects() {
    let (rkt, server, _authority) = published();
    for name in ["app.aci", "app.aci.asc"] {
        let target = server.url(&format!("/loop/{name}"));
        server.answer(&format!("/loop/{name}"), Answer::status(302).header("Location", &target));
    }

    let output = rkt.run(["fetch", &server.url("/loop/app.aci")]);

    refused(&rkt, output).expect_err("redirect");
}

#[test]
fn fetch_waits_for_a_slow_server() {
    let (rkt, server, _authority) = published();
    let body = fs::read(rkt.path("published.aci")).expect("reading");
    let piece = body.len().div_ceil(10);
    let slowly = Delivery::Slow { piece, pause: Duration::from_millis(100) };
    server.answer("/app.aci", Answer::body(body).delivered(slowly));

    let output = rkt.run(["fetch", &server.url("/app.aci")]);

    output.expect_code(0).expect_out(&image_id(&small_image()));
}

#[test]
fn fetch_refuses_a_server_whose_authority_is_unknown() {
    let (mut rkt, server, _authority) = published();
    let other = Authority::new();
    rkt.set_env("SSL_CERT_FILE", other.certificate());

    let output = rkt.run(["fetch", &server.url("/app.aci")]);

    refused(&rkt, output).expect_err("certificate");
}

#[test]
fn fetch_refuses_a_truncated_download() {
    let (rkt, server, _authority) = published();
    let body = fs::read(rkt.path("published.aci")).expect("reading");
    let half = Delivery::CutAfter(body.len() / 2);
    server.answer("/app.aci", Answer::body(body).delivered(half));

    let output = rkt.run(["fetch", &server.url("/app.aci")]);

    refused(&rkt, output).expect_err("/app.aci");
}

#[test]
fn fetch_refuses_a_truncated_download_even_without_signatures() {
    let (rkt, server, _authority) = published();
    let body = fs::read(rkt.path("published.aci")).expect("reading");
    let half = Delivery::CutAfter(body.len() / 2);
    server.answer("/app.aci", Answer::body(body).delivered(half));

    let output = rkt.run(["--insecure-options=image", "fetch", &server.url("/app.aci")]);

    refused(&rkt, output).expect_err("/app.aci");
}

#[test]
fn fetch_names_status_and_url_when_the_server_has_no_such_image() {
    let (rkt, server, _authority) = published();

    let output = rkt.run(["--insecure-options=image", "fetch", &server.url("/other.aci")]);

    refused(&rkt, output).expect_err("404").expect_err("/other.aci");
}

#[test]
fn fetch_refuses_an_image_whose_signature_is_not_served() {
    let (rkt, server, _authority) = published();
    server.answer("/app.aci.asc", Answer::status(404));

    let output = rkt.run(["fetch", &server.url("/app.aci")]);

    refused(&rkt, output).expect_err("app.aci.asc");
}

#[test]
fn fetch_names_a_server_that_does_not_answer() {
    let rkt = TestRkt::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();

    let output = rkt.run(["--insecure-options=image", "fetch", &format!("https://localhost:{port}/app.aci")]);

    refused(&rkt, output).expect_err(&format!("localhost:{port}"));
}

#[test]
fn fetch_shows_progress_on_a_terminal() {
    let (rkt, server, _authority) = published();
    let body = fs::read(rkt.path("published.aci")).expect("reading");
    let slowly = Delivery::Slow { piece: body.len().div_ceil(10), pause: Duration::from_millis(100) };
    server.answer("/app.aci", Answer::body(body).delivered(slowly));
    let fetch = rkt.command(["fetch", &server.url("/app.aci")]);
    let words = std::iter::once(fetch.get_program()).chain(fetch.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();

    // script(1) runs it on a terminal of its own and prints what appears there.
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]).env("TERM", "xterm");
    script
        .envs(fetch.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(rkt.directory());
    let output = rkt_tests::command::run(&mut script, rkt_tests::command::limit(60)).expect_code(0);

    let drawn = output.out().matches("Downloading ACI").count();
    assert!(drawn > 2, "the bar was drawn {drawn} times: {output:?}");
}
