//! `rkt` is one file: copied to another place with nothing but stage1-kvm.aci beside it, it runs a pod.

use std::fs;

use rkt_tests::command::limit;
use rkt_tests::dist;
use rkt_tests::rkt::TestRkt;

use crate::pod::said;

#[test]
fn rkt_copied_alone_beside_the_stage1_image_runs_a_pod() {
    let place = tempfile::tempdir_in("/var/tmp").expect("a directory");
    for name in ["rkt", "stage1-kvm.aci"] {
        fs::copy(dist::file(name), place.path().join(name)).expect("copying");
    }
    let image = place.path().join("inspect.aci");
    fs::copy(dist::image("inspect"), &image).expect("copying");
    let rkt = TestRkt::with_program(&place.path().join("rkt"));
    let image = image.to_str().expect("UTF-8");
    let arguments =
        ["--insecure-options=image", "run", "--net=none", image, "--", "print-msg", "alone", "exit", "3"];

    let output = rkt.start(arguments).finish(limit(60)).expect_code(3);

    assert_eq!(said(&output.stdout, "inspect"), ["alone"]);
}
