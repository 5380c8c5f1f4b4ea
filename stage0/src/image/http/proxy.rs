//! Proxies that the environment names.
//!
//! Responsible for: which proxy a URL is asked through, if any. Must not know: connections. Follows Go's
//! `golang.org/x/net/http/httpproxy`, which rkt used: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` and their lower-case forms.

use std::net::IpAddr;

use url::{Host, Url};

/// Variables for each scheme.
pub(super) const HTTP: &str = "HTTP_PROXY";
pub(super) const HTTPS: &str = "HTTPS_PROXY";
const NONE: &str = "NO_PROXY";

/// What the environment says about proxies.
#[derive(Debug, Default, Clone)]
pub(super) struct Proxies {
    /// For http URLs.
    pub http: Option<String>,
    /// For https URLs.
    pub https: Option<String>,
    /// Hosts that are asked directly.
    none: Vec<String>,
}

impl Proxies {
    pub fn from_environment() -> Self {
        let value = |name: &str| {
            let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).ok();
            value.filter(|value| !value.is_empty())
        };
        Self::new(value(HTTP), value(HTTPS), value(NONE).as_deref().unwrap_or_default())
    }

    pub fn new(http: Option<String>, https: Option<String>, none: &str) -> Self {
        let entries = none.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        Self { http, https, none: entries.filter(|entry| !entry.is_empty()).collect() }
    }

    /// Whether a proxy that there may be is passed by. The own host never is beyond a proxy.
    pub fn is_direct(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return true };
        let address = match host {
            Host::Domain("localhost") => return true,
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::from(address)),
            Host::Ipv6(address) => Some(IpAddr::from(address)),
        };
        if address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let name = host.to_string();
        let port = url.port_or_known_default().unwrap_or_default();
        self.none.iter().any(|entry| covers(entry, &name, address, port))
    }
}

/// Whether an entry of `NO_PROXY` covers a host: `*`, `HOST` (and what is below it), `.HOST` or `*.HOST` (only that), an
/// address, a network in CIDR notation; each but the last with `:PORT` if it covers one port only.
fn covers(entry: &str, name: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Some((network, bits)), Some(address)) = (entry.split_once('/'), address) {
        return match (network.parse(), bits.parse()) {
            (Ok(network), Ok(bits)) => contains(network, bits, address),
            _ => false,
        };
    }
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    if let (Some(entry), Some(address)) = (bare(entry), address) {
        return entry == address;
    }
    let (entry, wanted_port) = match entry.rsplit_once(':') {
        Some((host, digits)) => (host, digits.parse().ok()),
        None => (entry, Some(port)),
    };
    if wanted_port != Some(port) {
        return false;
    }
    if let Some(address) = address {
        return bare(entry) == Some(address);
    }
    let below = |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')) {
        Some(domain) => below(domain),
        None => name == entry || below(entry),
    }
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}
