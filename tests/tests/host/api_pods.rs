//! `rkt api-service`: what it says of itself and of pods.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use rkt_tests::rkt::TestRkt;
use serde_json::{Value, json};
use tonic::Code;

use crate::api_client::wire::{AppState, PodFilter, PodState};
use crate::api_client::{Api, pair};
use crate::pods::{release, start_held};
use crate::publisher::{rkt_with_image, run_arguments};

/// A pod directory in a stage, with these files.
fn make_pod(rkt: &TestRkt, stage: &str, uuid: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let pod = rkt.data().join("pods").join(stage).join(uuid);
    fs::create_dir_all(&pod).expect("a directory");
    for (name, content) in files {
        let path = pod.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("writing");
    }
    pod
}

/// A pod manifest with one app.
fn manifest(app: &str, image: &str, annotations: Value) -> Vec<u8> {
    let manifest = json!({
        "acVersion": "1.30.0", "acKind": "PodManifest", "annotations": annotations,
        "apps": [{ "name": app, "image": { "name": "example.com/x", "id": image,
                   "labels": [{ "name": "version", "value": "2" }] } }],
    });
    serde_json::to_vec(&manifest).expect("JSON")
}

/// A UUID with this digit in front.
fn uuid(digit: char) -> String {
    format!("{digit}1111111-1111-4111-8111-111111111111")
}

#[test]
fn info_says_versions_and_the_flags_of_the_service() {
    let rkt = TestRkt::new();
    let address = format!("unix://{}", rkt.path("api.sock").display());
    let flags = ["--insecure-options=tls,image", "--trust-keys-from-https", "--user-config=/nowhere"];
    let listen = format!("--listen={address}");
    let service = rkt.start([&["api-service", &listen], &flags[..]].concat());
    let api = Api::over(service, &address);

    let answer =
        api.ask(async |mut client| client.get_info(crate::api_client::wire::GetInfoRequest {}).await);

    let info = answer.expect("an answer").info.expect("info");
    let version = rkt.run(["version"]).expect_code(0).out();
    assert!(version.contains(&format!("rkt Version: {}\n", info.rkt_version)), "{info:?}");
    assert_eq!((info.appc_version.as_str(), info.api_version.as_str()), ("0.8.11", "1.0.0-alpha"));
    let flags = info.global_flags.expect("flags");
    assert_eq!(flags.dir, rkt.data().display().to_string());
    assert_eq!(flags.local_config_dir, rkt.local_config().display().to_string());
    assert_eq!(flags.system_config_dir, rkt.path("system").display().to_string());
    assert_eq!(flags.user_config_dir, "/nowhere");
    assert_eq!(flags.insecure_flags, "image,tls");
    assert!(flags.trust_keys_from_https);
}

#[test]
fn a_pod_is_followed_from_running_to_exited() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_APP_CODE", "0");
    let api = Api::start(&rkt);
    assert_eq!(api.pods(&[], true), []);
    let (pod, uuid) = start_held(&mut rkt);

    let running = api.pod(&uuid[..8]).expect("the pod");
    assert_eq!(running.id, uuid);
    assert_eq!(running.state(), PodState::Running);
    assert_eq!(running.pid, pod.pid().as_raw());
    assert!(running.cgroup.starts_with('/'), "{:?}", running.cgroup);
    assert!(running.created_at > 1_600_000_000_000_000_000 && running.started_at >= running.created_at);
    assert_eq!(running.gc_marked_at, 0);
    let app = running.apps.first().expect("an app");
    assert_eq!((app.name.as_str(), app.state(), app.exit_code), ("app", AppState::Running, -1));

    release(&rkt, pod);

    let exited = api.pod(&uuid).expect("the pod");
    assert_eq!(exited.state(), PodState::Exited);
    let app = exited.apps.first().expect("an app");
    assert_eq!((app.state(), app.exit_code), (AppState::Exited, 0));
    rkt.run(["gc", "--mark-only"]).expect_code(0);
    let marked = api.pod(&uuid).expect("the pod");
    assert_eq!(marked.state(), PodState::Garbage);
    assert!(marked.gc_marked_at >= marked.started_at, "{marked:?}");
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    assert_eq!(api.pod(&uuid).expect_err("it is gone").code(), Code::NotFound);
    assert_eq!(api.pods(&[], false), []);
}

