//! Pod manifests are rkt's, byte for byte.

use appc::{ImageManifest, PodManifest};

use super::manifest::{AppImage, PodSettings, check_mounts, generate};
use crate::cli::app_flags::AppFlags;
use crate::cli::apps::AppArguments;
use crate::cli::volume::{parse_mount, parse_volume};

const ID: &str = "sha512-c2e35f1e3a0c1bf9d1a4d2d8ec5a63ac0f4a3bdaa3ef1a45e2ffd1e1a6d39d2a";

fn nginx() -> AppImage {
    let manifest = concat!(
        r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"registry-1.docker.io/library/nginx","#,
        r#""labels":[{"name":"version","value":"latest"},{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}],"#,
        r#""app":{"exec":["nginx","-g","daemon off;"],"user":"0","group":"0","#,
        r#""environment":[{"name":"PATH","value":"/bin"}],"#,
        r#""ports":[{"name":"80-tcp","protocol":"tcp","port":80,"count":1,"socketActivated":false}]}}"#
    );
    AppImage { id: ID.parse().unwrap(), manifest: ImageManifest::from_json(manifest.as_bytes()).unwrap() }
}

fn without_app() -> AppImage {
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/tools"}"#;
    AppImage { id: ID.parse().unwrap(), manifest: ImageManifest::from_json(manifest.as_bytes()).unwrap() }
}

fn arguments(flags: AppFlags) -> AppArguments {
    AppArguments { image: "image".to_owned(), arguments: Vec::new(), flags }
}

#[test]
fn manifest_is_written_as_rkt_writes_it() {
    let flags = AppFlags {
        memory: Some("256M".parse().unwrap()),
        mount: vec![parse_mount("volume=data,target=/d").unwrap()],
        ..AppFlags::default()
    };
    let settings = PodSettings {
        volumes: vec![parse_volume("data,kind=host,source=/srv/d").unwrap()],
        ..PodSettings::default()
    };

    let manifest = generate(&[(arguments(flags), nginx())], &settings).unwrap();

    let expected = [
        r#"{"acVersion":""#,
        env!("CARGO_PKG_VERSION"),
        r#"","acKind":"PodManifest","apps":[{"name":"nginx","image":{"name":"registry-1.docker.io/library/nginx","id":""#,
        ID,
        r#"","labels":[{"name":"arch","value":"amd64"},{"name":"os","value":"linux"},{"name":"version","value":"latest"}]},"#,
        r#""app":{"exec":["nginx","-g","daemon off;"],"user":"0","group":"0","#,
        r#""environment":[{"name":"PATH","value":"/bin"}],"#,
        r#""ports":[{"name":"80-tcp","protocol":"tcp","port":80,"count":1,"socketActivated":false}],"#,
        r#""isolators":[{"name":"resource/memory","value":{"default":false,"request":"256M","limit":"256M"}}]},"#,
        r#""mounts":[{"volume":"data","path":"/d"}]}],"#,
        r#""volumes":[{"name":"data","kind":"host","source":"/srv/d"}],"isolators":null,"#,
        r#""annotations":[{"name":"coreos.com/rkt/stage1/mutable","value":"false"}],"ports":null}"#,
    ];
    assert_eq!(serde_json::to_string(&manifest).unwrap(), expected.concat());
}

#[test]
fn exec_replaces_the_images_command_and_arguments_are_appended() {
    let mut replaced = arguments(AppFlags { exec: vec!["/bin/sh".to_owned()], ..AppFlags::default() });
    replaced.arguments = vec!["-c".to_owned(), "exit 3".to_owned()];
    let mut appended = arguments(AppFlags { name: Some("b".parse().unwrap()), ..AppFlags::default() });
    appended.arguments = vec!["-t".to_owned()];

    let manifest = generate(&[(replaced, nginx()), (appended, nginx())], &PodSettings::default()).unwrap();

    let exec = |name: &str| manifest.app(name).unwrap().app.as_ref().unwrap().exec.clone();
    assert_eq!(exec("nginx"), ["/bin/sh", "-c", "exit 3"]);
    assert_eq!(exec("b"), ["nginx", "-g", "daemon off;", "-t"]);
}

