use super::convert::{Converted, Origin, convert};
use super::{Digest, ImageConfig, OciError};

fn origin() -> Origin {
    Origin {
        name: "registry-1.docker.io/library/app".parse().unwrap(),
        version: Some("7".to_owned()),
        original_name: "app:7".to_owned(),
        registry: "registry-1.docker.io".to_owned(),
        repository: "library/app".to_owned(),
        tag: "7".to_owned(),
        manifest: Digest::sha256(b"manifest"),
        config: Digest::sha256(b"config"),
    }
}

fn converted(json: &str) -> Result<Converted, OciError> {
    convert(&origin(), &ImageConfig::from_json("configuration", json.as_bytes())?)
}

/// The converted form of a configuration with this `config` section.
fn with_config(section: &str) -> Result<Converted, OciError> {
    converted(&format!(r#"{{"os":"linux","architecture":"amd64","config":{section}}}"#))
}

#[test]
fn a_whole_configuration_becomes_the_manifest_of_the_table() {
    let config = r#"{
        "created": "2026-10-01T12:00:00.5Z", "author": "A <a@example.com>", "comment": "built",
        "architecture": "amd64", "os": "linux", "docker_version": "27", "unknown": {"a": [1, 2]},
        "config": {
            "User": "www:web", "ExposedPorts": {"443/tcp": {}, "53/UDP": {}, "80": {}},
            "Env": ["PATH=/bin", "A=1", "B", "A=2=3", "EMPTY="],
            "Entrypoint": ["/entry"], "Cmd": ["-c", "x"],
            "Volumes": {"/data": {}, "/var/lib/db/": {}}, "WorkingDir": "/srv",
            "Labels": {"maintainer": "me"}, "StopSignal": "SIGQUIT", "Healthcheck": {"Test": ["NONE"]}
        },
        "rootfs": {"type": "layers", "diff_ids": []}, "history": [{"empty_layer": true}]
    }"#;

    let Converted { manifest, warnings } = converted(config).unwrap();

    let expected = serde_json::json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": "registry-1.docker.io/library/app",
        "labels": [
            {"name": "arch", "value": "amd64"},
            {"name": "os", "value": "linux"},
            {"name": "version", "value": "7"}
        ],
        "app": {
            "exec": ["/entry", "-c", "x"],
            "user": "www",
            "group": "web",
            "workingDirectory": "/srv",
            "environment": [
                {"name": "PATH", "value": "/bin"},
                {"name": "A", "value": "2=3"},
                {"name": "EMPTY", "value": ""}
            ],
            "mountPoints": [
                {"name": "volume-data", "path": "/data"},
                {"name": "volume-var-lib-db", "path": "/var/lib/db/"}
            ],
            "ports": [
                {"name": "443-tcp", "protocol": "tcp", "port": 443, "count": 1, "socketActivated": false},
                {"name": "53-udp", "protocol": "udp", "port": 53, "count": 1, "socketActivated": false},
                {"name": "80", "protocol": "tcp", "port": 80, "count": 1, "socketActivated": false}
            ],
            "userLabels": {"maintainer": "me"}
        },
        "annotations": [
            {"name": "author", "value": "A <a@example.com>"},
            {"name": "created", "value": "2026-10-01T12:00:00.5Z"},
            {"name": "docker-comment", "value": "built"},
            {"name": "appc.io/docker/originalname", "value": "app:7"},
            {"name": "appc.io/docker/registryurl", "value": "registry-1.docker.io"},
            {"name": "appc.io/docker/repository", "value": "library/app"},
            {"name": "appc.io/docker/tag", "value": "7"},
            {"name": "appc.io/docker/imageid", "value": Digest::sha256(b"config").to_string()},
            {"name": "appc.io/docker/manifesthash", "value": Digest::sha256(b"manifest").to_string()},
            {"name": "appc.io/docker/entrypoint", "value": "[\"/entry\"]"},
            {"name": "appc.io/docker/cmd", "value": "[\"-c\",\"x\"]"},
            {"name": "appc.io/docker/stopsignal", "value": "SIGQUIT"}
        ]
    });
    assert_eq!(serde_json::to_value(&manifest).unwrap(), expected);
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn an_empty_configuration_runs_nothing_as_root_in_the_root_directory() {
    for section in ["{}", "null", r#"{"User":"","Env":null,"Cmd":null,"Entrypoint":null,"Volumes":null}"#] {
        let app = with_config(section).unwrap().manifest.app.unwrap();

        assert!(app.exec.is_empty() && app.environment.is_empty() && app.mount_points.is_empty());
        assert_eq!((app.user.as_str(), app.group.as_str()), ("0", "0"));
        assert_eq!(app.working_directory, None);
    }
}

