use super::Reference;

fn kind(text: &str) -> &'static str {
    match Reference::parse(text) {
        Ok(Reference::Name(_)) => "name",
        Ok(Reference::File(_)) => "file",
        Ok(Reference::Url(_)) => "url",
        Ok(Reference::Docker(_)) => "docker",
        Err(_) => "error",
    }
}

#[test]
fn image_strings_mean_what_they_mean_in_rkt() {
    for (text, wanted) in [
        ("/tmp/x.aci", "file"),
        ("./x.aci", "file"),
        ("x.aci", "file"),
        ("file:///tmp/x.aci", "file"),
        ("https://a.com/x.aci", "url"),
        ("http://a.com/x.aci?a=b", "url"),
        ("docker://redis:7", "docker"),
        ("docker:redis", "docker"),
        ("a.com/redis", "name"),
        ("a.com/redis:7.0", "name"),
        ("redis:7.0,arch=amd64", "name"),
        ("/tmp/x.tar", "error"),
        ("https://a.com/x.tar", "error"),
        ("https://a.com/", "error"),
        ("UPPER", "error"),
    ] {
        assert_eq!(kind(text), wanted, "{text}");
    }
}

#[test]
fn relative_files_become_absolute() {
    let Ok(Reference::File(path)) = Reference::parse("./x.aci") else { panic!("not a file") };
    assert!(path.is_absolute());
}

#[test]
fn docker_reference_loses_its_scheme() {
    assert_eq!(Reference::parse("docker://redis:7").unwrap(), Reference::Docker("redis:7".to_owned()));
}
