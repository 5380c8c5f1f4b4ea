use std::collections::BTreeMap;

use appc::{AcName, ImageManifest, PodManifest};
use guest_api::{AppId, MountSpec, Stdio, WindowSize};

use super::flags::{IpcMode, NetworkRequest, RunFlags};
use super::plan::*;
use super::terminal::CallersTerminal;
use super::volumes::VolumeSource;

const ID: &str = "sha512-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn pod(apps: &str, rest: &str) -> PodManifest {
    let json = format!(r#"{{"acVersion":"1.30.0","acKind":"PodManifest","apps":[{apps}]{rest}}}"#);
    PodManifest::from_json(json.as_bytes()).unwrap()
}

fn app(name: &str, section: &str, rest: &str) -> String {
    format!(
        r#"{{"name":"{name}","image":{{"name":"example.com/{name}","id":"{ID}"}},
            "app":{{"user":"0","group":"0"{section}}}{rest}}}"#
    )
}

const ECHO: &str = r#","exec":["/bin/echo","hi"]"#;

fn flags() -> RunFlags {
    RunFlags { uuid: "8fd9fb5a-2a4d-4f2d-a7d8-0f2b0a6a1c11".parse().unwrap(), ..RunFlags::default() }
}

fn host() -> HostFacts {
    HostFacts { cpus: 2, memory_bytes: 1 << 33, ..HostFacts::default() }
}

fn plan_of(flags: &RunFlags, pod: &PodManifest) -> Result<Plan, PlanError> {
    plan(flags, pod, &BTreeMap::new(), &host())
}

fn net(name: &str) -> Vec<NetworkRequest> {
    vec![NetworkRequest { name: name.into(), arguments: String::new() }]
}

