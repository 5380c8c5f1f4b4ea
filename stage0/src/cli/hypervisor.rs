//! `--hypervisor-options`.
//!
//! Responsible for: its grammar, and which options go together. Must not know: how the hypervisor does it; what this host has.
//! Follows docs/networking.md, "Network cards".

use std::fmt;
use std::str::FromStr;

use appc::Quantity;

/// Rates below this one would not let a pod's first packets pass within anybody's patience.
const LEAST: i128 = 1;
/// A terabyte, or as many packets, a second: far more than any network card passes, and far from the limits of the arithmetic.
const MOST: i128 = 1_000_000_000_000;

/// What the hypervisor is to do otherwise than it does by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HypervisorOption {
    /// The host's kernel serves the network cards.
    VhostNet,
    /// Each network card passes no more than this.
    Rate(Rate, u64),
}

/// What is limited: of each network card, in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Bytes that the pod receives.
    ReceivedBytes,
    /// Packets that the pod receives.
    ReceivedPackets,
    /// Bytes that the pod sends.
    SentBytes,
    /// Packets that the pod sends.
    SentPackets,
}

const VHOST_NET: &str = "vhost-net";
const RATES: [(&str, Rate); 4] = [
    ("net-rx-bytes", Rate::ReceivedBytes),
    ("net-rx-packets", Rate::ReceivedPackets),
    ("net-tx-bytes", Rate::SentBytes),
    ("net-tx-packets", Rate::SentPackets),
];

/// Options with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HypervisorOptions(pub Vec<HypervisorOption>);

impl HypervisorOption {
    fn name(&self) -> &'static str {
        match self {
            Self::VhostNet => VHOST_NET,
            Self::Rate(rate, _) => RATES.iter().find(|(_, it)| it == rate).map_or("", |(name, _)| name),
        }
    }
}

impl FromStr for HypervisorOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if name == VHOST_NET {
            return match value {
                None => Ok(Self::VhostNet),
                Some(_) => Err(format!("option {VHOST_NET:?} has no value")),
            };
        }
        let rate = RATES.iter().find(|(known, _)| *known == name).map(|(_, rate)| *rate);
        let rate = rate.ok_or_else(|| {
            let known: Vec<&str> = RATES.iter().map(|(name, _)| *name).collect();
            format!("unknown option {name:?} (there are {VHOST_NET}, {})", known.join(", "))
        })?;
        let value = value.ok_or_else(|| format!("option {name:?} needs a value, as in {name}=10M"))?;
        let quantity: Quantity = value.parse().map_err(|error| format!("option {name:?}: {error}"))?;
        let amount = Some(quantity.value()).filter(|amount| (LEAST..=MOST).contains(amount));
        let amount = amount.and_then(|amount| u64::try_from(amount).ok());
        let amount = amount
            .ok_or_else(|| format!("option {name:?}: {value} a second is not within {LEAST} and {MOST}"))?;
        Ok(Self::Rate(rate, amount))
    }
}

impl FromStr for HypervisorOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// As stage1 reads it.
impl fmt::Display for HypervisorOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VhostNet => f.write_str(VHOST_NET),
            Self::Rate(_, amount) => write!(f, "{}={amount}", self.name()),
        }
    }
}

/// Value of stage1's `--hypervisor-options`; `None` when none was given. Errors: options that exclude each other, or what is asked
/// of the pod besides them.
pub fn join(lists: &[HypervisorOptions], restricts_egress: bool) -> Result<Option<String>, String> {
    let options: Vec<&HypervisorOption> = lists.iter().flat_map(|list| &list.0).collect();
    for (position, option) in options.iter().enumerate() {
        if options.iter().take(position).any(|earlier| earlier.name() == option.name()) {
            return Err(format!("--hypervisor-options: {} was given twice", option.name()));
        }
    }
    if options.contains(&&HypervisorOption::VhostNet) {
        if let Some(rate) = options.iter().find(|option| matches!(option, HypervisorOption::Rate(..))) {
            return Err(format!(
                "--hypervisor-options: {} is not possible with {VHOST_NET}: the host's kernel keeps no limits",
                rate.name()
            ));
        }
        if restricts_egress {
            return Err(format!(
                "--hypervisor-options: {VHOST_NET} is not possible with --egress: a guest could change what it sends \
                 behind the host's rules"
            ));
        }
    }
    let text: Vec<String> = options.iter().map(ToString::to_string).collect();
    Ok((!text.is_empty()).then(|| text.join(",")))
}

#[cfg(test)]
#[path = "hypervisor_test.rs"]
mod hypervisor_test;
