//! How rkt talks to web servers: redirects, credentials, retries, conditions, and servers that lie or never stop.

use std::fs;

use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::server::{Answer, Delivery, Server, header};

use crate::publisher::{blobs, image_id, small_image};
use crate::site::Site;

const IMAGE: &str = "example.com/app.aci";
const URL: &str = "https://example.com/app.aci";
const BASIC: &str = "Basic dXNlcjpwYXNz";

/// Credentials for a host.
fn log_in(rkt: &TestRkt, host: &str) {
    let directory = rkt.local_config().join("auth.d");
    fs::create_dir_all(&directory).expect("a directory");
    let text = format!(
        r#"{{"rktKind":"auth","rktVersion":"v1","domains":["{host}"],"type":"basic","credentials":{{"user":"user","password":"pass"}}}}"#
    );
    fs::write(directory.join("auth.json"), text).expect("writing credentials");
}

/// A site with one signed image.
fn published() -> Site {
    let site = Site::trusted();
    site.image(IMAGE, &small_image());
    site
}

fn authorizations(site: &Site, host: &str) -> Vec<Option<String>> {
    let heads = site.server.heads();
    let theirs = heads.iter().filter(|head| header(head, "host") == Some(host));
    theirs.map(|head| header(head, "authorization").map(str::to_owned)).collect()
}

#[test]
fn redirect_from_https_to_http_is_refused_unless_allowed() {
    let site = published();
    for name in ["app.aci", "app.aci.asc"] {
        let target = format!("http://example.com/{name}");
        site.server.answer(&format!("images.example.com/{name}"), Answer::redirect(&target));
    }
    let url = "https://images.example.com/app.aci";

    let output = site.rkt.run(["fetch", url]).expect_code(RKT_FAILED);
    output.expect_err("from https to http").expect_err("--insecure-options=http");
    assert!(!site.server.requests().iter().any(|request| request.contains("http://")));

    site.rkt.run(["--insecure-options=http", "fetch", url]).expect_code(0).expect_err("signature verified:");
}

