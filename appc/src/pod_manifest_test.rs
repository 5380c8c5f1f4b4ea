use serde_json::json;

use crate::{AcVersion, AppcError, PodManifest};

#[test]
fn empty_lists_of_a_pod_are_written_as_null() {
    let pod = PodManifest::new("2.0.0-alpha.1".parse::<AcVersion>().unwrap());

    let text = serde_json::to_string(&pod).unwrap();

    assert_eq!(
        text,
        r#"{"acVersion":"2.0.0-alpha.1","acKind":"PodManifest","apps":[],"volumes":null,"isolators":null,"annotations":null,"ports":null}"#
    );
    assert_eq!(PodManifest::from_json(text.as_bytes()), Ok(pod));
}

#[test]
fn pod_that_rkt_wrote_survives_reading_and_writing() {
    let text = concat!(
        r#"{"acVersion":"1.30.0","acKind":"PodManifest","apps":[{"name":"nginx","image":{"name":"registry-1.docker.io/library/nginx","#,
        r#""id":"sha512-00","labels":[{"name":"arch","value":"amd64"},{"name":"os","value":"linux"}]},"#,
        r#""app":{"exec":["nginx"],"user":"0","group":"0","environment":[{"name":"PATH","value":"/bin"}],"#,
        r#""ports":[{"name":"80-tcp","protocol":"tcp","port":80,"count":1,"socketActivated":false}],"#,
        r#""isolators":[{"name":"resource/memory","value":{"default":false,"request":"256M","limit":"256M"}}]},"#,
        r#""readOnlyRootFS":true,"mounts":[{"volume":"data","path":"/d"}]}],"#,
        r#""volumes":[{"name":"data","kind":"host","source":"/srv/d","readOnly":true}],"isolators":null,"#,
        r#""annotations":[{"name":"coreos.com/rkt/stage1/mutable","value":"false"}],"#,
        r#""ports":[{"name":"80-tcp","hostPort":8080,"hostIP":"127.0.0.1"}]}"#
    );

    let pod = PodManifest::from_json(text.as_bytes()).unwrap();

    assert_eq!(serde_json::to_string(&pod).unwrap(), text);
    let memory = pod.app("nginx").unwrap().app.as_ref().unwrap().isolator("resource/memory").unwrap();
    assert_eq!(memory.limit().unwrap().value(), 256_000_000);
}

#[test]
fn two_apps_of_one_name_are_refused() {
    let app = json!({"name": "a", "image": {"id": "sha512-00"}});
    let pod = json!({"acVersion": "1.0.0", "acKind": "PodManifest", "apps": [app, app]});
    assert_eq!(
        PodManifest::from_json(pod.to_string().as_bytes()),
        Err(AppcError::DuplicateApp("a".to_owned()))
    );
}

#[test]
fn volumes_with_contradictions_are_refused() {
    for volume in [
        json!({"name": "v", "kind": "host"}),
        json!({"name": "v", "kind": "host", "source": "relative"}),
        json!({"name": "v", "kind": "empty", "source": "/x"}),
        json!({"name": "v", "kind": "empty", "mode": "9"}),
        json!({"name": "v", "kind": "host", "source": "/x", "uid": 1}),
    ] {
        let pod = json!({"acVersion": "1.0.0", "acKind": "PodManifest", "volumes": [volume]});
        assert!(
            matches!(
                PodManifest::from_json(pod.to_string().as_bytes()),
                Err(AppcError::InvalidVolume { .. })
            ),
            "{pod}"
        );
    }
}
