//! The files that tell an app who it is and where names are resolved: /etc/machine-id, /etc/hosts, /etc/resolv.conf.
//!
//! Responsible for: their contents. Must not know: how they get into the app, and /etc/hostname, which is the guest
//! kernel's own. Follows rkt-reference 6.6 and 9.7, machine-id(5).

use guest_api::FileMount;

use crate::flags::{HostsMode, ResolvConfMode};

/// What an app without an /etc/hosts of its own gets.
const HOSTS_FALLBACK: &str = "\
# This is the default rkt /etc/hosts
127.0.0.1 localhost localhost.domain localhost4 localhost4.localdomain4

::1 ip6-localhost ip6-loopback localhost6 localhost6.localdomain6
fe00::0 ip6-localnet
ff00::0 ip6-mcastprefix
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
ff02::3 ip6-allhosts
";

/// The file to take instead of a generated one, already read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSources {
    /// `/etc/hosts` of the host or `etc/rkt-hosts` of stage0, as the mode asks; unused for [`HostsMode::Default`].
    pub hosts: Vec<u8>,
    /// `/etc/resolv.conf` of the host or `etc/rkt-resolv.conf` of stage0; unused for the two other modes.
    pub resolv_conf: Vec<u8>,
}

/// The generated files of every app of the pod.
pub fn generate(
    uuid: &str,
    hostname: &str,
    hosts: HostsMode,
    resolv: ResolvConfMode,
    sources: &NameSources,
) -> Vec<FileMount> {
    // machine-id(5): pods of one image are different machines, whatever the image holds.
    let mut files = vec![FileMount {
        target: "/etc/machine-id".into(),
        content: format!("{}\n", uuid.replace('-', "")).into_bytes(),
        only_if_missing: false,
    }];
    files.push(match hosts {
        HostsMode::Default => FileMount {
            target: "/etc/hosts".into(),
            content: with_hostname(HOSTS_FALLBACK.as_bytes(), hostname),
            only_if_missing: true,
        },
        HostsMode::Host => {
            FileMount { target: "/etc/hosts".into(), content: sources.hosts.clone(), only_if_missing: false }
        }
        HostsMode::Stage0 => FileMount {
            target: "/etc/hosts".into(),
            content: with_hostname(&sources.hosts, hostname),
            only_if_missing: false,
        },
    });
    match resolv {
        ResolvConfMode::Host | ResolvConfMode::Stage0 => files.push(FileMount {
            target: "/etc/resolv.conf".into(),
            content: sources.resolv_conf.clone(),
            only_if_missing: false,
        }),
        ResolvConfMode::Default | ResolvConfMode::None => {}
    }
    files
}

/// Appends the host name to the first line of 127.0.0.1; adds such a line where there is none.
fn with_hostname(hosts: &[u8], hostname: &str) -> Vec<u8> {
    let mut named = Vec::with_capacity(hosts.len() + hostname.len() + 16);
    let mut done = false;
    for line in hosts.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        named.extend_from_slice(text);
        let is_loopback = text
            .strip_prefix(b"127.0.0.1")
            .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_whitespace));
        if is_loopback && !done {
            named.push(b' ');
            named.extend_from_slice(hostname.as_bytes());
            done = true;
        }
        named.push(b'\n');
    }
    if !done {
        named.extend_from_slice(format!("127.0.0.1 localhost {hostname}\n").as_bytes());
    }
    named
}
