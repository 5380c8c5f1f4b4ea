//! Credentials: validation, merging, and who gets to see them.

use std::path::Path;

use url::Url;

use super::{AuthConfig, Configuration};

fn auth(body: &str) -> String {
    format!(r#"{{"rktKind":"auth","rktVersion":"v1",{body}}}"#)
}

fn docker(body: &str) -> String {
    format!(r#"{{"rktKind":"dockerAuth","rktVersion":"v1",{body}}}"#)
}

fn basic(domain: &str, user: &str) -> String {
    auth(&format!(
        r#""domains":["{domain}"],"type":"basic","credentials":{{"user":"{user}","password":"p"}}"#
    ))
}

fn write(root: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(root.join("auth.d")).unwrap();
    std::fs::write(root.join("auth.d").join(name), text).unwrap();
}

fn configuration(directories: &[&Path]) -> Configuration {
    Configuration { directories: directories.iter().map(|path| (*path).to_owned()).collect() }
}

fn read(text: &str) -> AuthConfig {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", text);
    configuration(&[directory.path()]).auth().unwrap()
}

fn authorization(config: &AuthConfig, url: &str) -> Option<String> {
    let headers = config.headers("GET", &Url::parse(url).unwrap()).unwrap();
    headers.into_iter().find(|(name, _)| name == "Authorization").map(|(_, value)| value)
}

#[test]
fn basic_credentials_go_to_the_exact_host_and_port_over_https_only() {
    let config = read(&basic("Example.com:8443", "u"));

    assert_eq!(authorization(&config, "https://example.com:8443/a").as_deref(), Some("Basic dTpw"));
    for other in [
        "http://example.com:8443/a",
        "https://example.com/a",
        "https://example.com:8444/a",
        "https://sub.example.com:8443/a",
        "https://example.com.evil.org:8443/a",
    ] {
        assert_eq!(authorization(&config, other), None, "{other}");
    }
}

#[test]
fn a_domain_without_a_port_means_that_of_https() {
    let without = read(&basic("example.com", "u"));
    let with = read(&basic("example.com:443", "u"));

    for config in [without, with] {
        assert!(authorization(&config, "https://example.com/a").is_some());
        assert!(authorization(&config, "https://example.com:443/a").is_some());
        assert!(authorization(&config, "https://example.com:8443/a").is_none());
    }
}

#[test]
fn an_oauth_token_is_sent_as_bearer() {
    let config = read(&auth(r#""domains":["example.com"],"type":"oauth","credentials":{"token":"t0"}"#));

    assert_eq!(authorization(&config, "https://example.com/a").as_deref(), Some("Bearer t0"));
}

#[test]
fn aws_requests_are_signed_with_time_and_hash_of_the_body() {
    let config = read(&auth(
        r#""domains":["b.s3.amazonaws.com"],"type":"aws","credentials":{"accessKeyID":"k","secretAccessKey":"s"}"#,
    ));

    let headers = config.headers("GET", &Url::parse("https://b.s3.amazonaws.com/i.aci").unwrap()).unwrap();

    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-amz-content-sha256", "x-amz-date", "Authorization"]);
    assert!(headers[2].1.starts_with("AWS4-HMAC-SHA256 Credential=k/"), "{headers:?}");
    assert!(
        headers[2]
            .1
            .contains("/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, ")
    );
}

#[test]
fn what_is_missing_or_wrong_is_said_in_the_words_of_rkt() {
    let cases = [
        (auth(r#""type":"basic""#), "no domains specified"),
        (auth(r#""domains":["a.com"]"#), "no auth type specified"),
        (auth(r#""domains":["a.com"],"type":"magic""#), "unknown auth type: \"magic\""),
        (auth(r#""domains":["a.com"],"type":"basic""#), "user not specified"),
        (auth(r#""domains":["a.com"],"type":"basic","credentials":{"user":"u"}"#), "password not specified"),
        (auth(r#""domains":["a.com"],"type":"oauth","credentials":{}"#), "no oauth bearer token specified"),
        (
            auth(r#""domains":["a.com"],"type":"oauth","credentials":{"token":"a\nb"}"#),
            "oauth bearer token has characters",
        ),
        (auth(r#""domains":["a.com"],"type":"aws","credentials":{}"#), "no AWS Access Key ID specified"),
        (
            auth(r#""domains":["a.com"],"type":"aws","credentials":{"accessKeyID":"k"}"#),
            "no AWS Secret Access Key specified",
        ),
        (
            auth(r#""domains":["a.com","a.com"],"type":"basic","credentials":{"user":"u","password":"p"}"#),
            "auth for domain \"a.com\" is already specified",
        ),
        (basic("https://a.com", "u"), "invalid domain \"https://a.com\""),
        (docker(r#""credentials":{"user":"u","password":"p"}"#), "no registries specified"),
        (docker(r#""registries":["quay.io"]"#), "user not specified"),
        (docker(r#""registries":["quay.io"],"credentials":{"user":"u"}"#), "password not specified"),
        (
            docker(r#""registries":["quay.io","quay.io"],"credentials":{"user":"u","password":"p"}"#),
            "credentials for docker registry \"quay.io\" are already specified",
        ),
        (r#"{"rktKind":"paths","rktVersion":"v1"}"#.to_owned(), "kinds \"auth\", \"dockerAuth\""),
    ];

    for (text, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.json", &text);
        let configuration = configuration(&[directory.path()]);

        let error = configuration.auth().map(drop).and_then(|()| configuration.docker_auth().map(drop));

        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.contains("auth.d"), "the message names the file: {error}");
    }
}

#[test]
fn the_same_domain_in_two_files_of_one_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.json", &basic("a.com", "u"));
    write(directory.path(), "b.json", &basic("a.com:443", "v"));

    let error = configuration(&[directory.path()]).auth().unwrap_err().to_string();

    assert!(error.contains("b.json") && error.contains("is already specified"), "{error}");
}

#[test]
fn a_later_directory_overrides_domain_by_domain_and_registry_by_registry() {
    let (system, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let registries = |names: &str, user: &str| {
        docker(&format!(r#""registries":[{names}],"credentials":{{"user":"{user}","password":"p"}}"#))
    };
    write(system.path(), "a.json", &basic("a.com", "system"));
    write(system.path(), "b.json", &basic("b.com", "system"));
    write(system.path(), "d.json", &registries(r#""quay.io","gcr.io""#, "system"));
    write(local.path(), "z.json", &basic("a.com", "local"));
    write(local.path(), "d.json", &registries(r#""quay.io""#, "local"));

    let merged = configuration(&[system.path(), local.path()]);

    let auth = merged.auth().unwrap();
    let decode = |url: &str| {
        use base64::Engine;
        let header = authorization(&auth, url).unwrap();
        let text = base64::engine::general_purpose::STANDARD.decode(header.trim_start_matches("Basic "));
        String::from_utf8(text.unwrap()).unwrap()
    };
    assert_eq!(decode("https://a.com/"), "local:p");
    assert_eq!(decode("https://b.com/"), "system:p");
    let docker = merged.docker_auth().unwrap();
    assert_eq!(docker.for_registry("quay.io"), Some(("local", "p")));
    assert_eq!(docker.for_registry("gcr.io"), Some(("system", "p")));
    assert_eq!(docker.for_registry("ghcr.io"), None);
}

#[test]
fn docker_hub_is_found_under_each_of_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let text = docker(r#""registries":["index.docker.io"],"credentials":{"user":"u","password":"p"}"#);
    write(directory.path(), "a.json", &text);

    let config = configuration(&[directory.path()]).docker_auth().unwrap();

    for name in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        assert_eq!(config.for_registry(name), Some(("u", "p")), "{name}");
    }
}

#[test]
fn secrets_do_not_appear_in_debug_output() {
    let config =
        read(&auth(r#""domains":["a.com"],"type":"basic","credentials":{"user":"u","password":"hunter2"}"#));

    assert!(!format!("{config:?}").contains("hunter2"));
}
