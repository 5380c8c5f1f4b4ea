use super::flags::*;

const UUID: &str = "8fd9fb5a-2a4d-4f2d-a7d8-0f2b0a6a1c11";

fn run(arguments: &[&str]) -> Result<RunFlags, FlagError> {
    RunFlags::parse(arguments.iter().map(|text| text.to_string()))
}

#[test]
fn run_parses_every_flag_of_interface_version_6() {
    let flags = run(&[
        "--debug",
        "--net=default,web:IP=10.0.0.5;K=V",
        "--interactive",
        "--private-users=65536:131072",
        "--mds-token=0123",
        "--local-config=/etc/rkt",
        "--hostname=db",
        "--dns-conf-mode=resolv=host,hosts=stage0",
        "--disable-capabilities-restriction",
        "--disable-paths",
        "--disable-seccomp",
        "--mutable",
        "--ipc=parent",
        UUID,
    ])
    .unwrap();

    let network =
        |name: &str, arguments: &str| NetworkRequest { name: name.into(), arguments: arguments.into() };
    assert_eq!(
        flags,
        RunFlags {
            debug: true,
            networks: vec![network("default", ""), network("web", "IP=10.0.0.5;K=V")],
            interactive: true,
            private_users: Some((65536, 131072)),
            mds_token: Some("0123".into()),
            local_config: Some("/etc/rkt".into()),
            hostname: Some("db".into()),
            resolv_conf: ResolvConfMode::Host,
            hosts: HostsMode::Stage0,
            disable_capabilities_restriction: true,
            disable_paths: true,
            disable_seccomp: true,
            mutable: true,
            ipc: IpcMode::Parent,
            uuid: UUID.parse().unwrap(),
        }
    );
}

#[test]
fn value_may_follow_as_an_argument_of_its_own() {
    let flags = GcFlags::parse(["--local-config", "/etc/rkt", UUID].map(String::from)).unwrap();

    assert_eq!(flags.local_config, Some("/etc/rkt".into()));
}

#[test]
fn unknown_flag_is_refused() {
    assert_eq!(run(&["--vnc", UUID]), Err(FlagError::Unknown("--vnc".into())));
}

#[test]
fn boolean_flag_accepts_false() {
    assert!(!run(&["--debug=false", UUID]).unwrap().debug);
}

#[test]
fn boolean_flag_refuses_other_values() {
    assert!(matches!(run(&["--debug=maybe", UUID]), Err(FlagError::InvalidValue { .. })));
}

#[test]
fn pod_must_be_named_once_and_properly() {
    assert_eq!(run(&["--net=none"]), Err(FlagError::MissingUuid));
    assert_eq!(run(&["../etc"]), Err(FlagError::MalformedUuid("../etc".into())));
    assert_eq!(run(&[UUID, "x"]), Err(FlagError::TrailingArgument("x".into())));
}

#[test]
fn malformed_values_are_refused() {
    for argument in ["--private-users=1", "--dns-conf-mode=resolv=maybe", "--ipc=shared"] {
        assert!(matches!(run(&[argument, UUID]), Err(FlagError::InvalidValue { .. })), "{argument}");
    }
    assert_eq!(run(&["--net"]), Err(FlagError::MissingValue("--net")));
}
