use guest_api::FileMount;

use super::flags::{HostsMode, ResolvConfMode};
use super::name_files::*;

const UUID: &str = "8c02a2ad-2f1f-4c0d-9b9e-6a0a0c3ba1f2";

fn file(hosts: HostsMode, resolv: ResolvConfMode, target: &str) -> Option<FileMount> {
    let sources = NameSources {
        hosts: b"# own\n127.0.0.1 localhost\n10.0.0.1 db".to_vec(),
        resolv_conf: b"nameserver 9.9.9.9\n".to_vec(),
    };
    generate(UUID, "web", hosts, resolv, &sources).into_iter().find(|file| file.target == target)
}

#[test]
fn machine_id_is_the_pods_uuid_without_dashes() {
    let file = file(HostsMode::Default, ResolvConfMode::Default, "/etc/machine-id").unwrap();

    assert_eq!(file.content, b"8c02a2ad2f1f4c0d9b9e6a0a0c3ba1f2\n");
    assert!(!file.only_if_missing);
}

#[test]
fn default_hosts_name_the_pod_and_leave_the_apps_own_file_alone() {
    let file = file(HostsMode::Default, ResolvConfMode::Default, "/etc/hosts").unwrap();

    let text = String::from_utf8(file.content).unwrap();
    assert!(text.contains("\n127.0.0.1 localhost localhost.domain localhost4 localhost4.localdomain4 web\n"));
    assert!(file.only_if_missing);
}

#[test]
fn host_mode_copies_the_hosts_of_the_host_unchanged() {
    let file = file(HostsMode::Host, ResolvConfMode::Default, "/etc/hosts").unwrap();

    assert_eq!(file.content, b"# own\n127.0.0.1 localhost\n10.0.0.1 db");
    assert!(!file.only_if_missing);
}

#[test]
fn stage0_hosts_get_the_pods_name() {
    let file = file(HostsMode::Stage0, ResolvConfMode::Default, "/etc/hosts").unwrap();

    assert_eq!(file.content, b"# own\n127.0.0.1 localhost web\n10.0.0.1 db\n");
}

#[test]
fn resolv_conf_is_generated_only_when_a_source_was_chosen() {
    for mode in [ResolvConfMode::Default, ResolvConfMode::None] {
        assert_eq!(file(HostsMode::Default, mode, "/etc/resolv.conf"), None);
    }
    for mode in [ResolvConfMode::Host, ResolvConfMode::Stage0] {
        let file = file(HostsMode::Default, mode, "/etc/resolv.conf").unwrap();
        assert_eq!(file.content, b"nameserver 9.9.9.9\n");
    }
}
