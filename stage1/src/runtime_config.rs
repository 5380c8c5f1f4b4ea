//! `runtime-config`: how the pod was started, for the entrypoints that come later.
//!
//! Responsible for: rkt's names for the `run` entrypoint's flags. Must not know: what they lead to. Follows rkt-reference 2.2.

use serde_json::json;

use crate::flags::{HostsMode, IpcMode, ResolvConfMode, RunFlags};

/// The content of the file.
pub fn text(flags: &RunFlags) -> String {
    let networks: Vec<String> = flags
        .networks
        .iter()
        .map(|network| match network.arguments.as_str() {
            "" => network.name.clone(),
            arguments => format!("{}:{arguments}", network.name),
        })
        .collect();
    let private_users =
        flags.private_users.map(|(shift, count)| format!("{shift}:{count}")).unwrap_or_default();
    json!({
        "MetadataServiceURL": "",
        "PrivateUsers": private_users,
        "MDSToken": flags.mds_token.as_deref().unwrap_or_default(),
        "Hostname": flags.hostname.as_deref().unwrap_or_default(),
        "Debug": flags.debug,
        "Mutable": flags.mutable,
        "ResolvConfMode": match flags.resolv_conf {
            ResolvConfMode::Default => "default",
            ResolvConfMode::Host => "host",
            ResolvConfMode::Stage0 => "stage0",
            ResolvConfMode::None => "none",
        },
        "EtcHostsMode": match flags.hosts {
            HostsMode::Default => "default",
            HostsMode::Host => "host",
            HostsMode::Stage0 => "stage0",
        },
        "NetList": networks.join(","),
        "Interactive": flags.interactive,
        "InsecureOptions": {
            "DisablePaths": flags.disable_paths,
            "DisableCapabilities": flags.disable_capabilities_restriction,
            "DisableSeccomp": flags.disable_seccomp,
        },
        "IPCMode": match flags.ipc {
            IpcMode::Private => "private",
            IpcMode::Parent => "parent",
        },
    })
    .to_string()
}
