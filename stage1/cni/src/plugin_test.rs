use std::fs::{self, File};
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plugin::{MOST_OUTPUT, PluginError, quote};
use crate::scripted::{Host, attachment, network};
use crate::{Client, CniError};

/// What ADD with a plugin that does this ends with; what it says at DEL is not looked at.
fn failure(host: &Host, client: &Client, body: &str) -> PluginError {
    host.plugin("one", &format!("test $CNI_COMMAND != DEL || exit 0\n{body}"));
    match client.add(&host.cache, &network("1.0.0", &["one"]), &attachment()) {
        Err(CniError::Plugin { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

fn message(body: &str) -> String {
    let host = Host::new();
    let mut error: &dyn std::error::Error = &failure(&host, &host.client(), body);
    let mut text = error.to_string();
    while let Some(cause) = error.source() {
        text = format!("{text}: {cause}");
        error = cause;
    }
    text
}

#[test]
fn plugins_own_report_is_the_message() {
    assert_eq!(message("echo '{\"code\": 7, \"msg\": \"bad config\"}'; exit 1"), "bad config");
    assert_eq!(message("echo '{\"code\": 7, \"msg\": \"bad\", \"details\": \"key\"}'; exit 1"), "bad; key");
    // Some forget the status.
    assert_eq!(message("echo '{\"code\": 7, \"msg\": \"bad config\"}'"), "bad config");
}

#[test]
fn failure_without_a_report_says_how_it_ended_and_what_it_printed() {
    assert_eq!(message("exit 3"), "it exited with status 3");
    assert_eq!(message("echo oh no >&2; exit 3"), "it exited with status 3, saying: oh no");
    assert_eq!(message("echo on stdout; exit 3"), "it exited with status 3, saying: on stdout");
    assert_eq!(message("echo panic: x >&2; kill -SEGV $$"), "it was killed by signal 11, saying: panic: x");
}

#[test]
fn answer_that_is_no_result_is_quoted() {
    assert_eq!(message("true"), "it printed no result");
    let nonsense = message("echo hello");
    assert!(
        nonsense.starts_with("it printed \"hello\", which is no result: it is not a JSON object"),
        "{nonsense}"
    );
    let cut = message("echo '{\"cniVersion\": \"1.0.0\", \"ips\": [{'");
    assert!(cut.contains("which is no result: it is not a JSON object: EOF"), "{cut}");
    let form = message("echo '{\"cniVersion\": \"1.0.0\", \"ips\": 7}'");
    assert!(form.contains("it is no result of CNI 1.0.0: invalid type: integer `7`"), "{form}");
}

#[test]
fn plugin_that_cannot_be_executed_is_named() {
    let host = Host::new();
    fs::write(host.path("plugins/one"), "#!/no/such/interpreter\n").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(host.path("plugins/one")).status().unwrap();

    let failed = host.client().add(&host.cache, &network("1.0.0", &["one"]), &attachment()).unwrap_err();

    assert!(
        failed.with_causes().contains("plugins/one: No such file or directory"),
        "{}",
        failed.with_causes()
    );
}

#[test]
fn plugin_that_hangs_is_killed_with_all_that_it_started() {
    let host = Host::new();
    let body = "sleep 600 & echo $! > $root/child; echo waiting for a lease >&2; sleep 600";

    let failed = failure(&host, &host.impatient(), body);

    assert_eq!(
        failed.to_string(),
        "it had not finished after 0.3 s and was killed, saying: waiting for a lease"
    );
    let child = fs::read_to_string(host.path("child")).unwrap();
    let status = format!("/proc/{}/status", child.trim());
    let deadline = Instant::now() + Duration::from_secs(60);
    // Killed, but whoever inherits it may not have taken notice yet.
    while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        assert!(Instant::now() < deadline, "{} lives", child.trim());
    }
    assert!(host.cache.records().unwrap().is_empty());
}

#[test]
fn plugin_that_nobody_wants_to_wait_for_is_killed_and_undone_unless_that_hangs_too() {
    let host = Host::new();
    host.plugin(
        "one",
        "test $CNI_COMMAND = DEL && ! test -e $root/stuck || { echo hanging >&2; exec sleep 600; }",
    );
    let (reader, mut signals) = std::io::pipe().unwrap();
    let client = host.client().with_interrupt(Arc::new(File::from(OwnedFd::from(reader))));
    let add = |signals: &mut PipeWriter, count: usize| {
        signals.write_all(&vec![0_u8; 128 * count]).unwrap();
        let failed = client.add(&host.cache, &network("1.0.0", &["one"]), &attachment());
        failed.unwrap_err().with_causes()
    };

    let failed = add(&mut signals, 1);

    let interrupted = "it had not finished when a signal asked for an end, and was killed";
    assert!(
        failed.starts_with(&format!("network \"net\": plugin \"one\" failed on ADD: {interrupted}")),
        "{failed}"
    );
    assert!(host.cache.records().unwrap().is_empty());

    fs::write(host.path("stuck"), "").unwrap();
    let failed = add(&mut signals, 2);

    let not_undone =
        format!("what was done is not undone (network \"net\": plugin \"one\" failed on DEL: {interrupted}");
    assert!(failed.starts_with(&not_undone), "{failed}");
    assert_eq!(host.cache.interfaces().unwrap(), ["eth0"]);
}

#[test]
fn plugin_that_never_stops_talking_is_killed() {
    let host = Host::new();

    let failed = failure(&host, &host.client(), "exec yes");

    assert_eq!(failed.to_string(), "it printed more than 1 MiB and was killed");
}

#[test]
fn long_but_bounded_output_is_taken_whole_and_noise_on_stderr_is_dropped() {
    let host = Host::new();
    let name = "n".repeat(MOST_OUTPUT - 200);
    let body = "head -c 3000000 /dev/zero >&2; printf '{\"cniVersion\": \"1.0.0\", \"dns\": {\"domain\": \"'; cat $root/name; echo '\"}}'";
    fs::write(host.path("name"), &name).unwrap();
    host.plugin("one", body);

    let result = host.client().add(&host.cache, &network("1.0.0", &["one"]), &attachment()).unwrap();

    assert_eq!(result.dns.domain, name);
}

#[test]
fn plugin_that_leaves_something_running_in_the_background_is_not_waited_for() {
    let host = Host::new();
    host.plugin("one", "sleep 600 & echo $! > $root/child; echo '{\"cniVersion\": \"1.0.0\"}'");

    let added = host.client().add(&host.cache, &network("1.0.0", &["one"]), &attachment());

    let child = fs::read_to_string(host.path("child")).unwrap();
    let killed = std::process::Command::new("kill").arg(child.trim()).status().unwrap();
    assert!(killed.success() && added.is_ok(), "{added:?}");
}

#[test]
fn plugin_that_does_not_read_its_configuration_is_no_trouble() {
    let host = Host::new();
    host.plugin("one", "");
    let script = "#!/bin/sh\necho '{\"cniVersion\": \"1.0.0\"}'\n";
    let path = host.path("plugins/one");
    let written = std::process::Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$0\""])
        .arg(&path)
        .arg(script)
        .status();
    assert!(written.unwrap().success());
    let mut network = network("1.0.0", &["one"]);
    network.plugins[0].raw.insert("padding".into(), "x".repeat(500_000).into());

    host.client().add(&host.cache, &network, &attachment()).unwrap();
}

#[test]
fn quotes_are_one_line_without_control_characters() {
    assert_eq!(quote(b"  a\nb\x1b[31mc\xff\r\n"), "a b\\u{1b}[31mc\u{fffd}");
    assert!(quote(&[b'x'; 5000]).chars().count() <= 1001);
}
