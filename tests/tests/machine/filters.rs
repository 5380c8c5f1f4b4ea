//! No rule of the filters of system calls is there for nothing: without it a pod does not do its work, and rkt says for which call.
//!
//! A few of them are taken away in every run of the tests, each in a pod of its own. With `RKT_TEST_EVERY_RULE=all` all are, or, as that
//! takes half an hour, those of the filter that it names: `RKT_TEST_EVERY_RULE=devices cargo xtask test machine -- every_rule` after a
//! change of the table.

use std::env;
use std::path::Path;
use std::thread;

use filters::{Alternative, DEVICES, FILE_SERVER, Filter, VCPU};
use rkt_tests::command::{self, Finished, limit};
use rkt_tests::faults;
use syscalls::Sysno;

use crate::pod::{INSPECT, fresh_path, rkt};

/// Virtual machines at a time.
const AT_A_TIME: usize = 4;

/// What no pod starts without: the filter, the call, and the value of the argument that counts.
const NEEDED: [(&Filter, Sysno, Option<u32>); 8] = [
    // KVM_RUN and KVM_SET_GSI_ROUTING.
    (&VCPU, Sysno::ioctl, Some(0xae80)),
    (&VCPU, Sysno::ioctl, Some(0x4008_ae6a)),
    (&DEVICES, Sysno::epoll_wait, None),
    (&DEVICES, Sysno::sendmsg, None),
    (&DEVICES, Sysno::recvmsg, None),
    (&FILE_SERVER, Sysno::ppoll, None),
    (&FILE_SERVER, Sysno::openat2, None),
    (&FILE_SERVER, Sysno::statx, None),
];

/// Something for every thread to do: files of several owners, a network and a port, memory given back.
const WORK: &str = "echo x > /tmp/index.html; busybox httpd -p 80 -h /tmp; \
                    head -c 100000000 /dev/zero > /dev/shm/x; rm /dev/shm/x; head -c 3000000 /dev/zero | wc -c; \
                    busybox wget -q -O- http://127.0.0.1/; sleep 12";

/// A pod without one alternative of a filter.
fn pod_without(stage1: &str, filter: &Filter, number: usize, arguments: &[&str]) -> Finished {
    let save = format!("--uuid-file-save={}", fresh_path("uuid").display());
    let mut command =
        rkt().command([&["run", "--insecure-options=image,http", &save, stage1], arguments].concat());
    command.env("RKT_TEST_WITHOUT_RULE", format!("{}:{number}", filter.name));
    command::run(&mut command, limit(180))
}

fn number_of(filter: &Filter, call: Sysno, value: Option<u32>) -> usize {
    let wanted = |alternative: &Alternative| {
        alternative.rule.call == i64::from(call.id()) && alternative.value == value
    };
    filter.alternatives().iter().position(wanted).unwrap_or_else(|| panic!("{} has no {call}", filter.name))
}

fn stage1() -> String {
    let image = faults::file("stage1-kvm.aci");
    let image = image.to_str().expect("UTF-8");
    let id = rkt().run(["fetch", "--insecure-options=image", "--full", image]).expect_code(0).out();
    format!("--stage1-hash={}", id.trim())
}

#[test]
fn without_a_rule_of_its_filters_a_pod_does_not_start_and_says_which_call_it_lacks() {
    let stage1 = stage1();

    for some in NEEDED.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            for (filter, call, value) in some {
                let stage1 = &stage1;
                scope.spawn(move || {
                    let number = number_of(filter, *call, *value);
                    let output =
                        pod_without(stage1, filter, number, &["--net=none", INSPECT, "--", "exit", "0"]);
                    output
                        .expect_code(254)
                        .expect_err(&format!("a system call that it has no use for, {call}("));
                });
            }
        });
    }
}

/// Whether a pod does all its work without the alternative.
fn is_superfluous(stage1: &str, filter: &'static Filter, number: usize, directory: &Path) -> bool {
    let volume = format!("--volume=v,kind=host,source={}", directory.display());
    let files = [
        "--net=none",
        &volume,
        "--volume=e,kind=empty,mode=0777",
        INSPECT,
        "--exec=/files",
        "--mount=volume=v,target=/v",
        "--mount=volume=e,target=/e",
        "--",
        "/",
        "written:/v",
        "written:/e",
    ];
    let others = ["--net=default", "--debug", "example.com/busybox", "--", "-c", WORK];
    let arguments = if filter.name == FILE_SERVER.name { &files[..] } else { &others };
    pod_without(stage1, filter, number, arguments).code() != 254
}

#[test]
fn every_rule_of_the_filters_is_needed() {
    let Some(wanted) = env::var_os("RKT_TEST_EVERY_RULE") else { return };
    let filters = [&VCPU, &DEVICES, &FILE_SERVER].into_iter();
    let filters = filters.filter(|filter| wanted == "all" || wanted == filter.name);
    let cases: Vec<_> = filters
        .flat_map(|filter| filter.alternatives().into_iter().enumerate().map(move |case| (filter, case)))
        .filter(|(_, (_, alternative))| !alternative.is_spare())
        .collect();
    assert!(!cases.is_empty(), "{wanted:?} is no filter");
    let stage1 = stage1();
    let mut superfluous = Vec::new();
    for some in cases.chunks(AT_A_TIME) {
        thread::scope(|scope| {
            let pods: Vec<_> = some
                .iter()
                .map(|(filter, (number, _))| {
                    let (stage1, directory) = (&stage1, fresh_path("volume"));
                    std::fs::create_dir(&directory).expect("creating");
                    scope.spawn(move || is_superfluous(stage1, filter, *number, &directory))
                })
                .collect();
            for (pod, (filter, (_, Alternative { rule, value }))) in pods.into_iter().zip(some) {
                if pod.join().expect("it does not panic") {
                    let value = value.map(|value| format!("{value:#x}")).unwrap_or_default();
                    let call = Sysno::new(rule.call as usize).map_or("?", |call| call.name());
                    superfluous.push(format!("{}: {call} {value}: {}", filter.name, rule.why));
                    println!("table: superfluous\t{}", superfluous.last().expect("one"));
                }
            }
        });
    }

    assert_eq!(superfluous, Vec::<String>::new());
}
