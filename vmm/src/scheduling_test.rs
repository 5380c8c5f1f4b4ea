use std::thread;

use crate::scheduling::Scheduling;

fn policy() -> i32 {
    // SAFETY: it takes no pointer; 0 is the calling thread.
    unsafe { libc::sched_getscheduler(0) }
}

fn choose(policy: i32) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one `struct sched_param`; 0 is the calling thread.
    assert_eq!(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }, 0);
}

#[test]
fn thread_waits_for_its_turn_only_as_long_as_it_can() {
    let seen = thread::spawn(|| {
        choose(libc::SCHED_OTHER);
        let scheduling = Scheduling::of_this_thread();
        [true, true, false, true, false].map(|unhurried| {
            scheduling.set_unhurried(unhurried);
            policy()
        })
    });

    let (batch, other) = (libc::SCHED_BATCH, libc::SCHED_OTHER);
    assert_eq!(seen.join().unwrap(), [batch, batch, other, batch, other]);
}

#[test]
fn thread_for_which_somebody_chose_keeps_that() {
    let seen = thread::spawn(|| {
        choose(libc::SCHED_IDLE);
        let scheduling = Scheduling::of_this_thread();
        [true, false].map(|unhurried| {
            scheduling.set_unhurried(unhurried);
            policy()
        })
    });

    assert_eq!(seen.join().unwrap(), [libc::SCHED_IDLE; 2]);
}
