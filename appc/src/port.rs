//! Ports that apps listen on and pods expose.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{AcName, AppcError};

fn one() -> u32 {
    1
}

/// A port, or a range of them, that an app listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its name in the image.
    pub name: AcName,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The first port, 1..=65535.
    pub port: u32,
    /// Ports in the range.
    #[serde(default = "one")]
    pub count: u32,
    /// Whether systemd listens in the app's place.
    #[serde(default)]
    pub socket_activated: bool,
}

impl Port {
    pub(crate) fn validate(&self) -> Result<(), AppcError> {
        let wrong = |reason| Err(AppcError::InvalidPort { name: self.name.to_string(), reason });
        if !(1..=65535).contains(&self.port) {
            return wrong("port must be in 1..65535");
        }
        if self.count == 0 {
            return wrong("count must be at least 1");
        }
        if u64::from(self.port) + u64::from(self.count) > 65536 {
            return wrong("port and count reach beyond 65535");
        }
        Ok(())
    }
}

/// A port of the host that leads to an app's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposedPort {
    /// Name of the app's port.
    pub name: AcName,
    /// Port on the host.
    pub host_port: u32,
    /// Address on the host; absent means every address.
    #[serde(rename = "hostIP", default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The app's port, when no image declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_port: Option<Port>,
}
