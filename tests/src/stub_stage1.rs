//! A stage1 image that is ten shell scripts: it does what the stage1 ABI asks of `run`, `enter`, `stop`, `gc`, `attach`
//! and `app/…` (rkt's stage1 implementors' guide) without a virtual machine, so that all of stage0 can be tested anywhere. It is also the
//! foreign stage1 that shows that stage0 keeps to the ABI.
//!
//! What the image says of itself is set by [`Stub`]. What its entrypoints do is set by variables in rkt's environment,
//! which stage0 hands on:
//!
//! | variable | effect |
//! |---|---|
//! | `STUB_FAIL=CODE` | `run` ends at once, before it has written anything |
//! | `STUB_APP_CODE=CODE` | every app's exit code, and `run`'s |
//! | `STUB_RUN_APPS=1` | `run` runs `/app` in the root directory of each app, whose code becomes the app's |
//! | `STUB_HOLD=FILE` | the pod runs until the file is gone |
//! | `STUB_PID_HOLD=FILE` | `pid` is not written until the file is gone |
//! | `STUB_READY_HOLD=FILE` | the pod is not ready until the file is gone |
//! | `STUB_PPID=1` | `run` writes `ppid`, its own, and has one child that is the pod |
//! | `STUB_NET_INFO=JSON` | content of `net-info.json` |
//! | `STUB_SUBCGROUP=PATH` | content of `subcgroup` |
//! | `STUB_NOTE_DESCRIPTORS=1` | `run` leaves a list of its descriptors |
//! | `STUB_STOPPED_CODE=CODE` | every app's exit code when the pod was stopped |
//! | `STUB_IGNORE_STOP=1` | SIGTERM does not stop the pod |
//! | `STUB_ENTER_EXEC=1` | `enter` runs the command on the host, in the app's root directory |
//! | `STUB_ENTER_CODE=CODE` | `enter`'s exit code when it does not |
//! | `STUB_STOP_CODE=CODE` | `stop`'s exit code; it does nothing then |
//! | `STUB_GC_CODE=CODE` | `gc`'s exit code |
//! | `STUB_GC_KILLED=1` | somebody kills `gc` |
//! | `STUB_GC_NOTE=FILE` | `gc` appends its arguments |
//!
//! Those that work on the apps of a running pod see nothing of rkt's environment. What they do is set by files in the pod's
//! directory, NAME being `add`, `start`, `stop`, `rm` or `attach`:
//!
//! | file | effect |
//! |---|---|
//! | `stub-NAME-code` | the entrypoint complains and ends with the code in it, having done nothing |
//! | `stub-NAME-hold` | it waits until the file is gone |
//! | `stub-attach-echo` | `attach` copies its input to its output |
//!
//! `stub-apps` has a file for each app that was added, with `started` in it while the app runs.
//!
//! Each entrypoint but `gc` leaves in the pod's directory what it was called with: `stub-arguments`,
//! `stub-environment` (as `export -p` prints it), `stub-directory`, `stub-program`, and the same with `stub-enter-` and
//! `stub-stop-`, or with `stub-app-NAME-`. The scripts start as few processes as they can, as hundreds of pods run on them.

use std::path::Path;

use serde_json::{Value, json};

use crate::aci::Aci;

/// Name of the image.
pub const NAME: &str = "example.com/stub-stage1";

/// Its version.
pub const VERSION: &str = "1.0.0";

/// Leaves in the pod's directory what the entrypoint was called with.
macro_rules! note {
    ($prefix:literal) => {
        concat!(
            "printf '%s\\n' \"$@\" >",
            $prefix,
            "-arguments\nexport -p >",
            $prefix,
            "-environment\npwd -P >",
            $prefix,
            "-directory\nprintf '%s\\n' \"$0\" >",
            $prefix,
            "-program\n"
        )
    };
}

