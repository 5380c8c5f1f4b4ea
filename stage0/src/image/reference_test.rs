use super::Reference;

fn kind(text: &str) -> &'static str {
    match Reference::parse(text) {
        Ok(Reference::Name(_)) => "name",
        Ok(Reference::File(_)) => "file",
        Ok(Reference::Url(_)) => "url",
        Ok(Reference::Docker(_)) => "docker",
        Ok(Reference::Oci { .. }) => "oci",
        Ok(Reference::OciArchive { .. }) => "oci-archive",
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
        ("docker:", "error"),
        ("oci:layout", "oci"),
        ("oci:", "error"),
        ("oci:layout:", "error"),
        ("oci-archive:a.tar:1.0", "oci-archive"),
        ("cimd:appc:v=0:a.com/redis?version=7.0", "name"),
        ("cimd:aci-archive:v=0:https%3A%2F%2Fa.com%2Fx.aci", "url"),
        ("cimd:aci-archive:v=0:file%3A%2F%2F%2Ftmp%2Fx.aci", "file"),
        ("cimd:aci-archive:v=0:ftp%3A%2F%2Fa.com%2Fx.aci", "error"),
        ("cimd:docker:v=0:redis:7", "docker"),
        ("cimd:docker:v=1:redis:7", "error"),
        ("cimd:tape:v=0:redis", "error"),
        ("cimd:appc", "error"),
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

#[test]
fn tag_of_a_layout_is_what_follows_the_last_colon() {
    let layout =
        |path: &str, tag: Option<&str>| Reference::Oci { path: path.into(), tag: tag.map(str::to_owned) };
    assert_eq!(Reference::parse("oci:/srv/redis:7").unwrap(), layout("/srv/redis", Some("7")));
    assert_eq!(Reference::parse("oci:/srv/redis").unwrap(), layout("/srv/redis", None));
    assert_eq!(Reference::parse("oci:/srv/a:b/redis").unwrap(), layout("/srv/a:b/redis", None));
    assert_eq!(Reference::parse("oci:/srv/a:b/redis:7").unwrap(), layout("/srv/a:b/redis", Some("7")));
}

#[test]
fn layout_whose_name_holds_a_colon_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis:7");
    std::fs::create_dir(&path).unwrap();
    let reference = Reference::parse(&format!("oci:{}", path.display())).unwrap();
    assert_eq!(reference, Reference::Oci { path, tag: None });
}

#[test]
fn distribution_uris_mean_the_same_as_the_short_forms() {
    for (uri, short) in [
        ("cimd:appc:v=0:a.com/redis?version=7.0&arch=arm%2F64", "a.com/redis:7.0,arch=arm/64"),
        ("cimd:aci-archive:v=0:https%3A%2F%2Fa.com%2Fx.aci%3Fa%3Db", "https://a.com/x.aci?a=b"),
        (
            "cimd:docker:v=0:registry-1.docker.io/library/redis:7",
            "docker://registry-1.docker.io/library/redis:7",
        ),
    ] {
        assert_eq!(Reference::parse(uri).unwrap(), Reference::parse(short).unwrap(), "{uri}");
    }
    assert!(Reference::parse("cimd:appc:v=0:a.com/redis?version=1&version=2").is_err());
}

#[test]
fn password_in_a_url_is_refused_and_not_repeated() {
    for url in ["https://user:secret@a.com/x.aci", "https://user:secret@a.com/x.tar"] {
        let error = Reference::parse(url).unwrap_err().to_string();
        assert!(error.contains("auth.d") && !error.contains("secret"), "{error}");
    }
}
