use super::DockerReference;

fn canonical(typed: &str) -> String {
    DockerReference::parse(typed).unwrap().to_string()
}

#[test]
fn defaults_are_docker_hub_library_and_latest() {
    assert_eq!(canonical("redis"), "registry-1.docker.io/library/redis:latest");
    assert_eq!(canonical("user/app"), "registry-1.docker.io/user/app:latest");
    assert_eq!(canonical("docker.io/redis:7"), "registry-1.docker.io/library/redis:7");
    assert_eq!(canonical("index.docker.io/library/redis"), "registry-1.docker.io/library/redis:latest");
    assert_eq!(canonical("Docker.IO/redis"), "registry-1.docker.io/library/redis:latest");
}

#[test]
fn a_first_component_with_a_dot_or_a_port_and_localhost_are_hosts() {
    assert_eq!(canonical("quay.io/coreos/etcd:v3"), "quay.io/coreos/etcd:v3");
    assert_eq!(canonical("registry:5000/a"), "registry:5000/a:latest");
    assert_eq!(canonical("localhost/a"), "localhost/a:latest");
    assert_eq!(canonical("localhost:5000/a/b/c:T_1.0-x"), "localhost:5000/a/b/c:T_1.0-x");
    assert_eq!(canonical("[::1]:5000/a"), "[::1]:5000/a:latest");
    assert_eq!(canonical("Registry.Example.com/a"), "registry.example.com/a:latest");
}

#[test]
fn a_digest_stands_alone_or_behind_a_tag_and_is_what_is_asked_for() {
    let digest = format!("sha256:{}", "a".repeat(64));

    let alone = DockerReference::parse(&format!("redis@{digest}")).unwrap();
    let both = DockerReference::parse(&format!("redis:7@{digest}")).unwrap();

    assert_eq!((alone.tag(), alone.wanted(), alone.version()), (None, digest.clone(), digest.clone()));
    assert_eq!((both.tag(), both.wanted(), both.version()), (Some("7"), digest, "7".to_owned()));
    assert!(!alone.is_latest() && !both.is_latest());
    assert!(DockerReference::parse("redis").unwrap().is_latest());
    assert!(DockerReference::parse("redis:latest").unwrap().is_latest());
}

#[test]
fn the_converted_name_is_host_and_repository() {
    let name = |typed| DockerReference::parse(typed).unwrap().image_name().unwrap().to_string();

    assert_eq!(name("busybox:1"), "registry-1.docker.io/library/busybox");
    assert_eq!(name("quay.io/coreos/etcd"), "quay.io/coreos/etcd");
    assert_eq!(name("localhost:5000/a__b"), "localhost_5000/a_b");
    assert_eq!(DockerReference::parse("busybox").unwrap().docker_name(), "docker.io/library/busybox");
}

#[test]
fn what_docker_refuses_is_refused() {
    let long = format!("quay.io/{}", "a/".repeat(150));
    let long_tag = format!("redis:{}", "t".repeat(129));
    let cases = [
        "",
        "/",
        ":tag",
        "redis:",
        "redis:-tag",
        "redis:a b",
        "redis:a/b",
        "Redis",
        "quay.io/Redis",
        "quay.io/",
        "quay.io//a",
        "quay.io/a/",
        "quay.io/a..b",
        "quay.io/a___b",
        "quay.io/a-_b",
        "quay.io/-a",
        "quay.io/a-",
        "quay.io/../a",
        "quay.io/a?b",
        "quay.io/a%2fb",
        "quay.io:x/a",
        "quay.io:0/a",
        "quay.io:99999/a",
        "quay.io:+1/a",
        "-quay.io/a",
        "quay..io/a",
        "user@quay.io/a",
        "[::1/a",
        "redis@sha256:abc",
        "redis@md5:d41d8cd98f00b204e9800998ecf8427e",
        "redis@",
        "ré/dis",
        "a\nb",
        &long,
        &long_tag,
    ];

    for case in cases {
        assert!(DockerReference::parse(case).is_err(), "{case:?}");
    }
}

#[test]
fn an_upper_case_name_is_refused_in_words() {
    let error = DockerReference::parse("Redis").unwrap_err().to_string();

    assert!(error.contains("lower case"), "{error}");
}