#[test]
fn exit_codes_images_and_manifests_are_told_with_details() {
    let mut rkt = rkt_with_image();
    rkt.set_env("STUB_APP_CODE", "42");
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "./app.aci", "--name=one", "./app.aci", "--name=two"]))
        .expect_code(42);
    let uuid = rkt.uuid("uuid");
    let api = Api::start(&rkt);

    let (brief, full) = (api.pods(&[], false), api.pods(&[], true));

    assert_eq!(full, [api.pod(&uuid).expect("the pod")]);
    let file = fs::read(rkt.data().join("pods/run").join(&uuid).join("pod")).expect("a manifest");
    assert_eq!((brief[0].manifest.len(), &full[0].manifest), (0, &file));
    for pod in [&brief[0], &full[0]] {
        let names: Vec<_> = pod.apps.iter().map(|app| (app.name.as_str(), app.exit_code)).collect();
        assert_eq!(names, [("one", 42), ("two", 42)]);
        let image = pod.apps[0].image.as_ref().expect("an image");
        assert_eq!((image.name.as_str(), image.version.as_str()), ("example.com/app", "1.0.0"));
        assert_eq!(image.id.len(), 71);
        assert!(pod.annotations.contains(&pair("coreos.com/rkt/stage1/mutable", "false")), "{pod:?}");
    }
    let sizes = |pod: &crate::api_client::wire::Pod| pod.apps[0].image.as_ref().map(|image| image.size);
    assert_eq!(sizes(&brief[0]), Some(0));
    assert!(sizes(&full[0]) > Some(0));
}

#[test]
fn every_state_has_its_number() {
    let rkt = TestRkt::new();
    let image = format!("sha512-{}", "a".repeat(64));
    let manifest = manifest("app", &image, json!([]));
    let files: &[(&str, &[u8])] = &[("pod", &manifest), ("pod-created", b""), ("pid", b"12\n")];
    let stages = ["prepare", "prepared", "run", "exited-garbage", "prepare", "run", "exited-garbage"];
    let mut pods = Vec::new();
    for (digit, stage) in ('0'..).zip(stages) {
        pods.push(make_pod(&rkt, stage, &uuid(digit), files));
    }
    make_pod(&rkt, "embryo", &uuid('e'), files);
    make_pod(&rkt, "garbage", &uuid('f'), files);
    let locks: Vec<_> = pods[4..].iter().map(lock).collect();
    let api = Api::start(&rkt);

    let found = api.pods(&[], false);

    let states: Vec<_> = found.iter().map(|pod| pod.state()).collect();
    use PodState::{AbortedPrepare, Exited, Garbage, Prepared, Preparing, Running, Undefined};
    assert_eq!(states, [AbortedPrepare, Prepared, Exited, Garbage, Preparing, Running, Undefined]);
    let apps: Vec<_> =
        found.iter().map(|pod| pod.apps.first().map(|app| (app.state(), app.exit_code))).collect();
    let (before, after) = (Some((AppState::Undefined, -1)), Some((AppState::Exited, 0)));
    let running = Some((AppState::Running, -1));
    assert_eq!(apps, [None, before, after, after, None, running, None]);
    let pids: Vec<_> = found.iter().map(|pod| pod.pid).collect();
    assert_eq!(pids, [-1, -1, 12, 12, -1, 12, -1]);
    for state in [Preparing, Undefined] {
        let filter = PodFilter { states: vec![state.into()], ..PodFilter::default() };
        assert_eq!(api.pod_ids(filter).len(), 1, "{state:?}");
    }
    drop(locks);
}