#[test]
fn an_image_without_app_section_needs_exec_and_then_runs_as_the_caller() {
    let refused = generate(&[(arguments(AppFlags::default()), without_app())], &PodSettings::default());
    let flags = AppFlags { exec: vec!["/bin/true".to_owned()], ..AppFlags::default() };
    let accepted = generate(&[(arguments(flags), without_app())], &PodSettings::default()).unwrap();

    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("error: image {ID} has no app section and --exec argument is not provided")
    );
    let app = accepted.app("tools").unwrap().app.as_ref().unwrap();
    assert_eq!(app.user, rustix::process::getuid().as_raw().to_string());
}

#[test]
fn two_apps_of_one_name_are_refused() {
    let app = || (arguments(AppFlags::default()), nginx());

    let error = generate(&[app(), app()], &PodSettings::default()).unwrap_err();

    assert_eq!(error.to_string(), "error: multiple apps with name nginx");
}

#[test]
fn an_apps_own_mount_wins_over_the_pods_at_the_same_cleaned_path() {
    let flags =
        AppFlags { mount: vec![parse_mount("volume=mine,target=/d").unwrap()], ..AppFlags::default() };
    let settings = PodSettings {
        mounts: vec![
            parse_mount("volume=all,target=/x/..//d/.").unwrap(),
            parse_mount("volume=all,target=/e").unwrap(),
        ],
        volumes: vec![parse_volume("mine,kind=empty").unwrap(), parse_volume("all,kind=empty").unwrap()],
        ..PodSettings::default()
    };

    let manifest = generate(&[(arguments(flags), nginx())], &settings).unwrap();

    let mounts: Vec<_> =
        manifest.apps[0].mounts.iter().map(|m| (m.volume.as_str(), m.path.as_str())).collect();
    assert_eq!(mounts, [("mine", "/d"), ("all", "/e")]);
}

#[test]
fn user_group_directory_and_variables_override_the_images() {
    let flags = AppFlags {
        user: Some("1000".to_owned()),
        group: Some("www".to_owned()),
        supplementary_gids: vec![5, 6],
        working_dir: Some("/srv".to_owned()),
        readonly_rootfs: Some(true),
        environment: vec![("PATH".to_owned(), "/sbin".to_owned())],
        annotation: vec![("example.com/a".to_owned(), "1".to_owned())],
        cpu: Some("500m".parse().unwrap()),
        ..AppFlags::default()
    };

    let manifest = generate(&[(arguments(flags), nginx())], &PodSettings::default()).unwrap();

    let runtime = &manifest.apps[0];
    let app = runtime.app.as_ref().unwrap();
    assert_eq!((app.user.as_str(), app.group.as_str()), ("1000", "www"));
    assert_eq!(app.supplementary_gids, [5, 6]);
    assert_eq!(app.working_directory.as_deref(), Some("/srv"));
    assert_eq!(app.env("PATH"), Some("/sbin"));
    assert!(runtime.read_only_root_fs);
    assert_eq!(runtime.annotations.get("example.com/a"), Some("1"));
    assert_eq!(app.isolator("resource/cpu").unwrap().limit().unwrap().milli_value(), 500);
    let text = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(PodManifest::from_json(&text).unwrap(), manifest);
}

#[test]
fn duplicate_volumes_and_dangling_mounts_are_refused() {
    let settings = PodSettings {
        volumes: vec![parse_volume("a,kind=empty").unwrap(), parse_volume("a,kind=empty").unwrap()],
        ..PodSettings::default()
    };
    let mounts = [parse_mount("volume=b,target=/x").unwrap()];

    let duplicate = generate(&[(arguments(AppFlags::default()), nginx())], &settings).unwrap_err();
    let dangling = check_mounts(&mounts, &settings.volumes).unwrap_err();

    assert_eq!(
        crate::log::render(&duplicate, false),
        "error generating pod manifest: duplicate volume name \"a\""
    );
    assert_eq!(dangling.to_string(), "dangling mount point \"/x\": volume \"b\" not found");
}
