use std::io::Read;

use super::super::test_server::TestServer;
use super::proxy::Proxies;
use super::{HttpClient, HttpError, Schemes};

fn client() -> HttpClient {
    HttpClient::with(false, Schemes::NoDowngrade, Proxies::default())
}

fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

#[test]
fn authorization_of_the_caller_does_not_follow_to_another_host() {
    let (here, there) = (TestServer::start(), TestServer::start());
    let to = format!(
        "HTTP/1.1 302 -\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        there.url("/b")
    );
    here.raw("/a", to.into());
    there.serve("/b", "", b"body");

    let response = client()
        .get(&url(&here.url("/a")), &[("Authorization", "Bearer secret"), ("Accept", "x/y")])
        .unwrap();

    assert_eq!((response.status, response.url.as_str()), (200, there.url("/b").as_str()));
    assert!(here.requests()[0].contains("Bearer secret"));
    let request = &there.requests()[0];
    assert!(!request.contains("secret") && request.contains("x/y"), "{request}");
}

#[test]
fn user_that_a_redirect_names_is_dropped() {
    let from = url("https://a.com/x");
    let target = client().target(&from, "https://user:pass@b.com/y#part").unwrap();
    assert_eq!(target.as_str(), "https://b.com/y");
}

#[test]
fn redirects_between_schemes_follow_the_rules() {
    let (http, https) = (url("http://a.com/"), url("https://a.com/"));
    let is_refused =
        |client: &HttpClient, from, to| matches!(client.target(from, to), Err(HttpError::Redirect { .. }));
    let strict = client();
    assert!(!is_refused(&strict, &http, "https://b.com/") && !is_refused(&strict, &http, "http://b.com/"));
    assert!(is_refused(&strict, &https, "http://b.com/") && is_refused(&strict, &https, "ftp://b.com/"));
    let lax = client().downgrading();
    assert!(!is_refused(&lax, &https, "http://b.com/") && is_refused(&lax, &https, "file:///etc/passwd"));
    assert!(is_refused(&client().without_http(), &https, "http://b.com/"));
}

#[test]
fn body_is_bounded_by_what_was_announced_and_by_the_limit() {
    let server = TestServer::start();
    server.serve("/ten", "", b"0123456789");
    let body = |limit| client().get(&url(&server.url("/ten")), &[]).unwrap().into_body(limit);
    assert!(matches!(body(9), Err(HttpError::TooLarge { limit: 9 })));

    // Without a length, the limit is found on the way.
    server.raw("/ten", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789".to_vec());
    let mut unannounced = body(9).unwrap();
    let error = unannounced.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(matches!(unannounced.error(error), HttpError::TooLarge { limit: 9 }));
    let mut whole = Vec::new();
    body(10).unwrap().read_to_end(&mut whole).unwrap();
    assert_eq!(whole, b"0123456789");
}

#[test]
fn password_of_a_proxy_stays_secret() {
    let proxies = Proxies::new(Some("gopher://user:secret@proxy:70".to_owned()), None, "");
    let client = HttpClient::with(false, Schemes::Any, proxies);
    let error = client.get(&url("http://a.invalid/"), &[]).err().unwrap().to_string();
    assert!(
        error.contains("HTTP_PROXY") && error.contains("proxy:70") && !error.contains("secret"),
        "{error}"
    );
}

#[test]
fn body_that_drips_is_given_up() {
    let server = TestServer::start();
    server.serve("/ten", "", b"0123456789");
    let body = client().get(&url(&server.url("/ten")), &[]).unwrap().into_body(10).unwrap();
    let late = body.within(std::time::Duration::ZERO).read_whole();
    assert!(matches!(late, Err(HttpError::TooSlow { seconds: 0 })));
}
