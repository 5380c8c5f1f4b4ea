use super::flags::*;
use super::hypervisor_options::HypervisorOptions;

const UUID: &str = "8fd9fb5a-2a4d-4f2d-a7d8-0f2b0a6a1c11";

fn run(arguments: &[&str]) -> Result<RunFlags, FlagError> {
    RunFlags::parse(arguments.iter().map(|text| text.to_string()))
}

#[test]
fn run_parses_every_flag_of_interface_version_6() {
    let flags = run(&[
        "--debug",
        "--net=default,web:IP=10.0.0.5;K=V",
        "--egress=allow:tcp:10.0.0.0/8:443",
        "--hypervisor-options=vhost-net",
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
            egress: Some(vec!["tcp:10.0.0.0/8:443".parse().unwrap()]),
            hypervisor: HypervisorOptions { vhost_net: true, ..HypervisorOptions::default() },
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

fn enter(arguments: &[&str]) -> Result<EnterFlags, FlagError> {
    EnterFlags::parse(arguments.iter().map(Into::into))
}

#[test]
fn enter_takes_what_follows_two_dashes_to_the_letter() {
    let flags = enter(&["--pid=42", "--appname=web", "--", "sh", "-c", "--pid=1", "--", ""]).unwrap();

    assert_eq!(flags.pid.as_raw_nonzero().get(), 42);
    assert_eq!(flags.app, "web");
    assert_eq!(flags.command, ["sh", "-c", "--pid=1", "--", ""]);
}

#[test]
fn enter_refuses_a_command_line_that_names_no_process_app_or_command() {
    assert_eq!(enter(&["--appname=web", "--", "sh"]), Err(FlagError::MissingPid));
    assert_eq!(enter(&["--pid=1", "--", "sh"]), Err(FlagError::MissingApp));
    assert_eq!(enter(&["--pid=1", "--appname=web"]), Err(FlagError::MissingCommand));
    assert_eq!(enter(&["--pid=1", "sh"]), Err(FlagError::Unknown("sh".into())));
    for pid in ["0", "-1", "x", "99999999999"] {
        let result = enter(&[&format!("--pid={pid}"), "--appname=web", "--", "sh"]);
        assert!(matches!(result, Err(FlagError::InvalidValue { flag: "--pid", .. })), "{result:?}");
    }
}

#[test]
fn enter_refuses_an_argument_that_cannot_reach_the_guest_unharmed() {
    use std::os::unix::ffi::OsStringExt;
    let odd = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    let arguments =
        ["--pid=1", "--appname=web", "--", "echo"].map(Into::into).into_iter().chain([odd.clone()]);

    assert_eq!(EnterFlags::parse(arguments), Err(FlagError::NotUtf8(odd)));
}

#[test]
fn stop_knows_force_and_the_pod() {
    let stop = |arguments: &[&str]| StopFlags::parse(arguments.iter().map(|text| text.to_string()));

    assert_eq!(stop(&[UUID]), Ok(StopFlags { force: false, uuid: UUID.parse().unwrap() }));
    assert_eq!(stop(&["--force", UUID]), Ok(StopFlags { force: true, uuid: UUID.parse().unwrap() }));
    assert_eq!(stop(&["--force"]), Err(FlagError::MissingUuid));
    assert_eq!(stop(&["--now", UUID]), Err(FlagError::Unknown("--now".into())));
}

#[test]
fn run_is_told_whom_the_pod_may_call() {
    assert_eq!(run(&[UUID]).unwrap().egress, None);
    assert_eq!(run(&["--egress=deny", UUID]).unwrap().egress, Some(Vec::new()));
    for value in ["", "allow", "allow:", "allow:example.com", "deny:10.0.0.1", "10.0.0.1"] {
        let error = run(&[&format!("--egress={value}"), UUID]).unwrap_err();

        assert!(error.to_string().starts_with(&format!("flag --egress: invalid value {value:?}")), "{error}");
    }
}
