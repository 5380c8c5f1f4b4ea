//! stage1's programs get their arguments in rkt's order.

use std::path::Path;

use appc::ImageManifest;

use super::call::{RunOptions, gc_arguments, run_arguments};
use super::{Entrypoint, Stage1Manifest};
use crate::cli::insecure::InsecureOptions;
use crate::log::Log;

const UUID: &str = "5bc080ca-2d04-4b2b-8b7c-9b2f0d5f6a11";

fn options() -> RunOptions<'static> {
    RunOptions {
        debug: true,
        networks: "default".to_owned(),
        egress: Some("allow:10.0.0.0/8:443"),
        hypervisor: Some("net-tx-bytes=1000"),
        interactive: true,
        private_users: Some("1000000:65536"),
        mds_token: Some("0123456789abcdef0123456789abcdef".to_owned()),
        local_config: Path::new("/etc/rkt"),
        hostname: Some("db"),
        dns_conf_mode: Some("resolv=host,hosts=default".to_owned()),
        insecure: InsecureOptions::parse("all-run").unwrap(),
        mutable: true,
        ipc: Some("private"),
    }
}

fn manifest(annotations: &str) -> ImageManifest {
    let text = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/s","annotations":[{annotations}]}}"#
    );
    ImageManifest::from_json(text.as_bytes()).unwrap()
}

#[test]
fn run_gets_every_applicable_argument_in_order() {
    let arguments = run_arguments(&options(), 6, UUID, Log::new("run", false));

    assert_eq!(
        arguments,
        [
            "--debug",
            "--net=default",
            "--egress=allow:10.0.0.0/8:443",
            "--hypervisor-options=net-tx-bytes=1000",
            "--interactive",
            "--private-users=1000000:65536",
            "--mds-token=0123456789abcdef0123456789abcdef",
            "--local-config=/etc/rkt",
            "--hostname=db",
            "--dns-conf-mode=resolv=host,hosts=default",
            "--disable-capabilities-restriction",
            "--disable-paths",
            "--disable-seccomp",
            "--mutable",
            "--ipc=private",
            UUID
        ]
    );
}

#[test]
fn an_old_stage1_gets_only_what_it_knows() {
    let mut options = options();
    (options.private_users, options.mds_token, options.mutable) = (None, None, false);
    (options.egress, options.hypervisor) = (None, None);

    let count = |interface| run_arguments(&options, interface, UUID, Log::new("run", false)).len();
    let first = run_arguments(&options, 1, UUID, Log::new("run", false));

    assert_eq!(first, ["--debug", "--net=default", "--interactive", "--local-config=/etc/rkt", UUID]);
    assert_eq!([count(2), count(3), count(4), count(5), count(6)], [6, 9, 10, 10, 11]);
}

#[test]
fn gc_gets_the_configuration_as_two_arguments_from_version_five() {
    let config = Path::new("/etc/rkt");

    assert_eq!(gc_arguments(true, config, 5, UUID), ["--debug", "--local-config", "/etc/rkt", UUID]);
    assert_eq!(gc_arguments(false, config, 4, UUID), [UUID]);
}

#[test]
fn entrypoints_come_from_annotations_and_stay_below_the_root() {
    let good = manifest(r#"{"name":"coreos.com/rkt/stage1/run","value":"/init"}"#);
    let bad = manifest(r#"{"name":"coreos.com/rkt/stage1/run","value":"/../../bin/sh"}"#);

    assert_eq!(Stage1Manifest(&good).entrypoint(Entrypoint::Run).unwrap(), "init");
    assert_eq!(
        Stage1Manifest(&good).entrypoint(Entrypoint::Gc).unwrap_err().to_string(),
        "entrypoint \"gc\" not found"
    );
    assert!(Stage1Manifest(&bad).entrypoint(Entrypoint::Run).is_err());
}

#[test]
fn interface_version_defaults_to_one_and_must_be_a_number() {
    let six = manifest(r#"{"name":"coreos.com/rkt/stage1/interface-version","value":"6"}"#);
    let words = manifest(r#"{"name":"coreos.com/rkt/stage1/interface-version","value":"six"}"#);

    assert_eq!(Stage1Manifest(&manifest("")).interface_version().unwrap(), 1);
    assert_eq!(Stage1Manifest(&six).interface_version().unwrap(), 6);
    assert!(Stage1Manifest(&words).interface_version().is_err());
}
