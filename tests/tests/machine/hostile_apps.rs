//! Apps that misbehave: their pod ends as it should, and nothing else notices.

use rkt_tests::command::limit;
use serde_json::json;

use crate::pod::{Pod, pod_manifest, said, shell_app};

#[test]
fn a_signal_of_any_number_is_told_by_its_number() {
    let mut pod = Pod::start(&["example.com/busybox", "--", "-c", "echo ready; while :; do sleep 1; done"]);
    pod.wait_for("ready");

    for number in [1, 9, 13, 34, 64] {
        let script = format!("kill -{number} $$; sleep 5");
        let ended = pod.run(["enter", &pod.uuid, "/bin/sh", "-c", &script]);
        ended.expect_code(128 + number);
    }

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);
    pod.finish();
}

#[test]
fn an_app_that_closes_its_outputs_or_leaves_stubborn_children_harms_no_other() {
    let closing = shell_app("closing", "exec 0<&- 1>&- 2>&-; sleep 0.5; exit 0", &json!({}));
    let stubborn = shell_app("stubborn", "(trap '' TERM; sleep 100000) & exit 4", &json!({}));
    let patient =
        shell_app("patient", "trap 'echo ended; exit 0' TERM; while :; do sleep 0.05; done", &json!({}));
    let mut pod = Pod::start(&[&pod_manifest(&[closing, stubborn, patient])]);
    pod.wait_for("ended");

    pod.run(["stop", "--force", &pod.uuid]).expect_code(0);

    let output = pod.finish_within(limit(30)).expect_code(4);
    assert_eq!(said(&output.stdout, "patient"), ["ended"], "{output:?}");
}
