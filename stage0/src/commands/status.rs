//! `rkt status`.
//!
//! Responsible for: one pod's state as text and JSON, waiting for its end or its readiness. Must not know: how a pod's files
//! look. Follows rkt-reference.md 1.6.

use std::fmt::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::format::Format;
use super::list::format_networks;
use super::pod_names::{EXIT_UUID_FILE, PodNames};
use crate::cli::flag::words;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_duration;
use crate::clock;
use crate::config;
use crate::error::{Context, Result, Stage0Error};
use crate::log::Log;
use crate::output;
use crate::pod::locate::{FoundPod, Pods, no_matches};
use crate::pod::report::{PodReport, to_json};
use crate::pod::state::State;
use crate::stage1::{Entrypoint, Stage1Manifest, call};

/// How often a pod that is waited for is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Flags of `rkt status`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// toggle waiting for the pod to exit; optionally, a timeout
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_wait
    )]
    wait: Wait,

    /// toggle waiting until the pod is ready; optionally, a timeout
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = parse_wait
    )]
    wait_ready: Wait,

    /// choose the output format, allowed format includes 'json', 'json-pretty'. If empty, then the result is printed as key value pairs
    #[arg(long, value_name = "string", default_value = "", value_parser = words(Format::WORDS, Format::from_str))]
    format: Format,

    /// print what the running pod counts, in Prometheus' text format, instead of its status
    #[arg(long)]
    metrics: bool,

    #[command(flatten)]
    pod: PodNames,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until it happens.
    Forever,
    /// At most this long.
    AtMost(Duration),
}

fn parse_wait(text: &str) -> std::result::Result<Wait, String> {
    match text {
        "" => Ok(Wait::Forever),
        text => match crate::cli::values::parse_bool(text) {
            Ok(true) => Ok(Wait::Forever),
            Ok(false) => Ok(Wait::No),
            Err(_) => Ok(parse_duration(text)?.map_or(Wait::Forever, Wait::AtMost)),
        },
    }
}

/// Prints the status of one pod.
pub fn run(arguments: &Arguments, globals: &GlobalFlags, log: Log) -> Result<u8> {
    let uuid = match arguments.pod.one() {
        Err(error) if arguments.pod.is_file() => {
            log.error(&error);
            return Ok(EXIT_UUID_FILE);
        }
        uuid => uuid?,
    };
    let pods = Pods::of(&config::data_directory(globals)?);
    let mut pod = pods.resolve(&uuid)?;
    pod = wait_for(&pods, pod, arguments.wait_ready, |pod| pod.is_ready() || pod.state().is_finished())
        .context("error waiting for pod to become ready")?;
    if arguments.wait_ready != Wait::No && !pod.is_ready() {
        return Err(Stage0Error::refused("error waiting for pod to become ready: pod exited"));
    }
    pod = wait_for(&pods, pod, arguments.wait, |pod| pod.state().is_finished())
        .context("error waiting for pod to finish")?;
    if arguments.metrics {
        return print_metrics(&pod);
    }
    let text = match arguments.format {
        Format::Text => describe(&pod),
        Format::Json { pretty } => PodReport::with_measures(&pod)
            .context("error getting pod status")
            .and_then(|report| to_json(&report, pretty)),
    };
    let text = match text {
        // Deleted while it was being read.
        Err(_) if pods.is_leaving(&pod) => return Err(no_matches(&uuid)).context("problem retrieving pod"),
        text => text?,
    };
    output::print(&text);
    Ok(0)
}

/// Has stage1 print them: what a pod counts is its affair.
fn print_metrics(pod: &FoundPod) -> Result<u8> {
    pod.expect_running().context("cannot print metrics")?;
    let stage1 = pod.stage1_manifest().context("cannot print metrics")?;
    let entrypoint = Stage1Manifest(&stage1)
        .entrypoint(Entrypoint::Metrics)
        .context("the pod's stage1 does not tell what a pod counts")?;
    call::print_metrics(pod.path(), entrypoint).context("cannot print metrics")?;
    Ok(0)
}

/// Looks at the pod until `done`. Errors: the time is up, or the pod was removed meanwhile, so that nothing can be said of it.
fn wait_for(
    pods: &Pods,
    mut pod: FoundPod,
    wait: Wait,
    done: impl Fn(&FoundPod) -> bool,
) -> Result<FoundPod> {
    let deadline = match wait {
        Wait::No => return Ok(pod),
        Wait::Forever => None,
        Wait::AtMost(timeout) => Some(Instant::now() + timeout),
    };
    while !done(&pod) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Stage0Error::refused("context deadline exceeded"));
        }
        std::thread::sleep(POLL);
        match pod.again(pods)? {
            Some(again) => pod = again,
            None => return Err(no_matches(&pod.uuid().to_string())),
        }
    }
    Ok(pod)
}

pub(super) fn describe(pod: &FoundPod) -> Result<String> {
    let state = pod.state();
    let mut text = format!("state={}\n", state.as_str());
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "created={}", clock::full(pod.creation_time()));
    if let Some(started) = pod.start_time() {
        let _ = writeln!(text, "started={}", clock::full(Some(started)));
    }
    if matches!(state, State::Running | State::Exited) {
        let _ = writeln!(text, "networks={}", format_networks(&pod.networks()?));
    }
    if !state.was_started() {
        return Ok(text);
    }
    if let Some(pid) = pod.pid() {
        let _ = writeln!(text, "pid={pid}");
    }
    let _ = writeln!(text, "exited={}", matches!(state, State::Exited | State::ExitedGarbage));
    if state != State::Running && state.has_manifest() {
        for app in &pod.manifest()?.apps {
            if let Some(code) = pod.exit_code(app.name.as_str()) {
                let _ = writeln!(text, "app-{}={code}", app.name);
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::lifecycle::Pod;
    use crate::pod::state::Stage;

    #[test]
    fn a_pod_that_is_removed_while_it_is_waited_for_is_not_said_to_run() {
        let data = tempfile::tempdir().unwrap();
        let pods = Pods::of(data.path());
        let running = Pod::create(&pods).unwrap().into_run().unwrap();
        let found = pods.open(running.uuid(), Stage::Run).unwrap().unwrap();
        std::fs::remove_dir(running.path()).unwrap();

        let error = wait_for(&pods, found, Wait::Forever, |pod| pod.state().is_finished()).unwrap_err();

        assert_eq!(error.to_string(), no_matches(&running.uuid().to_string()).to_string());
    }

    #[test]
    fn waiting_is_a_truth_value_or_a_duration() {
        let cases = [
            ("", Wait::Forever),
            ("true", Wait::Forever),
            ("false", Wait::No),
            ("10s", Wait::AtMost(Duration::from_secs(10))),
            ("-1s", Wait::Forever),
        ];

        for (text, expected) in cases {
            assert_eq!(parse_wait(text), Ok(expected), "{text:?}");
        }
        assert!(parse_wait("soon").is_err());
    }
}