/// Locks a pod as whoever works on it does.
fn lock(pod: &PathBuf) -> nix::fcntl::Flock<fs::File> {
    let directory = fs::File::open(pod).expect("a directory");
    let locked = nix::fcntl::Flock::lock(directory, nix::fcntl::FlockArg::LockExclusive);
    locked.map_err(|(_, error)| error).expect("a lock")
}

#[test]
fn filters_combine_within_and_across() {
    let rkt = TestRkt::new();
    let image = |letter: &str| format!("sha512-{}", letter.repeat(64));
    let first = manifest("web", &image("a"), json!([{ "name": "team", "value": "red" }]));
    let second = manifest("db", &image("b"), json!([{ "name": "team", "value": "blue" }]));
    let network = br#"[{"netName":"default","ip":"172.16.28.2"},{"netName":"v6","ip":"fd00::2"}]"#;
    let files: &[(&str, &[u8])] =
        &[("pod", &first), ("net-info.json", network), ("subcgroup", b"machine.slice/one")];
    make_pod(&rkt, "run", &uuid('a'), files);
    make_pod(&rkt, "prepared", &uuid('b'), &[("pod", &second)]);
    let api = Api::start(&rkt);
    let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();

    let none = PodFilter::default();
    let only_a = vec![
        PodFilter { ids: vec![uuid('a'), uuid('c')], ..none.clone() },
        PodFilter { states: vec![PodState::Exited.into(), PodState::Running.into()], ..none.clone() },
        PodFilter { app_names: text(&["web"]), ..none.clone() },
        PodFilter { image_ids: vec![image("a")], ..none.clone() },
        PodFilter { network_names: text(&["default", "v6"]), ..none.clone() },
        PodFilter { annotations: vec![pair("team", "red")], ..none.clone() },
        PodFilter { cgroups: text(&["/machine.slice/one", "/other"]), ..none.clone() },
        PodFilter { pod_sub_cgroups: text(&["/machine.slice/one/web.service"]), ..none.clone() },
        PodFilter { ids: vec![uuid('a')], app_names: text(&["web"]), ..none.clone() },
    ];
    for filter in only_a {
        assert_eq!(api.pod_ids(filter.clone()), [uuid('a')], "{filter:?}");
    }
    let nothing = vec![
        PodFilter { ids: vec![uuid('a')[..8].to_owned()], ..none.clone() },
        PodFilter { ids: vec![uuid('a')], app_names: text(&["db"]), ..none.clone() },
        PodFilter { app_names: text(&["web", "db"]), ..none.clone() },
        PodFilter { network_names: text(&["default", "other"]), ..none.clone() },
        PodFilter { annotations: vec![pair("team", "green")], ..none.clone() },
        PodFilter { pod_sub_cgroups: text(&["/machine.slice"]), ..none.clone() },
    ];
    for filter in nothing {
        assert_eq!(api.pod_ids(filter.clone()), [] as [String; 0], "{filter:?}");
    }
    let either = [
        PodFilter { app_names: text(&["web"]), ..none.clone() },
        PodFilter { app_names: text(&["db"]), ..none.clone() },
    ];
    assert_eq!(api.pods(&either, false).len(), 2);
    assert_eq!(api.pod_ids(none).len(), 2);

    let pod = api.pod(&uuid('a')).expect("the pod");
    let networks: Vec<_> =
        pod.networks.iter().map(|n| (n.name.as_str(), n.ipv4.as_str(), n.ipv6.as_str())).collect();
    assert_eq!(networks, [("default", "172.16.28.2", ""), ("v6", "", "fd00::2")]);
}

