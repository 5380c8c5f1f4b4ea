//! Flags that belong to one app of a pod.
//!
//! Responsible for: their definition and the checks that need no other flag. Must not know: which image an app
//! comes from, how a manifest is made of it. Follows rkt-reference.md 1.4.

use appc::{Mount, Quantity};
use clap::{ArgAction, Parser};

use super::values::{parse_bool, parse_pair};
use super::volume::parse_mount;

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

    /// memory limit for the preceding image (example: '--memory=16Mi', '--memory=50M', '--memory=1G')
    #[arg(long, value_parser = memory)]
    pub memory: Option<Quantity>,

    /// cpu limit for the preceding image (example: '--cpu=500m')
    #[arg(long)]
    pub cpu: Option<Quantity>,
}

impl AppFlags {
    /// Checks what one flag's parser cannot see.
    pub fn check(&self) -> Result<(), String> {
        let repeated = |flag| Err(format!("--{flag} specified multiple times for the same image"));
        if self.signature.len() > 1 {
            return repeated("signature");
        }
        if self.exec.len() > 1 {
            return repeated("exec");
        }
        Ok(())
    }
}

fn environment(text: &str) -> Result<(String, String), String> {
    parse_pair("environment", text)
}

fn annotation(text: &str) -> Result<(String, String), String> {
    parse_pair("annotation", text)
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
