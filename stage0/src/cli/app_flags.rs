//! Flags that belong to one app of a pod.
//!
//! Responsible for: their definition and the checks that need no other flag. Must not know: which image an app
//! comes from, how a manifest is made of it. Follows rkt-reference.md 1.4.

use appc::{Mount, Quantity};
use clap::{ArgAction, Parser};

use super::isolators::{
    CapabilitySet, SeccompFilter, parse_capabilities, parse_cpu_shares, parse_oom_score_adj, parse_seccomp,
};
use super::stdio::{InputMode, OutputMode};
use super::values::{parse_bool, parse_pair};
use super::volume::{parse_mount, parse_mount_volume};
use crate::output;

/// Memory limits below this are typing errors: `16m` means 16 thousandths of a byte.
const MIN_MEMORY_BYTES: i128 = 4096;

/// Flags for the image named before them.
#[derive(Debug, Clone, Default, PartialEq, Parser)]
#[command(
    name = "app",
    no_binary_name = true,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct AppFlags {
    /// local signature file to use in validating the preceding image
    #[arg(long, value_name = "string", action = ArgAction::Append)]
    pub signature: Vec<String>,

    /// override the exec command for the preceding image
    #[arg(long, value_name = "string", action = ArgAction::Append, allow_hyphen_values = true)]
    pub exec: Vec<String>,

    /// set the name of the app. If not set, then the app name default to the image's name
    #[arg(long, value_name = "string")]
    pub name: Option<appc::AcName>,

    /// override the working directory of the preceding image
    #[arg(long, value_name = "string")]
    pub working_dir: Option<String>,

    /// if set, the app's rootfs will be mounted read-only
    #[arg(long, value_parser = parse_bool, action = ArgAction::Set)]
    pub readonly_rootfs: Option<bool>,

    /// mount point binding a volume to a path within an app
    #[arg(long, value_parser = parse_mount, action = ArgAction::Append)]
    pub mount: Vec<Mount>,

    /// configure a volume and its mount in the app directly
    #[arg(long, value_parser = parse_mount_volume, action = ArgAction::Append)]
    pub mnt_volume: Vec<Mount>,

    /// user override for the preceding image
    #[arg(long, value_name = "string")]
    pub user: Option<String>,

    /// group override for the preceding image
    #[arg(long, value_name = "string")]
    pub group: Option<String>,

    /// supplementary group IDs override for the preceding image
    #[arg(long, value_delimiter = ',', action = ArgAction::Append)]
    pub supplementary_gids: Vec<u32>,

    /// set the app's environment variables
    #[arg(long, value_parser = environment, action = ArgAction::Append)]
    pub environment: Vec<(String, String)>,

    /// set the app's annotations
    #[arg(long, value_parser = annotation, action = ArgAction::Append)]
    pub annotation: Vec<(String, String)>,

    /// set the app's user annotations
    #[arg(long, value_parser = user_annotation, action = ArgAction::Append)]
    pub user_annotation: Vec<(String, String)>,

    /// set the app's user labels
    #[arg(long, value_parser = user_label, action = ArgAction::Append)]
    pub user_label: Vec<(String, String)>,

    /// memory limit for the preceding image (example: '--memory=16Mi', '--memory=50M', '--memory=1G')
    #[arg(long, value_parser = memory)]
    pub memory: Option<Quantity>,

    /// cpu limit for the preceding image (example: '--cpu=500m')
    #[arg(long)]
    pub cpu: Option<Quantity>,

    /// CPU shares weight for the preceding image (example: '--cpu-shares=2048')
    #[arg(long, value_parser = parse_cpu_shares)]
    pub cpu_shares: Option<i64>,

    /// capability to retain (example: '--caps-retain=CAP_SYS_ADMIN')
    #[arg(long, value_parser = parse_capabilities)]
    pub caps_retain: Option<CapabilitySet>,

    /// capability to remove (example: '--caps-remove=CAP_MKNOD')
    #[arg(long, value_parser = parse_capabilities)]
    pub caps_remove: Option<CapabilitySet>,

    /// capability to retain
    #[arg(long, hide = true, value_parser = parse_capabilities)]
    pub cap_retain: Option<CapabilitySet>,

    /// capability to remove
    #[arg(long, hide = true, value_parser = parse_capabilities)]
    pub cap_remove: Option<CapabilitySet>,

    /// seccomp filter override (example: '--seccomp mode=retain,errno=EPERM,chmod,chown')
    #[arg(long, value_parser = parse_seccomp)]
    pub seccomp: Option<SeccompFilter>,

    /// oom-score-adj isolator override (example: '--oom-score-adj=-500')
    #[arg(long, value_parser = parse_oom_score_adj, allow_hyphen_values = true)]
    pub oom_score_adj: Option<i64>,

    /// where the app's standard input comes from
    #[arg(long, value_name = "string")]
    pub stdin: Option<InputMode>,

    /// where the app's standard output goes
    #[arg(long, value_name = "string")]
    pub stdout: Option<OutputMode>,

    /// where the app's standard error goes
    #[arg(long, value_name = "string")]
    pub stderr: Option<OutputMode>,
}

impl AppFlags {
    /// Checks what one flag's parser cannot see.
    pub fn check(&mut self) -> Result<(), String> {
        let repeated = |flag| Err(format!("--{flag} specified multiple times for the same image"));
        if self.signature.len() > 1 {
            return repeated("signature");
        }
        if self.exec.len() > 1 {
            return repeated("exec");
        }
        replace_deprecated("caps-retain", &mut self.caps_retain, "cap-retain", self.cap_retain.take());
        replace_deprecated("caps-remove", &mut self.caps_remove, "cap-remove", self.cap_remove.take());
        Ok(())
    }
}

/// What a flag was called before counts as the flag of today, unless that was given too.
fn replace_deprecated(
    flag: &str,
    value: &mut Option<CapabilitySet>,
    old_flag: &str,
    old: Option<CapabilitySet>,
) {
    if let Some(old) = old {
        output::complain(&format!("Flag --{old_flag} has been deprecated, use --{flag} instead"));
        value.get_or_insert(old);
    }
}

fn environment(text: &str) -> Result<(String, String), String> {
    parse_pair("environment", text)
}

fn annotation(text: &str) -> Result<(String, String), String> {
    parse_pair("annotation", text)
}

fn user_annotation(text: &str) -> Result<(String, String), String> {
    parse_pair("user-annotation", text)
}

fn user_label(text: &str) -> Result<(String, String), String> {
    parse_pair("user-label", text)
}

fn memory(text: &str) -> Result<Quantity, String> {
    let quantity: Quantity = text.parse().map_err(|error: appc::AppcError| error.to_string())?;
    if quantity.value() < MIN_MEMORY_BYTES {
        return Err(format!(
            "memory limit of {} bytes too low. Try a reasonable value, such as --memory=16M",
            quantity.value()
        ));
    }
    Ok(quantity)
}
