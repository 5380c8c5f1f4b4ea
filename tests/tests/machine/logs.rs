//! Where else apps' output goes: the host's journal, Kubernetes' files.

use std::os::unix::net::UnixDatagram;

use serde_json::json;

use crate::pod::{Pod, fresh_path, said, shell_app};

#[test]
fn lines_of_a_pod_reach_the_journal_and_kubernetes_files() {
    let (journal, logs) = (fresh_path("journal"), fresh_path("logs"));
    for directory in [&journal, &logs] {
        std::fs::create_dir(directory).expect("making a directory");
    }
    // What journald listens on, seen by this pod only.
    let journald = UnixDatagram::bind(journal.join("socket")).expect("binding a socket");
    journald.set_nonblocking(true).expect("a socket");
    let script = format!(
        "mkdir -p /run/systemd/journal && mount --bind {} /run/systemd/journal && \"$@\"",
        journal.display()
    );
    let note = |name: &str, value: &str| json!({ "name": format!("coreos.com/rkt/experiment/{name}"), "value": value });
    let mut web = shell_app("web", "echo one; echo '<3>two' >&2; printf three", &json!({}));
    web["annotations"] = json!([note("kubernetes-log-path", "web_0.log")]);
    let other = shell_app("other", "echo elsewhere", &json!({}));
    let manifest = fresh_path("manifest");
    let pod = json!({
        "acVersion": "0.8.11", "acKind": "PodManifest", "apps": [web, other],
        "annotations": [note("logmode", "k8s-plain"), note("kubernetes-log-dir", logs.to_str().expect("UTF-8"))],
    });
    std::fs::write(&manifest, pod.to_string()).expect("writing a manifest");

    let mut pod = Pod::start_by_script(&script, &[&format!("--pod-manifest={}", manifest.display())]);
    let output = pod.finish().expect_code(0);

    assert_eq!(said(&output.stdout, "web"), ["one", "three"]);
    let mut buffer = vec![0; 1 << 16];
    let entries: Vec<String> =
        std::iter::from_fn(|| journald.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
            .map(|entry| String::from_utf8_lossy(&entry).into_owned())
            .collect();
    for (app, stream, priority, text) in [
        ("web", "stdout", 6, "one"),
        ("web", "stderr", 3, "two"),
        ("web", "stdout", 6, "three"),
        ("other", "stdout", 6, "elsewhere"),
    ] {
        let fields = [
            format!("RKT_POD_UUID={}\n", pod.uuid),
            format!("RKT_APP_NAME={app}\n"),
            format!("RKT_STREAM={stream}\n"),
            format!("PRIORITY={priority}\n"),
            format!("\0{text}\n"),
        ];
        let has_all = |entry: &String| fields.iter().all(|field| entry.contains(field));
        assert_eq!(entries.iter().filter(|entry| has_all(entry)).count(), 1, "{text}: {entries:#?}");
    }
    assert_eq!(entries.len(), 4, "{entries:#?}");
    let log = std::fs::read_to_string(logs.join("web_0.log")).expect("the app's log");
    let mut lines: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr <3>two", "stdout one", "stdout three"]);
    assert_eq!(
        std::fs::read_dir(&logs).expect("the directory").count(),
        1,
        "an app without the annotation has no file"
    );
}
