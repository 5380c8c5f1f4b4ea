use super::AppcName;

#[test]
fn name_version_and_labels_are_told_apart() {
    let name: AppcName = "example.com/redis:7.0,arch=amd64".parse().unwrap();
    assert_eq!(name.name.as_str(), "example.com/redis");
    assert_eq!((name.labels.get("version"), name.labels.get("arch")), (Some("7.0"), Some("amd64")));
    assert_eq!(name.to_string(), "example.com/redis:7.0,arch=amd64");
    assert_eq!(name.labels_on_host().unwrap().get("os"), Some("linux"));
}

#[test]
fn malformed_names_are_refused_with_a_reason() {
    for bad in ["", "UPPER", "a.com/b,arch", "a.com/b:1,version=2", "a.com/b,arch=1,arch=2", "a.com/b,name=x"]
    {
        let error = bad.parse::<AppcName>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("invalid image string {bad:?}: ")), "{error}");
    }
}