#[test]
fn a_group_that_is_missing_is_called_as_the_user() {
    let ids = |user: &str| {
        let app = with_config(&format!(r#"{{"User":"{user}"}}"#)).unwrap().manifest.app.unwrap();
        (app.user, app.group)
    };

    assert_eq!(ids("redis"), ("redis".to_owned(), "redis".to_owned()));
    assert_eq!(ids("1000:"), ("1000".to_owned(), "1000".to_owned()));
    assert_eq!(ids(":5"), ("0".to_owned(), "5".to_owned()));
}

#[test]
fn volumes_whose_names_clash_are_numbered() {
    let app =
        with_config(r#"{"Volumes":{"/a/b":{},"/a-b":{},"/a_b":{},"rel":{}}}"#).unwrap().manifest.app.unwrap();

    let mut points: Vec<_> =
        app.mount_points.iter().map(|point| (point.name.as_str(), point.path.as_str())).collect();
    points.sort_by_key(|(_, path)| *path);
    assert_eq!(
        points,
        [("volume-a-b", "/a-b"), ("volume-a-b-1", "/a/b"), ("volume-a-b-2", "/a_b"), ("volume-rel", "/rel")]
    );
}

#[test]
fn a_relative_working_directory_is_below_the_root() {
    let app = with_config(r#"{"WorkingDir":"srv/app"}"#).unwrap().manifest.app.unwrap();

    assert_eq!(app.working_directory.as_deref(), Some("/srv/app"));
}

#[test]
fn a_variable_that_no_manifest_can_name_is_left_out_with_a_warning() {
    let Converted { manifest, warnings } = with_config(r#"{"Env":["my var=1","OK=2","=x"]}"#).unwrap();

    let names: Vec<_> = manifest.app.unwrap().environment.into_iter().map(|variable| variable.name).collect();
    assert_eq!(names, ["OK"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn ports_that_are_none_are_refused_by_name() {
    for port in ["8000-8010/tcp", "http/tcp", "0/tcp", "70000/tcp", "+80", "/tcp", ""] {
        let error = with_config(&format!(r#"{{"ExposedPorts":{{"{port}":{{}}}}}}"#)).unwrap_err();

        assert!(matches!(error, OciError::Unsupported { .. }), "{port}: {error}");
    }
}

#[test]
fn architectures_have_the_names_of_the_schema() {
    let arch = |architecture: &str, variant: &str| {
        let json = format!(r#"{{"os":"linux","architecture":"{architecture}","variant":"{variant}"}}"#);
        Some(converted(&json).ok()?.manifest.labels.get("arch")?.to_owned())
    };

    assert_eq!(arch("arm64", "v8").as_deref(), Some("aarch64"));
    assert_eq!(arch("arm", "v7").as_deref(), Some("armv7l"));
    assert_eq!(arch("arm", "v6").as_deref(), Some("armv6l"));
    assert_eq!(arch("386", "").as_deref(), Some("i386"));
    assert_eq!(arch("riscv64", ""), None);
}

#[test]
fn a_creation_time_that_is_none_is_left_out() {
    let manifest =
        converted(r#"{"os":"linux","architecture":"amd64","created":"yesterday"}"#).unwrap().manifest;

    assert_eq!(manifest.annotations.get("created"), None);
}
