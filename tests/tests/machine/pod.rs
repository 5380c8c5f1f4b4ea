//! A pod of a test: started with the product's own stage1 in a data directory that all tests of the run share, because
//! the store is slow to fill, and removed when the test is done with it.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::unistd::Pid;
use rkt_tests::aci::{Aci, manifest};
use rkt_tests::command::{Finished, Running, Stream, limit};
use rkt_tests::rkt::TestRkt;
use rkt_tests::{dist, leaks};

/// Name of the image that does as it is told.
pub const INSPECT: &str = "example.com/inspect";

/// How long a pod may take whose apps do next to nothing.
pub fn brief() -> Duration {
    limit(30)
}

/// The rkt that all tests share.
static RKT: LazyLock<TestRkt> = LazyLock::new(|| {
    assert_eq!(
        kvm_machine::place(),
        kvm_machine::Place::Host,
        "KVM does not work here; run this through `cargo xtask test machine`"
    );
    TestRkt::shared(|rkt| {
        for name in ["inspect", "busybox"] {
            let image = dist::image(name);
            let arguments = ["--insecure-options=image", "fetch", image.to_str().expect("UTF-8")];
            rkt.run(arguments).expect_code(0);
        }
    })
});

/// The rkt that all tests share.
pub fn rkt() -> &'static TestRkt {
    &RKT
}

/// A file name in the shared directory that nobody else has.
pub fn fresh_path(prefix: &str) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    rkt().path(&format!("{prefix}-{}-{number}", std::process::id()))
}

/// The image that does as it is told under another name, with its manifest changed. It has the program only.
pub fn inspect_as(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
    inspect_with(name, change, |root| root)
}

/// The same, with further files in its root file system.
pub fn inspect_with(
    name: &str,
    change: impl FnOnce(&mut serde_json::Value),
    add: impl FnOnce(Aci) -> Aci,
) -> PathBuf {
    let extracted = fresh_path("inspect");
    let arguments = ["image", "extract", "--rootfs-only", INSPECT];
    rkt().run([&arguments[..], &[extracted.to_str().expect("UTF-8")]].concat()).expect_code(0);
    let mut manifest = manifest(name);
    manifest["app"]["exec"] = serde_json::json!(["/inspect"]);
    change(&mut manifest);
    let program = std::fs::read(extracted.join("inspect")).expect("the program");
    let image = fresh_path("image").with_extension("aci");
    add(Aci::new(&manifest).file("rootfs/inspect", 0o755, &program)).write(&image);
    image
}

/// A pod that runs, or ran.
#[derive(Debug)]
pub struct Pod {
    running: Option<Running>,
    /// Its UUID.
    pub uuid: String,
}

/// `rkt run` with the arguments and a file for the UUID.
fn command(arguments: &[&str]) -> (Command, PathBuf) {
    insecure_command("image,http", "none", arguments)
}

