use std::path::{Path, PathBuf};

use docker_credential::DockerCredential;

use super::credentials::{files, in_file};
use crate::oci::{DockerReference, OciError};

fn look_up(file: &Path, reference: &str) -> Result<Option<DockerCredential>, OciError> {
    in_file(file, &DockerReference::parse(reference).unwrap())
}

/// The user found for `reference` in a file with this text.
fn user(text: &str, reference: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, text).unwrap();
    match look_up(&file, reference).unwrap()? {
        DockerCredential::UsernamePassword(user, _) => Some(user),
        DockerCredential::IdentityToken(token) => Some(format!("token {token}")),
    }
}

#[test]
fn credentials_are_found_by_the_registrys_host() {
    // u:p
    let text = r#"{"auths": {"quay.io": {"auth": "dTpw"}, "localhost:5000": {"username": "v", "password": "p"},
        "token.example.com": {"auth": "", "identitytoken": "t"}}}"#;

    assert_eq!(user(text, "quay.io/a/b").as_deref(), Some("u"));
    assert_eq!(user(text, "localhost:5000/a").as_deref(), Some("v"));
    assert_eq!(user(text, "token.example.com/a").as_deref(), Some("token t"));
    assert_eq!(user(text, "example.com/a"), None);
    assert_eq!(user(text, "quay.io:444/a"), None);
    assert_eq!(user("{}", "quay.io/a"), None);
    assert_eq!(user(r#"{"auths": {"quay.io": {}}}"#, "quay.io/a"), None);
}

#[test]
fn docker_hub_is_found_under_its_names() {
    for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"] {
        let text = format!(r#"{{"auths": {{"{key}": {{"auth": "dTpw"}}}}}}"#);

        assert_eq!(user(&text, "redis").as_deref(), Some("u"), "{key}");
    }
}

#[test]
fn the_longest_namespace_wins() {
    let text = r#"{"auths": {"quay.io": {"auth": "dTpw"}, "quay.io/a": {"auth": "djpw"}, "quay.io/a/b": {"auth": "dzpw"}}}"#;

    assert_eq!(user(text, "quay.io/a/b").as_deref(), Some("w"));
    assert_eq!(user(text, "quay.io/a/c").as_deref(), Some("v"));
    assert_eq!(user(text, "quay.io/b").as_deref(), Some("u"));
}

#[test]
fn a_file_that_is_not_there_has_nothing_and_one_that_is_no_json_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");

    assert!(look_up(&file, "quay.io/a").unwrap().is_none());
    std::fs::write(&file, "not json").unwrap();
    assert!(look_up(&file, "quay.io/a").unwrap_err().to_string().contains("config.json"));
}

#[test]
fn rubbish_instead_of_credentials_is_an_error_that_names_the_file_and_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, r#"{"auths": {"quay.io": {"auth": "%%%"}}}"#).unwrap();

    let error = look_up(&file, "quay.io/a").unwrap_err().to_string();

    assert!(
        error.contains("config.json") && error.contains("quay.io") && error.contains("base64"),
        "{error}"
    );
}

#[test]
fn a_helper_that_is_not_there_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, r#"{"credHelpers": {"quay.io": "rkt-test-missing"}}"#).unwrap();

    let error = look_up(&file, "quay.io/a").unwrap_err().to_string();

    assert!(error.contains("docker-credential-rkt-test-missing cannot be run"), "{error}");
    assert!(look_up(&file, "example.com/a").unwrap().is_none());
}

#[test]
fn the_environment_names_the_files() {
    let variable = |name: &str| match name {
        "HOME" => Some(PathBuf::from("/root")),
        "REGISTRY_AUTH_FILE" => Some(PathBuf::from("/auth.json")),
        "XDG_RUNTIME_DIR" => Some(PathBuf::from("/run/user/0")),
        _ => None,
    };

    let paths = files(variable);

    assert_eq!(
        paths,
        [
            "/auth.json",
            "/root/.docker/config.json",
            "/run/user/0/containers/auth.json",
            "/root/.config/containers/auth.json"
        ]
        .map(PathBuf::from)
    );
    assert_eq!(
        files(|name| (name == "DOCKER_CONFIG").then(|| "/d".into())),
        [PathBuf::from("/d/config.json")]
    );
}