const RUN: &str = concat!(
    "#!/bin/sh\nset -e\n[ -z \"$STUB_FAIL\" ] || exit \"$STUB_FAIL\"\n",
    note!("stub"),
    r#"
stopped=
trap 'stopped=1' TERM
[ -z "$STUB_IGNORE_STOP" ] || trap '' TERM
[ -z "$STUB_NOTE_DESCRIPTORS" ] || ls -l "/proc/$$/fd" >stub-descriptors
hold() {
    while [ -n "$1" ] && [ -e "$1" ] && [ -z "$stopped" ]; do
        sleep 0.1
    done
}
live() {
    ln -s ready stage1/rootfs/rkt/supervisor-status
    echo "stub: pod is up"
    hold "$STUB_HOLD"
}
code=${STUB_APP_CODE:-0}
[ -z "$STUB_NET_INFO" ] || printf '%s' "$STUB_NET_INFO" >net-info.json
[ -z "$STUB_SUBCGROUP" ] || printf '%s' "$STUB_SUBCGROUP" >subcgroup
hold "$STUB_PID_HOLD"
if [ -n "$STUB_PPID" ]; then
    (trap 'stopped=1' TERM; hold "$STUB_READY_HOLD"; live; [ -z "$stopped" ] || exit 9) &
    child=$!
    trap 'kill -TERM $child' TERM
    echo $$ >ppid
    while kill -0 $child 2>/dev/null; do
        wait $child || { [ $? -ne 9 ] || stopped=1; }
    done
else
    echo $$ >pid
    hold "$STUB_READY_HOLD"
    live
fi
[ -z "$stopped" ] || code=${STUB_STOPPED_CODE:-0}
for app in stage1/rootfs/opt/stage2/*; do
    [ -d "$app" ] || continue
    if [ -n "$STUB_RUN_APPS" ]; then
        code=0
        chroot "$app/rootfs" /app || code=$?
    fi
    echo "$code" >"stage1/rootfs/rkt/status/${app##*/}"
done
exit "$code"
"#
);

const ENTER: &str = concat!(
    "#!/bin/sh\n",
    note!("stub-enter"),
    r#"
while [ $# -gt 0 ]; do
    case $1 in
    --appname=*) app=${1#*=} ;;
    --) shift; break ;;
    esac
    shift
done
[ -n "$STUB_ENTER_EXEC" ] || exit "${STUB_ENTER_CODE:-0}"
cd "stage1/rootfs/opt/stage2/$app/rootfs" || exit 1
exec "$@"
"#
);

/// Waits for the end of the pod's process, which is a zombie then until its parent looks.
const STOP: &str = concat!(
    "#!/bin/sh\n",
    note!("stub-stop"),
    r#"
[ -z "$STUB_STOP_CODE" ] || exit "$STUB_STOP_CODE"
if [ -e pid ]; then read -r pid <pid; else read -r pid <ppid; fi
signal=TERM
for argument in "$@"; do
    [ "$argument" != --force ] || signal=KILL
done
if [ $signal = KILL ] && [ -e ppid ]; then
    read -r children <"/proc/$pid/task/$pid/children"
    kill -KILL $children
fi
kill -$signal "$pid" || exit 1
while read -r _ _ state _ 2>/dev/null <"/proc/$pid/stat" && [ "$state" != Z ]; do
    sleep 0.05
done
exit 0
"#
);

const GC: &str = r#"#!/bin/sh
[ -z "$STUB_GC_NOTE" ] || printf '%s\n' "$@" >>"$STUB_GC_NOTE"
[ -z "$STUB_GC_KILLED" ] || kill -9 $$
echo "stub: gc"
exit "${STUB_GC_CODE:-0}"
"#;

/// What the entrypoints for apps begin with. Output is rkt's to show or not.
macro_rules! crossing {
    ($name:literal) => {
        concat!(
            "#!/bin/sh\nPATH=$PATH:/usr/bin:/bin\n",
            "tr '\\0' '\\n' </proc/$$/environ >stub-app-",
            $name,
            "-environment\nprintf '%s\\n' \"$@\" >stub-app-",
            $name,
            "-arguments\npwd -P >stub-app-",
            $name,
            "-directory\nprintf '%s\\n' \"$0\" >stub-app-",
            $name,
            "-program\nwhile [ -e stub-",
            $name,
            "-hold ]; do sleep 0.05; done\nif [ -e stub-",
            $name,
            "-code ]; then\n    read -r code <stub-",
            $name,
            "-code\n    echo \"stub: ",
            $name,
            " failed\" >&2\n    exit \"$code\"\nfi\n",
            "for argument in \"$@\"; do\n    case $argument in --app=*) app=${argument#*=} ;; esac\ndone\n"
        )
    };
}

const ATTACH: &str = concat!(crossing!("attach"), "[ ! -e stub-attach-echo ] || exec cat\n");