/// The same with other checks turned off, and on these networks.
fn insecure_command(options: &str, networks: &str, arguments: &[&str]) -> (Command, PathBuf) {
    let file = fresh_path("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let options = format!("--insecure-options={options}");
    let networks = format!("--net={networks}");
    let mut all = vec!["run", &options, &networks, &save];
    all.extend(arguments);
    (rkt().command(all), file)
}

impl Pod {
    /// Starts a pod.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        let (command, file) = command(arguments);
        Self::of(command, &file)
    }

    /// Starts a pod with these checks turned off.
    #[track_caller]
    pub fn start_insecurely(options: &str, arguments: &[&str]) -> Self {
        let (command, file) = insecure_command(options, "none", arguments);
        Self::of(command, &file)
    }

    /// Starts a pod on these networks.
    #[track_caller]
    pub fn start_on(networks: &str, arguments: &[&str]) -> Self {
        let (command, file) = insecure_command("image,http", networks, arguments);
        Self::of(command, &file)
    }

    /// Starts a mutable pod without apps, and waits until apps may be added.
    #[track_caller]
    pub fn sandbox() -> Self {
        Self::sandbox_with(&[])
    }

    /// The same on these networks.
    #[track_caller]
    pub fn sandbox_on(networks: &str) -> Self {
        Self::sandbox_of(&[&format!("--net={networks}")])
    }

    /// The same with further flags, and no network.
    #[track_caller]
    pub fn sandbox_with(flags: &[&str]) -> Self {
        Self::sandbox_of(&[&["--net=none"], flags].concat())
    }

    #[track_caller]
    fn sandbox_of(flags: &[&str]) -> Self {
        let file = fresh_path("uuid");
        let save = format!("--uuid-file-save={}", file.display());
        let pod = Self::of(rkt().command([&["app", "sandbox", &save], flags].concat()), &file);
        rkt().run(["status", "--wait-ready", &pod.uuid]).expect_code(0);
        pod
    }

    /// Starts a pod of one inspect app that carries out `steps`.
    #[track_caller]
    pub fn inspect(steps: &[&str]) -> Self {
        Self::start(&[&[INSPECT, "--"], steps].concat())
    }

    /// Starts a pod by a shell script in a mount namespace of its own, in which `"$@"` is the rkt command.
    #[track_caller]
    pub fn start_by_script(script: &str, arguments: &[&str]) -> Self {
        Self::start_by_script_on("none", script, arguments)
    }

    /// The same on these networks.
    #[track_caller]
    pub fn start_by_script_on(networks: &str, script: &str, arguments: &[&str]) -> Self {
        let (command, file) = insecure_command("image,http", networks, arguments);
        let mut wrapped = Command::new("unshare");
        wrapped.args(["--mount", "--", "sh", "-c", script, "sh"]).arg(command.get_program());
        wrapped.args(command.get_args()).current_dir(rkt().directory());
        Self::of(wrapped, &file)
    }

    /// Starts a pod with a further environment variable.
    #[track_caller]
    pub fn start_with_env(name: &str, value: &str, arguments: &[&str]) -> Self {
        Self::start_with_envs(&[(name, value)], arguments)
    }

    /// Starts a pod with further environment variables.
    #[track_caller]
    pub fn start_with_envs(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let (mut command, file) = command(arguments);
        command.envs(variables.iter().copied());
        Self::of(command, &file)
    }

    #[track_caller]
    fn of(mut command: Command, file: &std::path::Path) -> Self {
        let mut running = Running::start(&mut command);
        let uuid = rkt().wait_for_uuid(&mut running, file);
        Self { running: Some(running), uuid }
    }

    /// The command that runs.
    pub fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the pod was not waited for yet")
    }

    /// Waits until a line of output holds `text`.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.running().wait_for(Stream::Out, text, brief());
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(&mut self) -> Finished {
        self.finish_within(brief())
    }

    /// Waits for the end of a pod that has more to do.
    #[track_caller]
    pub fn finish_within(&mut self, limit: Duration) -> Finished {
        self.running.take().expect("the pod was not waited for yet").finish(limit)
    }

    /// The supervisor's children that run the pod's executable: the VMM and the file server.
    pub fn helpers(&self) -> Vec<(Pid, String)> {
        let supervisor = self.running.as_ref().expect("the pod runs").pid();
        let mut found = leaks::processes(&self.uuid);
        found.retain(|(pid, _)| *pid != supervisor);
        found
    }

    /// The VMM.
    #[track_caller]
    pub fn vmm(&self) -> Pid {
        self.helper(true)
    }

    /// The file server.
    #[track_caller]
    pub fn file_server(&self) -> Pid {
        self.helper(false)
    }

    /// The two look alike from outside, but for the virtual machine that one of them holds.
    #[track_caller]
    fn helper(&self, has_kvm: bool) -> Pid {
        let holds_kvm = |pid: Pid| open_files(pid).iter().any(|target| target.contains("kvm-vm"));
        let helpers = self.helpers();
        let found = helpers.iter().map(|(pid, _)| *pid).find(|pid| holds_kvm(*pid) == has_kvm);
        found.unwrap_or_else(|| panic!("no such helper among {helpers:?}"))
    }

    /// Checks that nothing of the pod is mounted, runs, listens or has a cgroup.
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        let left = leaks::of_pod(&self.uuid);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Deref for Pod {
    type Target = TestRkt;

    fn deref(&self) -> &TestRkt {
        rkt()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.running.take());
        // A test may have removed it, and a failed one left it in any state.
        let _ = rkt().command(["rm", &self.uuid]).output();
    }
}

/// The image ID of an image that was fetched.
#[track_caller]
pub fn image_id(name: &str) -> String {
    let ids = rkt().run(["image", "list", "--full", "--no-legend", "--fields=id,name"]).expect_code(0).out();
    let line = ids.lines().find(|line| line.contains(name)).expect("it was fetched");
    line.split_whitespace().next().expect("an ID").to_owned()
}

/// A file with the manifest of a pod that has these apps, for `--pod-manifest`.
pub fn pod_manifest(apps: &[serde_json::Value]) -> String {
    let manifest = fresh_path("manifest");
    let json = serde_json::json!({ "acVersion": "0.8.11", "acKind": "PodManifest", "apps": apps });
    std::fs::write(&manifest, json.to_string()).expect("writing a manifest");
    format!("--pod-manifest={}", manifest.display())
}

/// An app of such a pod: a shell in the busybox image that runs `script`, with what else `section` says.
pub fn shell_app(name: &str, script: &str, section: &serde_json::Value) -> serde_json::Value {
    let mut app = serde_json::json!({ "exec": ["/bin/sh", "-c", script], "user": "0", "group": "0" });
    for (key, value) in section.as_object().expect("an object") {
        app[key] = value.clone();
    }
    let image = serde_json::json!({ "name": "example.com/busybox", "id": image_id("example.com/busybox") });
    serde_json::json!({ "name": name, "image": image, "app": app })
}

/// What a process has open, as `/proc` names it.
pub fn open_files(pid: Pid) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let targets = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

/// What an app said: its lines of the stream, without rkt's label. Lines of rkt's own, which have none, are left out.
pub fn said(stream: &[u8], app: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(stream);
    let labelled = text.lines().filter(|line| line.starts_with('[')).map(labelled);
    labelled.filter(|(name, _)| *name == app).map(|(_, said)| said.to_owned()).collect()
}

/// Splits a line of the form `[SECONDS.MICROS] APP[PID]: TEXT`.
#[track_caller]
pub fn labelled(line: &str) -> (&str, &str) {
    let parse = || {
        let (uptime, rest) = line.strip_prefix('[')?.split_once("] ")?;
        let (app, rest) = rest.split_once('[')?;
        let (pid, said) = rest.split_once("]: ")?;
        uptime.trim().parse::<f64>().ok()?;
        pid.parse::<u32>().ok()?;
        Some((app, said))
    };
    parse().unwrap_or_else(|| panic!("not a line of an app: {line:?}"))
}
