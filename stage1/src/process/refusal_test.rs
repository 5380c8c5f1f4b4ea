use std::io;

use guest_api::FrameBuffer;

use super::refusal::{Frame, Refusal, report_refused_calls};
use super::{Company, End, Report, spawn};

#[test]
fn refusal_arrives_as_it_was_written() {
    for refusal in [
        Refusal { call: 0, arguments: [0; 3] },
        Refusal { call: 101, arguments: [127, 128, 0xae80] },
        Refusal { call: u32::MAX, arguments: [u64::MAX; 3] },
    ] {
        let mut frames = FrameBuffer::new();
        frames.push(Frame::of(&refusal).bytes());

        let report = frames.next_message::<Report<()>>().unwrap().unwrap();

        assert!(matches!(report, Report::Refused(arrived) if arrived == refusal), "{report:?}");
    }
}

/// Runs in a child: gives up what every process of a pod gives up before its filter.
fn confine(filter: &filters::Filter) -> io::Result<()> {
    report_refused_calls()?;
    rustix::thread::set_no_new_privs(true)?;
    filter.apply()
}

fn refused_in(filter: &'static filters::Filter, work: impl FnOnce()) -> Refusal {
    let child = spawn("test", Company::Host, &[], || {
        confine(filter).map_err(|error| error.to_string())?;
        work();
        Ok::<(), String>(())
    });

    match child.unwrap().wait::<Result<(), String>>().unwrap() {
        End::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn process_that_makes_a_refused_call_says_which_before_it_ends() {
    for filter in [&filters::VCPU, &filters::DEVICES, &filters::FILE_SERVER, &filters::PORT_FORWARDER] {
        let refusal = refused_in(filter, || {
            // SAFETY: a number that no process has.
            unsafe { libc::kill(i32::MAX, 0) };
        });

        assert_eq!(i64::from(refusal.call), libc::SYS_kill);
        assert_eq!(refusal.arguments[0], i32::MAX as u64);
    }
}

#[test]
fn refused_request_of_a_device_is_named() {
    let refusal = refused_in(&filters::VCPU, || {
        // SAFETY: creating a virtual machine takes no memory, and the descriptor is none.
        unsafe { libc::ioctl(-1, 0xae01, 0) };
    });

    assert_eq!((i64::from(refusal.call), refusal.arguments[1]), (libc::SYS_ioctl, 0xae01));
}

#[test]
fn panic_behind_a_filter_is_still_reported() {
    super::report_panics_of_children();
    let child = spawn("test", Company::Host, &[], || {
        confine(&filters::VCPU).unwrap();
        if std::hint::black_box(true) {
            panic!("of the test");
        }
    });

    let end = child.unwrap().wait::<()>().unwrap();

    assert!(matches!(&end, End::Panicked(message) if message.contains("of the test")), "{end:?}");
}