#[test]
fn app_is_told_what_its_manifest_says() {
    let section = r#","exec":["redis-server","--port","1"],"workingDirectory":"/data","user":"redis","group":"99",
        "supplementaryGIDs":[5,6],"environment":[{"name":"A","value":"b"}]"#;
    let pod =
        pod(&app("db", section, r#","readOnlyRootFS":true"#).replace(r#""user":"0","group":"0","#, ""), "");

    let plan = plan_of(&flags(), &pod).unwrap();

    let spec = &plan.guest.apps[0];
    assert_eq!(spec.id, AppId(0));
    assert_eq!(spec.name, "db");
    assert_eq!(spec.rootfs, "apps/db");
    assert!(spec.read_only_rootfs);
    assert_eq!(spec.exec, ["redis-server", "--port", "1"]);
    assert_eq!(spec.working_directory, "/data");
    assert_eq!((spec.user.as_str(), spec.group.as_str()), ("redis", "99"));
    assert_eq!(spec.supplementary_gids, [5, 6]);
    assert_eq!(spec.environment[0], ("A".to_owned(), "b".to_owned()));
    assert_eq!(plan.shares.apps, ["db"]);
    assert_eq!(plan.environment_files[0].0, "db");
    assert!(plan.environment_files[0].1.starts_with("A=b\nAC_APP_NAME=db\n"));
}

#[test]
fn hostname_is_rkt_and_the_uuid_unless_given() {
    let pod = pod(&app("a", ECHO, ""), "");

    let default = plan_of(&flags(), &pod).unwrap();
    let given = plan_of(&RunFlags { hostname: Some("db".into()), ..flags() }, &pod).unwrap();

    assert_eq!(default.guest.hostname, "rkt-8fd9fb5a-2a4d-4f2d-a7d8-0f2b0a6a1c11");
    assert_eq!(given.guest.hostname, "db");
}

#[test]
fn hostname_the_kernel_would_not_take_is_refused() {
    let flags = RunFlags { hostname: Some("x".repeat(65)), ..flags() };

    assert!(matches!(plan_of(&flags, &pod(&app("a", ECHO, ""), "")), Err(PlanError::Hostname(_))));
}

#[test]
fn kernel_command_line_says_nothing_of_the_pod() {
    let plain = plan_of(&flags(), &pod(&app("a", ECHO, ""), "")).unwrap();
    let other = plan_of(
        &RunFlags { hostname: Some("db".into()), uuid: uuid::Uuid::nil(), ..flags() },
        &pod(&app("b", ECHO, ""), ""),
    )
    .unwrap();

    assert_eq!(plain.vm.command_line, other.vm.command_line);
    assert!(plain.vm.command_line.contains("loglevel=1"));
    assert!(!plain.vm.command_line.contains("console=ttyS0"));
}

#[test]
fn debug_puts_kernel_messages_on_the_serial_port() {
    let flags = RunFlags { debug: true, ..flags() };

    let plan = plan_of(&flags, &pod(&app("a", ECHO, ""), "")).unwrap();

    assert!(plan.vm.command_line.contains("console=ttyS0 earlyprintk=ttyS0"));
    assert!(!plan.vm.command_line.contains("loglevel"));
}

#[test]
fn callers_kernel_parameters_come_last() {
    let host = HostFacts { extra_kernel_parameters: Some(" loglevel=7 ".into()), ..host() };

    let plan = plan(&flags(), &pod(&app("a", ECHO, ""), ""), &BTreeMap::new(), &host).unwrap();

    assert!(plan.vm.command_line.ends_with(" rdinit=/init loglevel=7"));
}

#[test]
fn what_a_vm_cannot_do_is_refused_in_rkts_words() {
    let pod = pod(&app("a", ECHO, ""), "");
    let cases = [
        (
            RunFlags { networks: net("host"), ..flags() },
            "flavor kvm requires private network configuration (try --net)",
        ),
        (
            RunFlags { ipc: IpcMode::Parent, ..flags() },
            "flavor kvm requires private IPC namespace (try to remove --ipc)",
        ),
    ];
    for (flags, message) in cases {
        assert_eq!(plan_of(&flags, &pod).unwrap_err().to_string(), message);
    }
}

#[test]
fn isolator_that_nobody_applies_and_system_call_that_nobody_knows_are_named() {
    let section = format!(
        r#"{ECHO},"isolators":[{{"name":"resource/memory","value":{{"limit":"1Gi"}}}},
            {{"name":"os/unix/sysctl","value":{{"kernel.domainname":"example.com"}}}},
            {{"name":"os/linux/seccomp-retain-set","value":{{"set":["read","fly","swim"]}}}}]"#
    );

    let plan = plan_of(&flags(), &pod(&app("a", &section, ""), "")).unwrap();

    assert_eq!(plan.vm.memory_mib, 1024 + 128);
    let texts: Vec<_> = plan.warnings.iter().map(|warning| warning.text.as_str()).collect();
    let expected = [
        "warning: isolator os/unix/sysctl of app \"a\" is not applied",
        "warning: seccomp filter of app \"a\": ignoring unknown system call \"fly\" and 1 more",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn app_without_exec_is_refused_with_rkts_advice() {
    for section in [r#","exec":[]"#, r#","exec":[""]"#] {
        let error = plan_of(&flags(), &pod(&app("a", section, ""), "")).unwrap_err();

        assert_eq!(error.to_string(), "image \"example.com/a\" has an empty \"exec\" (try --exec=BINARY)");
    }
}

#[test]
fn app_section_of_the_image_serves_where_the_pod_has_none() {
    let pod = pod(&format!(r#"{{"name":"a","image":{{"id":"{ID}"}}}}"#), "");
    let image = ImageManifest::from_json(
        br#"{"acVersion":"0.8.11","acKind":"ImageManifest","name":"x","app":{"exec":["/x"],"user":"0","group":"0"}}"#,
    )
    .unwrap();
    let images: BTreeMap<AcName, _> = [("a".parse().unwrap(), image)].into();

    let plan = plan(&flags(), &pod, &images, &host()).unwrap();

    assert_eq!(plan.guest.apps[0].exec, ["/x"]);
    assert!(matches!(plan_of(&flags(), &pod), Err(PlanError::NoAppSection(_))));
}

#[test]
fn group_falls_back_for_untouched_docker_images_only() {
    let image = |annotation: &str| {
        ImageManifest::from_json(
            format!(
                r#"{{"acVersion":"0.8.11","acKind":"ImageManifest","name":"x",
                    "app":{{"exec":["/x"],"user":"app","group":"app"}}{annotation}}}"#
            )
            .as_bytes(),
        )
        .unwrap()
    };
    let docker = image(r#","annotations":[{"name":"appc.io/docker/repository","value":"library/x"}]"#);
    let runtime = |group: &str| {
        pod(
            &format!(
                r#"{{"name":"a","image":{{"id":"{ID}"}},
                    "app":{{"exec":["/x"],"user":"app","group":"{group}"}}}}"#
            ),
            "",
        )
    };
    let falls_back = |image: &ImageManifest, group: &str| {
        let images: BTreeMap<AcName, _> = [("a".parse().unwrap(), image.clone())].into();
        plan(&flags(), &runtime(group), &images, &host()).unwrap().guest.apps[0].group_falls_back_to_user
    };

    assert!(falls_back(&docker, "app"));
    assert!(!falls_back(&docker, "other"));
    assert!(!falls_back(&image(""), "app"));
}

#[test]
fn volume_that_one_app_may_write_stays_writable_on_the_host() {
    let section = |read_only: bool| {
        format!(r#"{ECHO},"mountPoints":[{{"name":"data","path":"/d","readOnly":{read_only}}}]"#)
    };
    let volumes = r#","volumes":[{"name":"data","kind":"empty"}]"#;
    let apps =
        |first, second| format!("{},{}", app("a", &section(first), ""), app("b", &section(second), ""));

    let mixed = plan_of(&flags(), &pod(&apps(true, false), volumes)).unwrap();
    let readers = plan_of(&flags(), &pod(&apps(true, true), volumes)).unwrap();

    assert!(!mixed.shares.volumes[0].read_only);
    assert!(readers.shares.volumes[0].read_only);
    let mount = |read_only| MountSpec { source: "volumes/data".into(), target: "/d".into(), read_only };
    assert_eq!(mixed.guest.apps[0].mounts, [mount(true)]);
    assert_eq!(mixed.guest.apps[1].mounts, [mount(false)]);
}

#[test]
fn host_volumes_are_the_only_ones_the_host_may_write() {
    let section = format!(r#"{ECHO},"mountPoints":[{{"name":"data","path":"/d"}}]"#);
    let empty = plan_of(&flags(), &pod(&app("a", &section, ""), "")).unwrap();
    let host = plan_of(
        &flags(),
        &pod(&app("a", &section, ""), r#","volumes":[{"name":"data","kind":"host","source":"/srv"}]"#),
    )
    .unwrap();

    assert!(!empty.shares.host_may_write());
    assert!(host.shares.host_may_write());
    assert!(matches!(&host.shares.volumes[0].source, VolumeSource::Host { recursive: true, .. }));
}

#[test]
fn interactive_app_gets_the_callers_terminal_or_pipes_and_any_other_app_a_log() {
    let pod = pod(&app("a", ECHO, ""), "");
    let size = WindowSize { rows: 40, columns: 100 };
    let on_terminal =
        HostFacts { terminal: Some(CallersTerminal { size, kind: "screen".to_owned() }), ..host() };
    let interactive = RunFlags { interactive: true, ..flags() };
    let spec = |flags: &RunFlags, host: &HostFacts| {
        plan(flags, &pod, &BTreeMap::new(), host).unwrap().guest.apps.remove(0)
    };

    let app = spec(&interactive, &on_terminal);
    assert_eq!(app.stdio, Stdio::terminal(size));
    assert!(app.environment.contains(&("TERM".to_owned(), "screen".to_owned())), "{app:?}");
    assert!(spec(&interactive, &host()).stdio.takes_input());
    let log = spec(&flags(), &on_terminal).stdio;
    assert!(!log.takes_input() && !log.has_terminal() && log.streams().len() == 2);
}

#[test]
fn interactive_pod_of_two_apps_is_refused() {
    let pod = pod(&format!("{},{}", app("a", ECHO, ""), app("b", ECHO, "")), "");

    let error = plan_of(&RunFlags { interactive: true, ..flags() }, &pod).unwrap_err();

    assert_eq!(error.to_string(), "interactive option only supports pods with one app");
}

#[test]
fn apps_of_a_registered_pod_reach_the_metadata_service_on_any_network() {
    for network in ["none", "default"] {
        let flags = RunFlags { mds_token: Some("0123".to_owned()), networks: net(network), ..flags() };

        let plan = plan_of(&flags, &pod(&app("a", ECHO, ""), "")).unwrap();

        assert!(plan.guest.metadata_service);
        let url = ("AC_METADATA_URL".to_owned(), "http://127.0.0.1:18112/0123".to_owned());
        assert!(plan.guest.apps[0].environment.contains(&url));
    }
    assert!(!plan_of(&flags(), &pod(&app("a", ECHO, ""), "")).unwrap().guest.metadata_service);
}

/// The plan of an app that is added to a mutable pod.
pub fn app_plan(name: &str) -> AppPlan {
    added_app(&mutable(), &pod(&app(name, ECHO, ""), ""), name, &BTreeMap::new(), &host(), 512).unwrap()
}

fn mutable() -> RunFlags {
    RunFlags { mutable: true, ..flags() }
}

#[test]
fn mutable_pod_may_be_empty_and_another_one_may_not() {
    let plan = plan_of(&mutable(), &pod("", "")).unwrap();

    assert!(plan.guest.apps.is_empty() && plan.vm.memory_mib >= 512);
    assert!(plan.shares.host_may_write(), "a volume of the host may come later");
    assert!(matches!(plan_of(&flags(), &pod("", "")), Err(PlanError::NoApps)));
}

#[test]
fn added_app_is_planned_as_if_the_pod_had_begun_with_it() {
    let volumes = r#","volumes":[{"name":"v","kind":"host","source":"/srv"}]"#;
    let mount = r#","mounts":[{"volume":"v","path":"/mnt"}]"#;
    let pod = pod(&app("late", ECHO, mount), volumes);

    let added = added_app(&mutable(), &pod, "late", &BTreeMap::new(), &host(), 512).unwrap();

    let plan = plan_of(&mutable(), &pod).unwrap();
    assert_eq!(added.spec, plan.guest.apps[0]);
    assert_eq!(added.volumes, plan.shares.volumes);
    assert_eq!(added.environment_file, plan.environment_files[0].1);
    let missing = added_app(&mutable(), &pod, "other", &BTreeMap::new(), &host(), 512);
    assert!(matches!(missing, Err(PlanError::UnknownApp(name)) if name == "other"));
}

#[test]
fn volume_that_a_later_app_may_write_is_writable_on_the_host_from_the_start() {
    let volumes = r#","volumes":[{"name":"v","kind":"empty"},{"name":"w","kind":"empty","readOnly":true}]"#;
    let points = r#","mountPoints":[{"name":"v","path":"/v","readOnly":true},{"name":"w","path":"/w"}]"#;
    let pod = pod(&app("first", &format!("{ECHO}{points}"), ""), volumes);

    let read_only = |flags: &RunFlags| {
        let volumes = plan_of(flags, &pod).unwrap().shares.volumes;
        volumes.iter().map(|volume| volume.read_only).collect::<Vec<_>>()
    };

    assert_eq!(read_only(&mutable()), [false, true]);
    assert_eq!(read_only(&flags()), [true, true]);
}
