use std::os::unix::fs::symlink;
use std::path::Path;

use appc::PodManifest;
use guest_api::{AppId, StdioStream};

use super::kubernetes_log::{KubernetesLogError, KubernetesLogs, KubernetesPlan};

const APP: AppId = AppId(0);

fn plan(mode: &str, directory: &str, path: &str) -> Result<KubernetesPlan, KubernetesLogError> {
    let note = |name: &str, value: &str| serde_json::json!({"name": format!("coreos.com/rkt/experiment/{name}"), "value": value});
    let id = format!("sha512-{}", "0".repeat(128));
    let pod = serde_json::json!({
        "acVersion": "0.8.11",
        "acKind": "PodManifest",
        "apps": [{"name": "web", "image": {"id": id}, "annotations": [note("kubernetes-log-path", path)]}],
        "annotations": [note("logmode", mode), note("kubernetes-log-dir", directory)],
    });
    KubernetesPlan::of(&PodManifest::from_json(pod.to_string().as_bytes()).unwrap())
}

fn write(directory: &Path) -> Option<String> {
    let mut logs = KubernetesLogs::new(plan("k8s-plain", directory.to_str().unwrap(), "web_0.log").unwrap());
    let problem = logs.started(APP, "web");
    logs.push(APP, StdioStream::Stdout, b"one\ntw");
    logs.push(APP, StdioStream::Stderr, b"oops");
    logs.push(APP, StdioStream::Stdout, b"o\n");
    logs.close_all();
    problem
}

#[test]
fn lines_have_their_time_their_stream_and_their_text() {
    let directory = tempfile::tempdir().unwrap();

    assert_eq!(write(directory.path()), None);

    let text = std::fs::read_to_string(directory.path().join("web_0.log")).unwrap();
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let texts: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    assert_eq!(texts, ["stdout one", "stdout two", "stderr oops"]);
    assert!(lines.iter().all(|(time, _)| time.parse::<jiff::Timestamp>().is_ok()), "{text}");
}

#[test]
fn a_link_in_the_directory_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    symlink(&target, directory.path().join("web_0.log")).unwrap();

    let problem = write(directory.path()).unwrap();

    assert!(problem.contains("web_0.log"), "{problem}");
    assert!(!target.exists());
}

#[test]
fn annotations_that_cannot_be_followed_are_refused() {
    for path in ["../out.log", "/out.log", "a/../../b", ""] {
        let error = plan("k8s-plain", "/var/log", path).unwrap_err();
        assert!(error.to_string().starts_with("app \"web\": annotation"), "{error}");
    }
    assert!(matches!(plan("json", "/var/log", "x"), Err(KubernetesLogError::Mode(_))));
    assert!(matches!(plan("k8s-plain", "logs", "x"), Err(KubernetesLogError::Directory(_))));
}
