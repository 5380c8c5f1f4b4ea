use url::Url;

use super::authorization::Authorization;
use super::challenge::Challenge;
use crate::config::Configuration;
use crate::image::HttpClient;
use crate::log::Log;
use crate::oci::DockerReference;

/// What becomes of a challenge that a registry at `url` sends to somebody who has credentials for it.
fn answer(url: &str, challenge: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("auth.d")).unwrap();
    let text = r#"{"rktKind": "dockerAuth", "rktVersion": "v1", "registries": ["reg.example"],
        "credentials": {"user": "u", "password": "secret"}}"#;
    std::fs::write(directory.path().join("auth.d/reg.json"), text).unwrap();
    let configuration = Configuration::in_directories(&[directory.path()]);
    let reference = DockerReference::parse("reg.example/app").unwrap();
    let client = HttpClient::new(false).with_attempts(1);
    let authorization = Authorization::new(client, &reference, &configuration, Log::new("image", false));

    let url: Url = url.parse().unwrap();
    authorization.answer(&Challenge::parse_all(challenge), &url, None).unwrap_err().to_string()
}

#[test]
fn whoever_answers_over_plain_http_does_not_choose_who_gets_the_credentials() {
    let challenge = r#"Bearer realm="https://localhost:1/token",service="s""#;

    let over_http = answer("http://reg.example/v2/", challenge);
    assert!(over_http.contains("reg.example asks for credentials over plain http"), "{over_http}");

    // Nobody listens there, so this is as far as it gets.
    let over_https = answer("https://reg.example/v2/", challenge);
    assert!(over_https.contains("its token server localhost cannot be asked"), "{over_https}");
}

#[test]
fn credentials_go_over_plain_http_to_nobody_else() {
    for (url, challenge) in [
        ("http://reg.example/v2/", r#"Basic realm="r""#),
        ("http://reg.example/v2/", r#"Bearer realm="http://reg.example/token""#),
        ("http://127.0.0.1/v2/", r#"Bearer realm="http://auth.example/token""#),
    ] {
        let error = answer(url, challenge);
        assert!(error.contains("over plain http"), "{error}");
    }
    let downgrade = answer("https://reg.example/v2/", r#"Bearer realm="http://localhost:1/token""#);
    assert!(downgrade.contains("which is not https"), "{downgrade}");
}
