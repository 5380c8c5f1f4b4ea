use appc::{App, Mount, MountPoint, Volume};

use super::volumes::*;

fn volume(json: &str) -> Volume {
    serde_json::from_str(json).unwrap()
}

fn point(name: &str, path: &str, read_only: bool) -> MountPoint {
    MountPoint { name: name.parse().unwrap(), path: path.into(), read_only }
}

fn mount(volume: &str, path: &str) -> Mount {
    Mount { volume: volume.parse().unwrap(), path: path.into(), app_volume: None }
}

fn mounts_of(
    points: Vec<MountPoint>,
    explicit: &[Mount],
    volumes: &[Volume],
) -> Result<AppMounts, VolumeError> {
    let app = App { mount_points: points, ..App::default() };
    mounts(&"db".parse().unwrap(), &app, explicit, volumes, false)
}

#[test]
fn explicit_mount_shows_the_pods_volume_at_its_path() {
    let volumes = [volume(r#"{"name":"data","kind":"host","source":"/srv/d"}"#)];

    let result = mounts_of(vec![], &[mount("data", "/d")], &volumes).unwrap();

    let source = VolumeSource::Host { path: "/srv/d".into(), recursive: true };
    let volume = SharedVolume { name: "data".into(), source, read_only: false };
    assert_eq!(result.mounts, [AppMount { volume, target: "/d".into() }]);
    assert!(result.warnings.is_empty());
}

#[test]
fn mount_of_a_volume_the_pod_lacks_is_refused() {
    assert_eq!(mounts_of(vec![], &[mount("data", "/d")], &[]), Err(VolumeError::NotFound("data".into())));
}

#[test]
fn mount_may_name_a_mount_point_of_the_image() {
    let volumes = [volume(r#"{"name":"data","kind":"empty"}"#)];

    let result =
        mounts_of(vec![point("store", "/var/db", false)], &[mount("data", "store")], &volumes).unwrap();

    assert_eq!(result.mounts.len(), 1);
    assert_eq!(result.mounts[0].target, "/var/db");
}

#[test]
fn relative_path_that_is_no_mount_point_is_refused() {
    let volumes = [volume(r#"{"name":"data","kind":"empty"}"#)];

    let result = mounts_of(vec![], &[mount("data", "../etc")], &volumes);

    assert!(matches!(result, Err(VolumeError::BadTarget { .. })));
}

#[test]
fn uncovered_mount_point_takes_the_pods_volume_of_its_name() {
    let volumes = [volume(r#"{"name":"data","kind":"empty","mode":"1777","uid":5,"gid":6}"#)];

    let result = mounts_of(vec![point("data", "/var/db", false)], &[], &volumes).unwrap();

    let source = VolumeSource::Empty {
        directory: "data".into(),
        mode: 0o1777,
        uid: 5,
        gid: 6,
        content: None,
        of_app: false,
    };
    assert_eq!(result.mounts[0].volume.source, source);
    assert!(result.warnings.is_empty());
}

#[test]
fn uncovered_mount_point_without_volume_gets_an_empty_one_and_a_warning() {
    let result = mounts_of(vec![point("data", "/var/db", false)], &[], &[]).unwrap();

    let source = VolumeSource::Empty {
        directory: "db-data".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        content: None,
        of_app: true,
    };
    assert_eq!(result.mounts[0].volume, SharedVolume { name: "db..data".into(), source, read_only: false });
    assert_eq!(
        result.warnings,
        [
            "warning: no volume specified for mount point \"data\", implicitly creating an \"empty\" volume. This \
          volume will be removed when the pod is garbage-collected."
        ]
    );
}

#[test]
fn explicit_mount_covers_a_mount_point_of_the_same_path() {
    let volumes = [volume(r#"{"name":"other","kind":"empty"}"#)];

    let result = mounts_of(vec![point("data", "/d", false)], &[mount("other", "/d")], &volumes).unwrap();

    assert_eq!(result.mounts.len(), 1);
    assert_eq!(result.mounts[0].volume.name, "other");
}

#[test]
fn read_only_of_the_volume_beats_that_of_the_mount_point_in_both_directions() {
    for (of_volume, of_point, expected) in
        [(Some(true), false, true), (Some(false), true, false), (None, true, true), (None, false, false)]
    {
        let mut data = volume(r#"{"name":"data","kind":"host","source":"/d"}"#);
        data.read_only = of_volume;

        let result = mounts_of(vec![point("data", "/d", of_point)], &[], &[data]).unwrap();

        assert_eq!(result.mounts[0].volume.read_only, expected, "{of_volume:?} {of_point}");
    }
}

#[test]
fn apps_own_volume_is_not_mixed_up_with_the_pods_volume_of_that_name() {
    let volumes = [volume(r#"{"name":"data","kind":"host","source":"/pod"}"#)];
    let own = volume(r#"{"name":"data","kind":"host","source":"/own","recursive":false}"#);
    let explicit = [Mount { app_volume: Some(own), ..mount("data", "/a") }, mount("data", "/b")];

    let result = mounts_of(vec![], &explicit, &volumes).unwrap();

    let shown: Vec<_> = result.mounts.iter().map(|m| (m.volume.name.as_str(), &m.volume.source)).collect();
    let own = VolumeSource::Host { path: "/own".into(), recursive: false };
    let pods = VolumeSource::Host { path: "/pod".into(), recursive: true };
    assert_eq!(shown, [("db.data", &own), ("data", &pods)]);
}

#[test]
fn volumes_of_an_app_and_of_its_image_are_two_though_they_have_one_name() {
    let own = volume(r#"{"name":"data","kind":"host","source":"/srv"}"#);
    let explicit = Mount { app_volume: Some(own), ..mount("data", "/elsewhere") };

    let result = mounts_of(vec![point("data", "/data", false)], &[explicit], &[]).unwrap();

    let names: Vec<&str> = result.mounts.iter().map(|mount| mount.volume.name.as_str()).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1], "the image's mount point would show the app's directory of the host");
}

#[test]
fn volume_below_anothers_target_comes_after_it_whatever_the_order() {
    let volumes = [volume(r#"{"name":"data","kind":"empty"}"#)];
    let explicit = ["/a/b/c", "/ab", "/a/b", "/a"].map(|path| mount("data", path));

    let result = mounts_of(vec![point("root", "/", false)], &explicit, &volumes).unwrap();

    let targets: Vec<&str> = result.mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(targets, ["/", "/a", "/a/b", "/a/b/c", "/ab"]);
}

#[test]
fn apps_that_bring_an_empty_volume_of_one_name_share_it() {
    let own = volume(r#"{"name":"shared","kind":"empty"}"#);
    let explicit = [Mount { app_volume: Some(own), ..mount("shared", "/a") }];
    let name = |pods: &[Volume]| {
        let result = mounts_of(vec![], &explicit, pods).unwrap();
        result.mounts[0].volume.name.clone()
    };

    assert_eq!(name(&[]), "shared");
    assert_eq!(name(&[volume(r#"{"name":"shared","kind":"empty"}"#)]), "shared");
    assert_eq!(name(&[volume(r#"{"name":"shared","kind":"host","source":"/d"}"#)]), "db.shared");
}