#[test]
fn redirects_in_a_circle_or_to_elsewhere_are_refused() {
    let site = Site::trusted();
    for (target, said) in [
        (URL, "it is a loop"),
        ("ftp://example.com/app.aci", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
    ] {
        site.server.answer("example.com/app.aci.asc", Answer::redirect(target));
        site.server.answer(IMAGE, Answer::redirect("https://example.com/app.aci.asc"));

        site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err(said);
    }
}

#[test]
fn eleventh_redirect_is_not_followed() {
    let site = published();
    let chain = |length: usize| {
        for step in 1..length {
            let next = format!("https://example.com/{}/app.aci", step + 1);
            site.server.answer(&format!("example.com/{step}/app.aci"), Answer::redirect(&next));
        }
        site.server.answer(&format!("example.com/{length}/app.aci"), Answer::redirect(URL));
        let url = "https://example.com/1/app.aci";
        site.rkt.run(["--insecure-options=image", "fetch", "--pull-policy=update", url])
    };

    chain(10).expect_code(0);
    chain(11).expect_code(RKT_FAILED).expect_err("stopped after 10 redirects");
}

#[test]
fn credentials_open_their_host_and_are_shown_to_no_other() {
    let site = published();
    log_in(&site.rkt, "images.example.com");
    for name in ["app.aci", "app.aci.asc"] {
        // To another host and back again: each is judged by itself.
        let there = format!("images.example.com/{name}");
        let between = format!("https://example.org/{name}");
        site.server.answer(&there, Answer::redirect(&between).for_bearer_of(BASIC));
        site.server
            .answer(&format!("example.org/{name}"), Answer::redirect(&format!("https://example.com/{name}")));
    }

    site.rkt.run(["fetch", "https://images.example.com/app.aci"]).expect_code(0);

    assert_eq!(authorizations(&site, "images.example.com"), [Some(BASIC.to_owned()), Some(BASIC.to_owned())]);
    assert_eq!(authorizations(&site, "example.org"), [None, None]);
    assert_eq!(authorizations(&site, "example.com"), [None, None]);
}

#[test]
fn credentials_are_not_sent_without_tls() {
    let site = published();
    log_in(&site.rkt, "example.com");

    site.rkt.run(["fetch", "http://example.com/app.aci"]).expect_code(0);

    assert_eq!(authorizations(&site, "example.com"), [None, None]);
}

#[test]
fn host_that_wants_other_credentials_is_an_error_with_its_status() {
    let site = published();
    log_in(&site.rkt, "example.com");
    site.server.answer("example.com/app.aci.asc", Answer::body(*b"").for_bearer_of("Bearer another"));

    site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("bad HTTP status code: 401");
}

#[test]
fn busy_server_is_asked_again_and_the_user_is_told() {
    let site = published();
    let image = Answer::body(small_image().gzip());
    let busy = Answer::status(429).header("Retry-After", "1");
    site.server.answers(IMAGE, [Answer::status(503), busy, image]);

    let output = site.rkt.run(["fetch", URL]).expect_code(0).expect_out(&image_id(&small_image()));

    output
        .expect_err("example.com answered 503, trying again")
        .expect_err("example.com answered 429, trying again in 1.0 s (attempt 3 of 4)");
}

#[test]
fn server_that_stays_broken_is_asked_four_times() {
    let site = published();
    site.server.answer(IMAGE, Answer::status(500));

    site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("bad HTTP status code: 500");

    let asked = site.server.requests().iter().filter(|request| request.ends_with("/app.aci")).count();
    assert_eq!(asked, 4);
}

#[test]
fn server_that_asks_for_more_patience_than_anybody_has_is_not_waited_for() {
    let site = published();
    site.server.answer(IMAGE, Answer::status(429).header("Retry-After", "3600"));

    site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("bad HTTP status code: 429");

    let asked = site.server.requests().iter().filter(|request| request.ends_with("/app.aci")).count();
    assert_eq!(asked, 1);
}

#[test]
fn connection_that_closes_without_an_answer_is_tried_again() {
    let site = published();
    site.server.answers(IMAGE, [Answer::raw(*b""), Answer::body(small_image().gzip())]);

    site.rkt.run(["fetch", URL]).expect_code(0).expect_err("trying again");
}

#[test]
fn hosts_of_no_proxy_are_asked_directly() {
    let mut site = published();
    site.rkt.set_env("NO_PROXY", "example.com");

    // The name leads nowhere without the proxy.
    site.rkt.run(["fetch", "https://nowhere.example.com/app.aci"]).expect_code(RKT_FAILED);

    assert_eq!(site.server.requests(), [""; 0]);
}

#[test]
fn proxy_that_is_no_url_is_an_error_that_shows_no_password() {
    let mut site = published();
    site.rkt.set_env("HTTPS_PROXY", "gopher://user:secret@proxy:70");

    let output = site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("HTTPS_PROXY");

    assert!(!output.err().contains("secret"), "{output:?}");
}

#[test]
fn unchanged_image_is_not_sent_again_and_stays_fresh_as_long_as_the_server_says() {
    let site = published();
    let image = || Answer::body(small_image().gzip()).etag("\"one\"");
    site.server.answers(IMAGE, [image(), image().header("Cache-Control", "max-age=600")]);
    site.rkt.run(["fetch", URL]).expect_code(0);
    site.server.forget();

    site.rkt.run(["fetch", URL]).expect_code(0).expect_out(&image_id(&small_image()));
    let heads = site.server.heads();
    assert!(heads.iter().any(|head| header(head, "if-none-match") == Some("\"one\"")), "{heads:?}");
    site.server.forget();

    // That answer holds for ten minutes.
    site.rkt.run(["fetch", URL]).expect_code(0).expect_out(&image_id(&small_image()));
    assert_eq!(site.server.requests(), [""; 0]);
}

#[test]
fn signature_that_is_not_there_yet_is_asked_for_after_the_image() {
    let site = published();
    let signature = Answer::body(site.signature(&small_image()));
    site.server.answers("example.com/app.aci.asc", [Answer::status(202), signature]);

    site.rkt.run(["fetch", URL]).expect_code(0).expect_err("signature verified:");

    let asked = site.server.requests();
    let paths: Vec<&str> = asked.iter().filter_map(|request| request.rsplit('/').next()).collect();
    assert_eq!(paths, ["app.aci.asc", "app.aci", "app.aci.asc"]);
}

#[test]
fn signature_that_never_comes_is_an_error() {
    let site = published();
    site.server.answer("example.com/app.aci.asc", Answer::status(202));

    site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("deferred");

    assert!(blobs(&site.rkt).is_empty(), "an unverified image is in the store");
}

#[test]
fn late_signature_over_something_else_is_refused() {
    let site = published();
    let other = small_image().file("rootfs/other", 0o644, b"other");
    let signature = Answer::body(site.signature(&other));
    site.server.answers("example.com/app.aci.asc", [Answer::status(202), signature]);

    site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("changed after it was signed");

    assert!(blobs(&site.rkt).is_empty(), "an unverified image is in the store");
}

#[test]
fn bodies_that_never_end_are_given_up() {
    let site = published();
    let endless = || Answer::body(vec![0x5a; 1 << 16]).delivered(Delivery::Endless);
    site.server.answer("example.com/endless.aci.asc", endless());
    site.server.answer("example.com/endless.aci", endless());
    let url = "https://example.com/endless.aci";

    site.rkt.run(["fetch", url]).expect_code(RKT_FAILED).expect_err("larger than 65536 bytes");
    site.rkt.run(["--insecure-options=image", "fetch", url]).expect_code(RKT_FAILED);

    let left = crate::publisher::files_below(&site.rkt.data().join("cas/tmp"));
    assert_eq!(left, [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn headers_without_end_are_given_up() {
    let site = published();
    let mut bomb = b"HTTP/1.1 200 OK\r\n".to_vec();
    for number in 0..100_000 {
        bomb.extend_from_slice(format!("X-Header-{number}: value\r\n").as_bytes());
    }
    site.server.answer(IMAGE, Answer::raw(bomb));

    site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED).expect_err("error downloading image");
}

#[test]
fn length_that_is_a_lie_is_noticed() {
    let site = published();
    let bytes = small_image().gzip();
    for length in [bytes.len() + 1, bytes.len() - 1] {
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        site.server.answer(IMAGE, Answer::raw([head.as_bytes(), &bytes].concat()));

        site.rkt.run(["fetch", URL]).expect_code(RKT_FAILED);
        site.rkt.run(["--insecure-options=image", "fetch", URL]).expect_code(RKT_FAILED);

        assert!(blobs(&site.rkt).is_empty(), "part of an image is in the store");
    }
}

#[test]
fn plain_http_url_is_fetched_and_verified() {
    let site = Site::trusted();
    let server = Server::http();
    server.answer("/app.aci", Answer::body(small_image().gzip()));
    server.answer("/app.aci.asc", Answer::body(site.signature(&small_image())));

    // The own host is never behind a proxy.
    let output = site.rkt.run(["fetch", &server.url("/app.aci")]);

    output.expect_code(0).expect_err("signature verified:");
    assert_eq!(site.server.requests(), [""; 0]);
}
