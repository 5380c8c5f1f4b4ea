//! Flags that say how a prepared pod is run.
//!
//! Responsible for: their definition, and the checks that need no pod. Must not know: how stage1 is told. Follows
//! rkt-reference.md 1.5.

use std::net::IpAddr;

use clap::{ArgAction, Args, ValueEnum};

use super::egress::Egress;
use super::flag::FlagKind;
use super::globals::GlobalFlags;
use super::hypervisor::{self, HypervisorOptions};
use crate::config::Configuration;
use crate::pod::egress;
use crate::pod::launch::{LaunchSettings, Networks};
use crate::pod::name_files::{DnsConfig, Hosts, HostsEntry, NameFiles, ResolvConf};

/// Networks, names and terminal of a pod: what `run` and `run-prepared` have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct LaunchFlags {
    /// configure the pod's networking. Optionally, pass a list of user-configured networks to load and set arguments to pass to each network, respectively. Syntax: --net[=n[:args], ...]
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_missing_value = "default",
        action = ArgAction::Append
    )]
    pub net: Vec<String>,

    #[command(flatten)]
    pub egress: EgressFlags,

    #[command(flatten)]
    pub hypervisor: HypervisorFlags,

    #[command(flatten)]
    pub names: NameFlags,

    /// run pod interactively. If true, only one image may be supplied
    #[arg(long, switch = false)]
    pub interactive: bool,

    /// register pod with metadata service. needs network connectivity to the host (--net=(default|default-restricted|host))
    #[arg(long, switch = false)]
    pub mds_register: bool,

    /// whether to stay in the host IPC namespace. Syntax: --ipc=[auto|private|parent]
    #[arg(long, value_name = "string")]
    pub ipc: Option<Ipc>,
}

/// How a pod's System V IPC relates to the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ipc {
    /// As stage1 likes it.
    Auto,
    /// The pod's own.
    Private,
    /// The host's.
    Parent,
}

impl Ipc {
    /// The word for stage1.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ipc::Auto => "auto",
            Ipc::Private => "private",
            Ipc::Parent => "parent",
        }
    }
}

impl LaunchFlags {
    /// What the flags mean together. Errors: they contradict each other.
    pub fn settings<'a>(&self, globals: &'a GlobalFlags) -> Result<LaunchSettings<'a>, String> {
        let networks = self.networks()?;
        let mut names = self.names.files().map_err(|why| format!("error with dns flags: {why}"))?;
        let egress = egress::resolve(&self.egress.egress, &mut names.hosts)?;
        let hypervisor = hypervisor::join(&self.hypervisor.hypervisor_options, egress.is_some())?;
        let stage1 = Configuration::of(globals).stage1();
        let stage1 = stage1.map_err(|error| format!("cannot get configuration: {error}"))?;
        Ok(LaunchSettings {
            jail: stage1.jail,
            debug: globals.debug,
            local_config: &globals.local_config,
            insecure: globals.insecure_options,
            networks,
            hostname: self.names.hostname.clone().filter(|hostname| !hostname.is_empty()),
            names,
            egress,
            hypervisor,
            interactive: self.interactive,
            mds_register: self.mds_register,
            ipc: self.ipc,
            mutable: false,
        })
    }

    /// The networks as stage1 gets them. Errors: a name that is missing or given twice.
    pub fn networks(&self) -> Result<Networks, String> {
        let mut networks = Networks::default();
        for network in self.net.iter().flat_map(|list| list.split(',')) {
            networks.add(network).map_err(|why| format!("invalid argument {network:?} for --net: {why}"))?;
        }
        Ok(networks)
    }
}

/// Whom a pod may call.
#[derive(Debug, Clone, Default, Args)]
pub struct EgressFlags {
    /// whom the pod may call: "deny" for nobody, or "allow:" and a list of destinations. Syntax: --egress=allow:[tcp:|udp:]HOST[/BITS][:PORT[-PORT]][,...]
    #[arg(long, value_name = "deny|allow:...", action = ArgAction::Append)]
    pub egress: Vec<Egress>,
}

/// What the pod's hypervisor does otherwise than it does by itself.
#[derive(Debug, Clone, Default, Args)]
pub struct HypervisorFlags {
    /// what the hypervisor is to do otherwise: "vhost-net" has the host's kernel serve the pod's network cards; "net-rx-bytes=RATE", "net-rx-packets=RATE", "net-tx-bytes=RATE" and "net-tx-packets=RATE" limit what each receives and sends in a second
    #[arg(long, value_name = "OPTION[=RATE][,...]", action = ArgAction::Append)]
    pub hypervisor_options: Vec<HypervisorOptions>,
}

