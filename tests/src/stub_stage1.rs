//! A stage1 image that is two shell scripts: it does what the stage1 ABI asks of `run` and `gc` (rkt's stage1
//! implementors' guide) without running anything, so that all of stage0 can be tested without a virtual machine. Its
//! behaviour is set by variables in rkt's environment, which stage0 hands on.

use std::path::Path;

use serde_json::json;

use crate::aci::Aci;

/// Name of the image.
pub const NAME: &str = "example.com/stub-stage1";

/// The `run` entrypoint. `STUB_APP_CODE` is every app's exit code; with `STUB_HOLD=FILE` the pod runs until the file is
/// gone; what it was called with is left in the pod directory.
const RUN: &str = r#"#!/bin/sh
set -e
printf '%s\n' "$@" >stub-arguments
env | sort >stub-environment
pwd >stub-directory
echo $$ >pid
ln -s ready stage1/rootfs/rkt/supervisor-status
echo "stub: pod is up"
while [ -n "$STUB_HOLD" ] && [ -e "$STUB_HOLD" ]; do
    sleep 0.05
done
code=${STUB_APP_CODE:-0}
for app in stage1/rootfs/opt/stage2/*; do
    echo "$code" >"stage1/rootfs/rkt/status/$(basename "$app")"
done
exit "$code"
"#;

/// The `gc` entrypoint: notes that it ran in the file `STUB_GC_NOTE` names.
const GC: &str = r#"#!/bin/sh
[ -z "$STUB_GC_NOTE" ] || printf '%s\n' "$@" >>"$STUB_GC_NOTE"
exit "${STUB_GC_CODE:-0}"
"#;

/// Writes the image.
pub fn write(path: &Path) {
    let manifest = json!({
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": NAME,
        "labels": [
            { "name": "version", "value": "1.0.0" },
            { "name": "os", "value": "linux" },
            { "name": "arch", "value": "amd64" },
        ],
        "annotations": [
            { "name": "coreos.com/rkt/stage1/run", "value": "/init" },
            { "name": "coreos.com/rkt/stage1/gc", "value": "/gc" },
            { "name": "coreos.com/rkt/stage1/interface-version", "value": "6" },
        ],
    });
    let mut image = Aci::new(&manifest).file("rootfs/init", 0o755, RUN.as_bytes());
    image = image.file("rootfs/gc", 0o755, GC.as_bytes());
    for directory in ["etc", "opt", "opt/stage2", "rkt", "rkt/status", "rkt/env"] {
        image = image.directory(&format!("rootfs/{directory}"), 0o755);
    }
    image.write(path);
}
