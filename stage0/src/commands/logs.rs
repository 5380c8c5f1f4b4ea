//! `rkt logs`.
//!
//! Responsible for: which lines a user wants and where they are printed. Must not know: where they come from. Follows
//! docs/logs.md; rkt itself left logs to the journal.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::SystemTime;

use jiff::Timestamp;

use super::pod_names::PodNames;
use crate::cli::globals::GlobalFlags;
use crate::cli::values::parse_duration;
use crate::config;
use crate::error::{Result, Stage0Error};
use crate::pod::locate::Pods;
use crate::pod::logs::{LogLine, LogQuery, LogStream, Logs};

/// Flags of `rkt logs`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// name of the app whose output is wanted; without it, all apps' output is printed
    #[arg(long, value_name = "string", default_value = "")]
    app: String,

    /// go on with what is written from now on, until the pod has ended
    #[arg(long, short)]
    follow: bool,

    /// only what was written since a time (RFC 3339) or within a duration
    #[arg(long, value_name = "time|duration", value_parser = parse_since)]
    since: Option<SystemTime>,

    /// only the last lines of what is there, so many
    #[arg(long, short = 'n', value_name = "int")]
    lines: Option<usize>,

    #[command(flatten)]
    names: PodNames,
}

/// A duration counts back from now.
fn parse_since(text: &str) -> std::result::Result<SystemTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    let duration = parse_duration(text)
        .map_err(|_| format!("{text:?} is neither a time (2006-01-02T15:04:05Z) nor a duration (1h30m)"))?;
    let now = SystemTime::now();
    Ok(now.checked_sub(duration.unwrap_or_default()).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// Prints what the apps of one pod wrote, standard error on standard error.
pub fn run(arguments: &Arguments, globals: &GlobalFlags) -> Result<u8> {
    let uuid = arguments.names.one()?;
    let pods = Pods::of(&config::data_directory(globals)?);
    let pod = pods.resolve(&uuid)?;
    let uuid = pod.uuid().to_string();
    let apps = if arguments.app.is_empty() { Vec::new() } else { vec![arguments.app.clone()] };
    // Whose line it is must be told if it can be several apps'.
    let labelled = apps.is_empty() && pod.manifest()?.apps.len() > 1;
    let query = LogQuery { apps, since: arguments.since, until: None, last: arguments.lines };
    let mut logs = Logs::open(&pod, query)?;
    if arguments.follow {
        logs.follow(&pods, pod, |line| match line {
            Some(line) => print(&line, labelled),
            None => ControlFlow::Continue(()),
        })?;
    } else {
        while let Some(line) = logs.next_line()? {
            if print(&line, labelled).is_break() {
                return Ok(0);
            }
        }
    }
    if logs.any_found() {
        return Ok(0);
    }
    Err(Stage0Error::refused(format!(
        "no logs in pod {uuid:?} (interactive apps have none, nor have pods that were never run or whose stage1 writes none)"
    )))
}

/// Each line goes out in one write. A reader that stopped reading ends it.
fn print(line: &LogLine, labelled: bool) -> ControlFlow<()> {
    let label = if labelled { format!("{}: ", line.app) } else { String::new() };
    let bytes = [label.as_bytes(), &line.text, b"\n"].concat();
    let written = match line.stream {
        LogStream::Stdout => io::stdout().lock().write_all(&bytes),
        LogStream::Stderr => io::stderr().lock().write_all(&bytes),
    };
    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn since_is_a_time_or_a_duration_before_now() {
        let time = parse_since("2026-01-02T03:04:05+01:00").unwrap();
        assert_eq!(time, SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_319_445));

        let before = SystemTime::now() - Duration::from_secs(600);
        let back = parse_since("10m").unwrap();
        assert!(back >= before && back <= SystemTime::now() - Duration::from_secs(590));

        assert_eq!(
            parse_since("yesterday").unwrap_err(),
            "\"yesterday\" is neither a time (2006-01-02T15:04:05Z) nor a duration (1h30m)"
        );
    }
}