#[test]
fn a_pod_is_named_by_a_unique_beginning_of_its_uuid() {
    let rkt = TestRkt::new();
    let manifest = manifest("app", &format!("sha512-{}", "a".repeat(64)), json!([]));
    for last in ["1", "2"] {
        let uuid = format!("abcdef00-1111-4111-8111-11111111111{last}");
        make_pod(&rkt, "prepared", &uuid, &[("pod", &manifest)]);
    }
    let api = Api::start(&rkt);

    let ambiguous = api.pod("ABCDEF").expect_err("two pods");
    assert_eq!((ambiguous.code(), ambiguous.message()), (Code::InvalidArgument, "ambiguous uuid, 2 matches"));
    assert!(api.pod("ABCDEF00-1111-4111-8111-111111111112").is_ok());
    let unknown = api.pod("00").expect_err("no pod");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "no matches found for \"00\""));
    assert_eq!(api.pod("").expect_err("no id").code(), Code::InvalidArgument);
}

#[test]
fn pods_that_are_broken_hide_no_others() {
    let rkt = TestRkt::new();
    let good = manifest("app", &format!("sha512-{}", "a".repeat(64)), json!([]));
    make_pod(&rkt, "run", &uuid('1'), &[("pod", &good)]);
    make_pod(&rkt, "run", &uuid('2'), &[("pod", b"{ half")]);
    make_pod(&rkt, "run", &uuid('3'), &[]);
    make_pod(&rkt, "run", &uuid('4'), &[("pod", &good), ("net-info.json", b"\xff"), ("pid", b"many")]);
    let no_file = make_pod(&rkt, "run", &uuid('5'), &[]);
    nix::unistd::mkfifo(&no_file.join("pod"), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    fs::write(rkt.data().join("pods/run").join(uuid('6')), "no directory").expect("writing");
    make_pod(&rkt, "run", "not-a-pod", &[("pod", &good)]);
    let api = Api::start(&rkt);

    let pods = api.pods(&[], true);

    let found: Vec<_> = pods.iter().map(|pod| (pod.id.clone(), pod.state(), pod.apps.len())).collect();
    let exited = PodState::Exited;
    let expected = [
        (uuid('1'), exited, 1),
        (uuid('2'), exited, 0),
        (uuid('3'), exited, 0),
        (uuid('4'), exited, 1),
        (uuid('5'), exited, 0),
        (uuid('6'), PodState::Undefined, 0),
    ];
    assert_eq!(found, expected);
    let error = api.pod(&uuid('2')).expect_err("half a manifest");
    assert_eq!(error.code(), Code::Internal);
    assert!(error.message().contains("manifest"), "{error}");
    assert_eq!(api.pods(&[], true).len(), 6);
    let said = api.stop().expect_code(0).err();
    assert_eq!(said.matches(&uuid('2')).count(), 1, "said once: {said}");
}

#[test]
fn the_service_exits_in_order_on_either_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let rkt = TestRkt::new();
        let mut api = Api::start(&rkt);
        api.client();

        api.service().send(signal);
        let ended = api.finish();

        assert_eq!(
            ended.expect_code(0).err(),
            "api-service: API service starting...\napi-service: API service running\n\
             api-service: API service exiting...\n"
        );
        assert!(!rkt.path("api.sock").exists());
    }
}

#[test]
fn looking_makes_nothing() {
    let rkt = TestRkt::new();
    let api = Api::start(&rkt);

    api.pods(&[], true);
    api.images(&[], true);
    api.stop().expect_code(0);

    assert_eq!(fs::read_dir(rkt.data()).expect("listing").count(), 0);
}

#[test]
fn a_pod_without_overlay_is_read_in_the_same_way() {
    let rkt = rkt_with_image();
    rkt.run(run_arguments(&["--uuid-file-save=uuid", "--no-overlay", "./app.aci"])).expect_code(0);
    let uuid = rkt.uuid("uuid");
    let api = Api::start(&rkt);

    let pod = api.pod(&uuid).expect("the pod");

    assert_eq!((pod.state(), pod.apps[0].exit_code), (PodState::Exited, 0));
}