/// Prints where it was started, and fails if the pod directory says so.
const METRICS: &str = r#"#!/bin/sh
PATH=$PATH:/usr/bin:/bin
echo "stub_metrics{directory=\"$(pwd -P)\"} $#"
[ ! -e stub-metrics-code ] || { read -r code <stub-metrics-code; exit "$code"; }
"#;

const APP_ADD: &str = concat!(
    crossing!("add"),
    r#"
echo "stub: add $app"
mkdir -p stub-apps
[ -d "stage1/rootfs/opt/stage2/$app/rootfs" ] || exit 1
[ ! -e "stub-apps/$app" ] || exit 1
: >"stub-apps/$app"
"#
);

const APP_START: &str = concat!(
    crossing!("start"),
    r#"
echo "stub: start $app"
[ -e "stub-apps/$app" ] || exit 5
echo started >"stub-apps/$app"
"#
);

const APP_STOP: &str = concat!(
    crossing!("stop"),
    r#"
echo "stub: stop $app"
[ -s "stub-apps/$app" ] || exit 5
: >"stub-apps/$app"
echo 0 >"stage1/rootfs/rkt/status/$app"
"#
);

const APP_RM: &str = concat!(crossing!("rm"), "echo \"stub: rm $app\"\nrm -f \"stub-apps/$app\"\n");

/// A stage1 image to be.
#[derive(Debug, Clone)]
pub struct Stub {
    /// Its name.
    pub name: &'static str,
    /// Its label `version`.
    pub version: &'static str,
    /// Text of its annotation `interface-version`; none if empty.
    pub interface: &'static str,
    /// The entrypoints it has.
    pub entrypoints: Vec<&'static str>,
    /// Further annotations.
    pub annotations: Vec<(&'static str, &'static str)>,
}

impl Default for Stub {
    fn default() -> Self {
        Self {
            name: NAME,
            version: VERSION,
            interface: "6",
            entrypoints: vec![
                "run",
                "enter",
                "stop",
                "gc",
                "app/add",
                "app/start",
                "app/stop",
                "app/rm",
                "attach",
                "metrics",
            ],
            annotations: Vec::new(),
        }
    }
}

impl Stub {
    /// An image that cannot do something.
    #[must_use]
    pub fn without(mut self, entrypoint: &str) -> Self {
        self.entrypoints.retain(|name| *name != entrypoint);
        self
    }

    /// Writes the image.
    pub fn write(&self, path: &Path) {
        self.aci().write(path);
    }

    /// The image.
    pub fn aci(&self) -> Aci {
        let mut image = Aci::new(&self.manifest());
        for (file, script) in [
            ("init", RUN),
            ("enter", ENTER),
            ("stop", STOP),
            ("gc", GC),
            ("app_add", APP_ADD),
            ("app_start", APP_START),
            ("app_stop", APP_STOP),
            ("app_rm", APP_RM),
            ("attach", ATTACH),
            ("metrics", METRICS),
        ] {
            image = image.file(&format!("rootfs/{file}"), 0o755, script.as_bytes());
        }
        for directory in ["etc", "opt", "opt/stage2", "rkt", "rkt/status", "rkt/env"] {
            image = image.directory(&format!("rootfs/{directory}"), 0o755);
        }
        image
    }

    fn manifest(&self) -> Value {
        let annotation = |name: &str, value: &str| json!({ "name": format!("coreos.com/rkt/stage1/{name}"), "value": value });
        let mut annotations = Vec::new();
        for entrypoint in &self.entrypoints {
            let file = if *entrypoint == "run" { "init".to_owned() } else { entrypoint.replace('/', "_") };
            annotations.push(annotation(entrypoint, &format!("/{file}")));
        }
        if !self.interface.is_empty() {
            annotations.push(annotation("interface-version", self.interface));
        }
        for (name, value) in &self.annotations {
            annotations.push(json!({ "name": name, "value": value }));
        }
        json!({
            "acKind": "ImageManifest",
            "acVersion": "0.8.11",
            "name": self.name,
            "labels": [
                { "name": "version", "value": self.version },
                { "name": "os", "value": "linux" },
                { "name": "arch", "value": "amd64" },
            ],
            "annotations": annotations,
        })
    }
}

/// Writes the image that has every entrypoint and the newest interface.
pub fn write(path: &Path) {
    Stub::default().write(path);
}
