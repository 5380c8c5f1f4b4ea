//! What a registry's refusal means, and what to do about it.
//!
//! Responsible for: words for statuses, and the registry's own message where it sends one. Must not know: how requests are
//! made. Follows the OCI distribution specification 1.1, "Error Codes".

use serde::Deserialize;

use crate::image::{HttpResponse, printable};

/// Largest error message that is read.
const MAX_MESSAGE_BYTES: u64 = 64 * 1024;
/// As much of it as belongs on a terminal.
const SHOWN_CHARS: usize = 200;

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// Why a registry did not answer with what it was asked for. `identity` is who it believes to talk to.
pub(super) fn refusal(answer: HttpResponse, host: &str, identity: Option<&str>) -> String {
    let status = answer.status;
    let said = message(answer);
    let reason = match (status, identity) {
        (401, None) => no_credentials(host),
        (401, Some(_)) => bad_credentials(identity),
        (403, None) => format!("access is denied (403); {}", log_in(host)),
        (403, Some(identity)) => format!("access is denied (403) to {identity}"),
        (404, _) => "it is not there (404)".to_owned(),
        (429, None) => {
            format!(
                "the registry limits how often it may be asked (429); try again later, or {}",
                log_in(host)
            )
        }
        (429, Some(_)) => "the registry limits how often it may be asked (429); try again later".to_owned(),
        (500..=599, _) => format!("the registry itself has a problem (status {status}); try again later"),
        _ => format!("bad HTTP status code: {status}"),
    };
    match said {
        Some(said) => format!("{reason}. It says: {said}"),
        None => reason,
    }
}

/// Nobody was asked for, and nobody is known.
pub(super) fn no_credentials(host: &str) -> String {
    format!("it does not exist, or it is not for everybody (401); {}", log_in(host))
}

/// Credentials that the registry does not know.
pub(super) fn bad_credentials(identity: Option<&str>) -> String {
    format!("it does not accept {} (401)", identity.unwrap_or("these credentials"))
}

fn log_in(host: &str) -> String {
    let host = if host == "registry-1.docker.io" { "docker.io" } else { host };
    format!(
        "add credentials for {host} to the dockerAuth configuration (/etc/rkt/auth.d), or run \"docker login {host}\""
    )
}

fn message(answer: HttpResponse) -> Option<String> {
    let bytes = answer.into_small_body(MAX_MESSAGE_BYTES).ok()?.read_whole().ok()?;
    let errors: Errors = crate::oci::decode("error message", &bytes, MAX_MESSAGE_BYTES).ok()?;
    let first = errors.errors.into_iter().next()?;
    let text = first.message.filter(|message| !message.is_empty()).or(first.code)?;
    let text: String = printable(&text).chars().take(SHOWN_CHARS).collect();
    Some(text).filter(|text| !text.is_empty())
}
