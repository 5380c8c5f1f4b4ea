use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::cache::{Cache, Record};
use crate::scripted::{Host, answer, attachment, network};
use crate::version::Version;
use crate::{AddResult, CniError};

fn record() -> Record {
    Record {
        network: network("1.0.0", &["one"]),
        version: Version::V1_0_0,
        attachment: attachment(),
        plugin_directories: vec!["/usr/lib/cni".into()],
        result: None,
    }
}

#[test]
fn record_is_there_before_the_first_plugin_runs_and_has_the_result_after_the_last() {
    let host = Host::new();
    host.plugin(
        "one",
        &format!("cp $root/net/eth0.json $root/before; echo '{}'", answer("1.0.0", "10.0.0.2/24")),
    );

    host.client().add(&host.cache, &network("1.0.0", &["one"]), &attachment()).unwrap();

    let before: Record = serde_json::from_slice(&fs::read(host.path("before")).unwrap()).unwrap();
    let after = host.cache.record("eth0").unwrap().unwrap();
    assert_eq!((before.attachment.clone(), before.result), (attachment(), None));
    let result: AddResult = after.result().unwrap().unwrap();
    assert_eq!(result.ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!((after.network, after.version), (before.network, Version::V1_0_0));
    let files: Vec<_> =
        fs::read_dir(host.path("net")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["eth0.json"]);
}

#[test]
fn attachment_whose_add_never_ended_can_be_deleted() {
    let host = Host::new();
    host.plugin("one", "");
    host.cache.write(&record()).unwrap();

    host.client().delete_all(&Cache::new(host.path("net")), None).unwrap();

    assert_eq!(host.calls(), ["DEL one"]);
    assert!(host.input("one", "DEL").get("prevResult").is_none());
    assert_eq!(fs::read_dir(host.path("net")).unwrap().count(), 0);
}

#[test]
fn plugins_are_found_where_they_were_when_the_client_does_not_know_them() {
    let host = Host::new();
    host.plugin("one", "");
    host.cache.write(&Record { plugin_directories: vec![host.path("plugins")], ..record() }).unwrap();

    crate::Client::new(Vec::new()).delete_all(&host.cache, None).unwrap();

    assert_eq!(host.calls(), ["DEL one"]);
}

#[test]
fn damaged_record_is_named_and_does_not_keep_the_others() {
    let host = Host::new();
    host.plugin("one", "");
    host.cache.write(&record()).unwrap();
    fs::write(host.path("net/eth1.json"), "{").unwrap();

    let failed = host.client().delete_all(&host.cache, None).unwrap_err();

    assert!(
        matches!(&failed, CniError::DamagedRecord { path, .. } if *path == host.path("net/eth1.json")),
        "{failed}"
    );
    assert_eq!(
        (host.calls(), host.cache.interfaces().unwrap()),
        (vec!["DEL one".to_owned()], vec!["eth1".to_owned()])
    );
}

#[test]
fn delete_waits_for_a_plugin_that_outlived_the_process_that_started_it() {
    let host = Host::new();
    host.plugin("one", "");
    host.cache.write(&record()).unwrap();
    let input = host.cache.input("eth0", b"{}").unwrap();
    // Ends when its stderr does; what it reads is its stdin, which it keeps open as a plugin would.
    let mut orphan = Command::new("sh")
        .args(["-c", "read line; echo ORPHAN one >> \"$0\"; echo done >&2"])
        .arg(host.path("calls"))
        .stdin(input)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deleting = thread::scope(|scope| {
        let deleting = scope.spawn(|| host.client().delete_all(&host.cache, None));
        orphan.wait().unwrap();
        deleting.join().unwrap()
    });

    deleting.unwrap();

    assert_eq!(host.calls(), ["ORPHAN one", "DEL one"]);
}

#[test]
fn delete_waits_for_an_orphan_no_longer_than_a_plugin_may_run() {
    let host = Host::new();
    host.plugin("one", "");
    host.cache.write(&record()).unwrap();
    let held = host.cache.input("eth0", b"{}").unwrap();

    host.client().with_time_limit(Duration::from_secs(2)).delete_all(&host.cache, None).unwrap();

    drop(held);
    assert_eq!(host.calls(), ["DEL one"]);
}

#[test]
fn directory_that_was_never_written_to_has_no_records() {
    let host = Host::new();

    assert!(host.cache.records().unwrap().is_empty());
    host.client().delete_all(&host.cache, None).unwrap();
}
