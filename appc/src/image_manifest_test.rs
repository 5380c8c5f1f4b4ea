use serde_json::json;

use crate::{AppcError, ImageManifest, MAX_MANIFEST_BYTES, check_host, check_os_arch};

fn manifest(change: impl FnOnce(&mut serde_json::Value)) -> Result<ImageManifest, AppcError> {
    let mut value = json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/redis",
        "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
        "app": {"exec": ["/redis-server"], "user": "0", "group": "0"},
    });
    change(&mut value);
    ImageManifest::from_json(value.to_string().as_bytes())
}

#[test]
fn manifest_is_written_as_rkt_writes_it() {
    let text = manifest(|_| {}).map(|m| serde_json::to_string(&m).unwrap()).unwrap();
    assert_eq!(
        text,
        r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/redis","labels":[{"name":"arch","value":"amd64"},{"name":"os","value":"linux"}],"app":{"exec":["/redis-server"],"user":"0","group":"0"}}"#
    );
}

#[test]
fn unknown_kind_is_refused_with_the_kind_that_was_expected() {
    let error = manifest(|m| m["acKind"] = json!("PodManifest")).unwrap_err().to_string();
    assert!(error.contains("missing or bad ACKind (must be \"ImageManifest\")"), "{error}");
}

#[test]
fn missing_name_is_refused() {
    let error = manifest(|m| drop(m.as_object_mut().unwrap().remove("name"))).unwrap_err().to_string();
    assert!(error.contains("missing field `name`"), "{error}");
}

#[test]
fn bad_name_is_refused_with_the_place_it_stands() {
    let error = manifest(|m| m["name"] = json!("Not A Name")).unwrap_err().to_string();
    assert!(error.contains("invalid AC identifier \"Not A Name\""), "{error}");
    assert!(error.contains("[HERE]"), "{error}");
}

#[test]
fn nulls_mean_absent_as_in_go() {
    let m = manifest(|m| {
        m["annotations"] = json!(null);
        m["dependencies"] = json!(null);
        m["app"]["exec"] = json!(null);
        m["app"]["workingDirectory"] = json!("");
    });
    assert!(m.unwrap().app.unwrap().exec.is_empty());
}

#[test]
fn unknown_fields_and_isolators_are_accepted() {
    let m = manifest(|m| {
        m["future"] = json!(1);
        m["app"]["isolators"] = json!([{"name": "os/linux/future", "value": {"x": [1]}}]);
    });
    assert_eq!(m.unwrap().app.unwrap().isolators.len(), 1);
}

#[test]
fn app_without_user_or_group_is_refused() {
    assert_eq!(manifest(|m| m["app"]["user"] = json!("")), Err(AppcError::MissingUser));
    assert_eq!(
        manifest(|m| drop(m["app"].as_object_mut().unwrap().remove("group"))),
        Err(AppcError::MissingGroup)
    );
}

#[test]
fn duplicate_labels_and_the_label_name_are_refused() {
    let twice = json!([{"name": "os", "value": "linux"}, {"name": "os", "value": "linux"}]);
    assert!(
        manifest(|m| m["labels"] = twice)
            .unwrap_err()
            .to_string()
            .contains("duplicate labels of name \"os\"")
    );
    let reserved = json!([{"name": "name", "value": "x"}]);
    assert!(
        manifest(|m| m["labels"] = reserved)
            .unwrap_err()
            .to_string()
            .contains("invalid label name: \"name\"")
    );
}

#[test]
fn duplicate_environment_and_bad_names_are_refused() {
    let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    assert_eq!(
        manifest(|m| m["app"]["environment"] = twice),
        Err(AppcError::DuplicateEnvironment("A".to_owned()))
    );
    let bad = json!([{"name": "1A", "value": "1"}]);
    assert_eq!(
        manifest(|m| m["app"]["environment"] = bad),
        Err(AppcError::InvalidEnvironmentName("1A".to_owned()))
    );
}

#[test]
fn missing_labels_are_named() {
    let no_os = manifest(|m| m["labels"] = json!([{"name": "arch", "value": "amd64"}])).unwrap();
    assert_eq!(
        check_os_arch(&no_os.labels).unwrap_err().to_string(),
        "missing os label in the image manifest"
    );
    let no_arch = manifest(|m| m["labels"] = json!([{"name": "os", "value": "linux"}])).unwrap();
    assert_eq!(
        check_os_arch(&no_arch.labels).unwrap_err().to_string(),
        "missing arch label in the image manifest"
    );
}

#[test]
fn wrong_os_and_arch_are_named_with_what_would_be_right() {
    let labels = |os: &str, arch: &str| {
        manifest(|m| m["labels"] = json!([{"name": "os", "value": os}, {"name": "arch", "value": arch}]))
            .unwrap()
            .labels
    };
    assert_eq!(
        check_os_arch(&labels("plan9", "amd64")).unwrap_err().to_string(),
        "bad os \"plan9\" (must be one of: [linux])"
    );
    assert_eq!(
        check_os_arch(&labels("linux", "vax")).unwrap_err().to_string(),
        "bad arch \"vax\" for linux (must be one of: [amd64 i386 aarch64 aarch64_be armv6l armv7l armv7b ppc64le])"
    );
    assert!(check_os_arch(&labels("linux", "aarch64")).is_ok());
    assert_eq!(
        check_host(&labels("linux", "aarch64")).unwrap_err().to_string(),
        "image is for linux/aarch64, but this host can only run linux/amd64"
    );
    assert!(check_host(&labels("linux", "i386")).is_err(), "the guest kernel has no 32-bit system calls");
    assert!(check_host(&labels("linux", "amd64")).is_ok());
}

#[test]
fn huge_manifest_is_refused_before_it_is_decoded() {
    let huge = vec![b' '; MAX_MANIFEST_BYTES + 1];
    assert!(matches!(ImageManifest::from_json(&huge), Err(AppcError::TooLarge { .. })));
}

#[test]
fn ports_outside_the_range_are_refused() {
    let port =
        |port: u32, count: u32| json!([{"name": "p", "protocol": "tcp", "port": port, "count": count}]);
    assert!(manifest(|m| m["app"]["ports"] = port(65535, 1)).is_ok());
    for (first, count) in [(0, 1), (65536, 1), (65535, 2), (1, 0)] {
        assert!(matches!(
            manifest(|m| m["app"]["ports"] = port(first, count)),
            Err(AppcError::InvalidPort { .. })
        ));
    }
}
