//! `list` and `status` show what the files of a pod say.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::list::rows;
use super::status::describe;
use crate::pod::locate::{FoundPod, Pods};
use crate::pod::report::{PodReport, to_json};
use crate::pod::state::Stage;

const UUID: &str = "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11";
const ID: &str = "sha512-c2e35f1e3a0c1bf9d1a4d2d8ec5a63ac0f4a3bdaa3ef1a45e2ffd1e1a6d39d2a";

fn write(path: &Path, text: &str, seconds: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A pod of two apps: `server`, whose image manifest is there and which exited with 3, and `client`.
fn pod(data: &Path) -> FoundPod {
    let pods = Pods::of(data);
    let path = pods.path(Stage::Run, UUID.parse().unwrap());
    let manifest = format!(
        r#"{{"acVersion":"1.30.0","acKind":"PodManifest","apps":[
            {{"name":"server","image":{{"id":"{ID}"}},"app":{{"exec":[],"user":"0","group":"0"}},
              "mounts":[{{"volume":"data","path":"/d"}}]}},
            {{"name":"client","image":{{"id":"{ID}"}}}}],
            "volumes":[{{"name":"data","kind":"host","source":"/srv/d","readOnly":true}}]}}"#
    );
    let image = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/server","labels":[{"name":"version","value":"1.2"}]}"#;
    let networks = r#"[{"netName":"default","netConf":"","pluginPath":"","ifName":"eth0","ip":"172.16.28.2","args":"","mask":"255.255.255.0"}]"#;
    write(&path.join("pod"), &manifest, 1000);
    write(&path.join("pod-created"), "", 1000);
    write(&path.join("pid"), "4711\n", 1060);
    write(&path.join("appsinfo/server/manifest"), image, 1000);
    write(&path.join("net-info.json"), networks, 1000);
    write(&path.join("overlay-prepared"), "", 1000);
    write(&path.join("stage1TreeStoreID"), "deps-x", 1000);
    write(&path.join("overlay/deps-x/upper/rkt/status/server"), "3\n", 1000);
    pods.open(UUID.parse().unwrap(), Stage::Run).unwrap().unwrap()
}

#[test]
fn list_has_a_row_for_each_app_and_says_what_it_cannot_know() {
    let data = tempfile::tempdir().unwrap();
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(1120);

    let rows = rows(&pod(data.path()), false, now).unwrap();

    assert_eq!(
        rows,
        "5bc080ca\tserver\texample.com/server:1.2\texited\t2 minutes ago\t1 minute ago\tdefault:ip4=172.16.28.2\n\
         \tclient\t--\t\t\t\t\n"
    );
}

#[test]
fn an_image_whose_version_is_a_row_of_its_own_makes_no_row() {
    let data = tempfile::tempdir().unwrap();
    let pod = pod(data.path());
    let image = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/server",
        "labels":[{"name":"version","value":"1\n6f1\tother\u001b[2J"}]}"#;
    write(&pod.path().join("appsinfo/server/manifest"), image, 1000);

    let rows = rows(&pod, false, UNIX_EPOCH).unwrap();

    assert!(rows.contains("\texample.com/server:1\u{fffd}6f1\u{fffd}other\u{fffd}[2J\texited\t"), "{rows:?}");
    assert_eq!(rows.lines().count(), 2);
}

#[test]
fn full_list_has_whole_uuids_and_image_ids_of_nineteen_characters() {
    let data = tempfile::tempdir().unwrap();

    let rows = rows(&pod(data.path()), true, UNIX_EPOCH).unwrap();

    assert!(
        rows.starts_with(&format!("{UUID}\tserver\texample.com/server:1.2\tsha512-c2e35f1e3a0c\texited\t"))
    );
}

#[test]
fn status_has_one_line_a_fact_and_codes_only_of_apps_that_have_one() {
    let data = tempfile::tempdir().unwrap();

    let text = describe(&pod(data.path())).unwrap();

    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("ed=1970")).collect();
    assert_eq!(
        lines,
        ["state=exited", "networks=default:ip4=172.16.28.2", "pid=4711", "exited=true", "app-server=3"]
    );
}

#[test]
fn json_has_seconds_for_the_pod_and_nanoseconds_for_its_apps() {
    let data = tempfile::tempdir().unwrap();

    let json = to_json(&PodReport::of(&pod(data.path())).unwrap(), false).unwrap();

    let expected = [
        r#"{"name":"5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11","state":"exited","#,
        r#""networks":[{"netName":"default","netConf":"","pluginPath":"","ifName":"eth0","ip":"172.16.28.2","args":"","mask":"255.255.255.0"}],"#,
        r#""app_names":["server","client"],"#,
        r#""apps":[{"name":"server","state":"exited","created_at":1000000000000,"started_at":1060000000000,"exit_code":3,"#,
        r#""image_id":""#,
        ID,
        r#"","mounts":[{"name":"data","container_path":"/d","host_path":"/srv/d","read_only":true}]},"#,
        r#"{"name":"client","state":"exited","created_at":1000000000000,"started_at":1060000000000,"image_id":""#,
        ID,
        r#""}],"created_at":1000,"started_at":1060}"#,
    ];
    assert_eq!(json, expected.concat());
}

#[test]
fn a_fifo_in_place_of_a_file_does_not_stop_list() {
    let data = tempfile::tempdir().unwrap();
    let pod = pod(data.path());
    std::fs::remove_file(pod.path().join("pod")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, pod.path().join("pod"), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();

    assert!(rows(&pod, false, UNIX_EPOCH).is_err());
}
