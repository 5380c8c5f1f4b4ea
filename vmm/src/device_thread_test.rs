use std::sync::Arc;
use std::thread;

use crate::device_thread::DeviceThread;

/// Waits until a call has been made, like the event loop does.
fn await_call(device_thread: &DeviceThread) {
    while device_thread.event().read().is_err() {
        thread::yield_now();
    }
}

#[test]
fn call_is_made_by_the_thread_that_serves_and_its_answer_comes_back() {
    let device_thread = Arc::new(DeviceThread::new().unwrap());
    let caller = device_thread.clone();
    let vcpu = thread::spawn(move || caller.call(|| thread::current().id()));

    await_call(&device_thread);
    device_thread.serve();

    assert_eq!(vcpu.join().unwrap(), Some(thread::current().id()));
}

#[test]
fn caller_goes_on_without_an_answer_when_the_machine_ends() {
    let device_thread = Arc::new(DeviceThread::new().unwrap());
    let caller = device_thread.clone();
    let vcpu = thread::spawn(move || caller.call(|| 1));

    await_call(&device_thread);
    device_thread.close();

    assert_eq!(vcpu.join().unwrap(), None);
    assert_eq!(device_thread.call(|| 2), None);
}
