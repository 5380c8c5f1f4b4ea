use std::io::Write;

use vmm::Metrics;

use super::kernel_log::{KernelLog, Line};

#[test]
fn the_last_lines_of_a_kernel_nobody_listened_to_are_printable_and_not_many() {
    let metrics = Metrics::shared().unwrap();
    let mut text: Vec<u8> = (0..100).flat_map(|number| format!("line {number}\r\n\n").into_bytes()).collect();
    text.extend(b"\x1b[2Jend");
    metrics.console.push(&text);

    let lines = KernelLog::new(None, &metrics.console).last_lines();

    assert_eq!(lines.len(), 60);
    assert_eq!(lines.first().unwrap(), b"line 41");
    assert_eq!(lines.last().unwrap(), b"[2Jend");
}

#[test]
fn what_was_read_as_it_came_is_not_said_again() {
    let metrics = Metrics::shared().unwrap();
    metrics.console.push(b"booting\n");
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"booting\n").unwrap();

    let mut log = KernelLog::new(Some(std::os::fd::OwnedFd::from(reader).into()), &metrics.console);

    assert_eq!(log.read(), [Line::Kernel(b"booting\n".to_vec())]);
    assert!(log.last_lines().is_empty());
}

#[test]
fn the_vmms_own_lines_stand_where_they_were_written() {
    let metrics = Metrics::shared().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut log = KernelLog::new(Some(std::os::fd::OwnedFd::from(reader).into()), &metrics.console);

    writer.write_all(b"one\ntw\x01virtio-net: odd\no\n\x01vir").unwrap();
    let first = log.read();
    writer.write_all(b"tio: odder\nthree").unwrap();
    drop(writer);
    let mut rest = log.read();
    rest.extend(log.read());

    let kernel = |text: &[u8]| Line::Kernel(text.to_vec());
    let vmm = |text: &[u8]| Line::Vmm(text.to_vec());
    assert_eq!(first, [kernel(b"one\n"), kernel(b"tw"), vmm(b"virtio-net: odd\n"), kernel(b"o\n")]);
    assert_eq!(rest, [vmm(b"virtio: odder\n"), kernel(b"three")]);
}