/// What a pod is called and how it finds others.
#[derive(Debug, Clone, Default, Args)]
pub struct NameFlags {
    /// name servers to write in /etc/resolv.conf. Pass 'host' to use host's resolv.conf. Pass 'none' to ignore CNI DNS config
    #[arg(long, action = ArgAction::Append)]
    pub dns: Vec<String>,

    /// DNS search domains to write in /etc/resolv.conf
    #[arg(long, action = ArgAction::Append)]
    pub dns_search: Vec<String>,

    /// DNS options to write in /etc/resolv.conf
    #[arg(long, action = ArgAction::Append)]
    pub dns_opt: Vec<String>,

    /// DNS domain to write in /etc/resolv.conf
    #[arg(long, value_name = "string")]
    pub dns_domain: Option<String>,

    /// entries to add to the pod-wide /etc/hosts. Pass 'host' to use the host's /etc/hosts
    #[arg(long, action = ArgAction::Append)]
    pub hosts_entry: Vec<String>,

    /// pod's hostname. If empty, it will be "rkt-$PODUUID"
    #[arg(long, value_name = "string")]
    pub hostname: Option<String>,
}

impl NameFlags {
    /// Where both files come from.
    pub fn files(&self) -> Result<NameFiles, String> {
        Ok(NameFiles { resolv_conf: self.resolv_conf()?, hosts: self.hosts()? })
    }

    /// Where the apps' `/etc/resolv.conf` comes from.
    pub fn resolv_conf(&self) -> Result<ResolvConf, String> {
        let domain = self.dns_domain.clone().filter(|domain| !domain.is_empty());
        let mode = self.dns.iter().find(|word| is_mode(word));
        if let Some(mode) = mode {
            if self.dns.len() > 1 {
                return Err(format!("no other --dns options allowed when --dns={mode} is passed"));
            }
            if !self.dns_search.is_empty() || !self.dns_opt.is_empty() || domain.is_some() {
                return Err(format!(
                    "Cannot call --dns-opt, --dns-search, or --dns-domain with --dns={mode}"
                ));
            }
            return Ok(if mode == "host" { ResolvConf::Host } else { ResolvConf::None });
        }
        let mut servers = Vec::new();
        for server in self.dns.iter().flat_map(|list| list.split(',')) {
            check_address(server).map_err(|()| format!("Invalid IP passed to --dns: {server}"))?;
            servers.push(server.to_owned());
        }
        for text in self.dns_search.iter().chain(&self.dns_opt).chain(&domain) {
            check_line("--dns-search, --dns-opt and --dns-domain", text)?;
        }
        let config =
            DnsConfig { servers, search: self.dns_search.clone(), options: self.dns_opt.clone(), domain };
        Ok(if config == DnsConfig::default() { ResolvConf::Default } else { ResolvConf::Stage0(config) })
    }

    /// Where the apps' `/etc/hosts` comes from.
    pub fn hosts(&self) -> Result<Hosts, String> {
        if self.hosts_entry.iter().any(|entry| entry == "host") {
            if self.hosts_entry.len() > 1 {
                return Err("cannot pass --hosts-entry=host with multiple hosts-entries".to_owned());
            }
            return Ok(Hosts::Host);
        }
        let mut entries: Vec<HostsEntry> = Vec::new();
        for item in self.hosts_entry.iter().flat_map(|list| list.split(',')) {
            let (address, name) = item
                .split_once('=')
                .filter(|(_, name)| !name.is_empty())
                .ok_or_else(|| format!("Did not understand --hosts-entry {item}"))?;
            check_address(address).map_err(|()| format!("Invalid IP passed to --hosts-entry: {address}"))?;
            check_line("--hosts-entry", name)?;
            match entries.iter_mut().find(|entry| entry.address == address) {
                Some(entry) => entry.names.push(name.to_owned()),
                None => {
                    entries.push(HostsEntry { address: address.to_owned(), names: vec![name.to_owned()] })
                }
            }
        }
        Ok(if entries.is_empty() { Hosts::Default } else { Hosts::Stage0(entries) })
    }
}

fn is_mode(word: &str) -> bool {
    matches!(word, "host" | "none")
}

fn check_address(text: &str) -> Result<(), ()> {
    text.parse::<IpAddr>().map(drop).map_err(drop)
}

/// A value ends up in one line of a file; a newline in it would begin another.
fn check_line(flag: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains(char::is_control) {
        return Err(format!("invalid value {value:?} for {flag}"));
    }
    Ok(())
}
