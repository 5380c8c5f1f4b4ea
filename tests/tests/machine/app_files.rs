//! The files that every app finds, whatever its image holds: devices, kernel views, names.

use crate::pod::{Pod, said};

/// What the image of the test holds nothing of, with type, mode and device numbers (in hexadecimal, as stat prints them).
const PROMISED: &str = "\
/dev/null 666 character special file 1:3
/dev/zero 666 character special file 1:5
/dev/full 666 character special file 1:7
/dev/random 666 character special file 1:8
/dev/urandom 666 character special file 1:9
/dev/tty 666 character special file 5:0
/dev/pts/ptmx 666 character special file 5:2
/dev/ptmx 777 symbolic link 0:0
/dev/fd 777 symbolic link 0:0
/dev/stdin 777 symbolic link 0:0
/dev/stdout 777 symbolic link 0:0
/dev/stderr 777 symbolic link 0:0
/dev/pts 755 directory 0:0
/dev/shm 1777 directory 0:0
/tmp 1777 directory 0:0
/run 755 directory 0:0
/proc 555 directory 0:0
/sys 555 directory 0:0
/etc 755 directory 0:0
/etc/mtab 777 symbolic link 0:0
/etc/hosts 644 regular file 0:0
/etc/hostname 644 regular empty file 0:0
/etc/machine-id 644 regular file 0:0
/sys/firmware 0 directory 0:0
/sys/fs 0 directory 0:0
/sys/module 0 directory 0:0";

/// Says what cannot be promised by a mode.
const FACTS: &str = "\
readlink /etc/mtab; cat /etc/machine-id; cat /etc/hostname; hostname; \
grep -c '^127.0.0.1 .*localhost' /etc/hosts; \
ls /dev/log 2>/dev/null || echo no log; \
(: > /sys/x) 2>/dev/null || echo sys refuses; \
(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo core pattern refuses; \
(: > /dev/shm/x) && (: > /tmp/x) && (: > /run/x) && (: > /dev/null) && echo writable; \
head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; \
(echo x > /dev/full) 2>/dev/null || echo full; \
grep -c '^[^ ]* / virtiofs' /proc/mounts; grep ' /sys ' /proc/mounts | grep -c 'ro,\\|ro '";

#[test]
fn an_app_finds_the_devices_kernel_views_and_names_it_was_promised() {
    let paths: Vec<&str> = PROMISED.lines().filter_map(|line| line.split(' ').next()).collect();
    let script = format!("stat -c '%n %a %F %t:%T' {}; {FACTS}", paths.join(" "));

    let mut pod = Pod::start(&["example.com/busybox", "--", "-c", &script]);
    let output = pod.finish().expect_code(0);

    let said = said(&output.stdout, "busybox");
    // The kernel's own files have no size, which is a type in stat's words.
    let (files, facts) = said.split_at(paths.len().min(said.len()));
    assert_eq!(files, PROMISED.lines().collect::<Vec<_>>(), "{output:?}");
    let (id, name) = (pod.uuid.replace('-', ""), format!("rkt-{}", pod.uuid));
    let expected = [
        "../proc/self/mounts",
        &id,
        &name,
        &name,
        "1",
        "no log",
        "sys refuses",
        "core pattern refuses",
        "writable",
        "3",
        "3",
        "full",
        "1",
        "1",
    ];
    assert_eq!(facts, expected, "{output:?}");
}
