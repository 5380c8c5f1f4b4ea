//! Pods of the stub stage1 that run until a test lets them end.

use std::fs;
use std::path::PathBuf;

use rkt_tests::command::{Running, Stream, limit};
use rkt_tests::rkt::TestRkt;
use rkt_tests::stub_stage1::Stub;

use crate::publisher::{self, run_arguments};

/// A pod that runs.
pub struct HeldPod {
    pub process: Running,
    pub uuid: String,
}

/// An rkt with the stub stage1 and a runnable image `app.aci`, whose pods run until [`release`].
pub fn rkt() -> TestRkt {
    rkt_with(&Stub::default())
}

/// The same with another stage1.
pub fn rkt_with(stub: &Stub) -> TestRkt {
    let mut rkt = publisher::rkt();
    stub.write(&rkt.path("stub.aci"));
    publisher::image(&rkt, "app.aci");
    fs::write(rkt.path("hold"), "").expect("writing");
    let hold = rkt.path("hold");
    rkt.set_env("STUB_HOLD", hold);
    rkt
}

/// Starts a pod and waits until it is up. `name` is that of its UUID file.
pub fn start(rkt: &TestRkt, name: &str, further: &[&str]) -> HeldPod {
    let save = format!("--uuid-file-save={name}");
    let arguments = [&[save.as_str()], further].concat();
    let mut process = rkt.start(run_arguments(&arguments));
    process.wait_for(Stream::Out, "stub: pod is up", limit(60));
    let uuid = rkt.uuid(name);
    HeldPod { process, uuid }
}

/// Runs a pod to its end.
pub fn exited(rkt: &TestRkt, further: &[&str]) -> String {
    let _ = fs::remove_file(rkt.path("hold"));
    rkt.run(run_arguments(&[&["--uuid-file-save=uuid"], further].concat())).expect_code(0);
    rkt.uuid("uuid")
}

/// A running pod's directory.
pub fn directory(rkt: &TestRkt, uuid: &str) -> PathBuf {
    rkt.data().join("pods/run").join(uuid)
}

/// What an entrypoint of the stub left in the pod's directory, by lines.
pub fn note(rkt: &TestRkt, uuid: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(directory(rkt, uuid).join(name)).expect("the stub wrote it");
    text.lines().map(str::to_owned).collect()
}

/// Lets all held pods end, and waits for this one.
pub fn release(rkt: &TestRkt, pod: HeldPod) {
    let _ = fs::remove_file(rkt.path("hold"));
    pod.process.finish(limit(60)).expect_code(0);
}
