use rustix::process::WaitOptions;

use crate::metrics::Metrics;

#[test]
fn what_a_forked_process_counts_is_seen_here() {
    let metrics = Metrics::shared().unwrap();
    assert_eq!((metrics.exits.port_reads.get(), metrics.marks.entered.get()), (0, None));

    // SAFETY: the child touches nothing but the shared memory, and ends at once.
    match unsafe { libc::fork() } {
        0 => {
            metrics.exits.port_reads.add(3);
            metrics.cards[7].transmitted_frames.add(5);
            metrics.marks.entered.set();
            // SAFETY: it returns to nothing.
            unsafe { libc::_exit(0) }
        }
        child => {
            let child = rustix::process::Pid::from_raw(child).unwrap();
            rustix::process::waitpid(Some(child), WaitOptions::empty()).unwrap();
        }
    }

    assert_eq!(metrics.exits.port_reads.get(), 3);
    assert_eq!(metrics.cards[7].transmitted_frames.get(), 5);
    let entered = metrics.marks.entered.get().unwrap();
    metrics.marks.entered.set();
    assert_eq!(metrics.marks.entered.get(), Some(entered));
}
