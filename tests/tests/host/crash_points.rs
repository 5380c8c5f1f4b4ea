//! rkt killed at every labelled point of its life: what is on disk then is a state that the reference allows, every later
//! command works, and garbage collection brings the data directory to where it would be without the crash.
//!
//! Each command runs once undisturbed, which tells the points it passes; then once for each of them, killed there. A
//! point in the source that no command passes fails the test.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use rkt_tests::aci::Aci;
use rkt_tests::command::{self, Finished, Running, Stream, limit};
use rkt_tests::faults::{self, Moment};
use rkt_tests::gpg::Gpg;
use rkt_tests::oci::{Image, Layer, Layout};
use rkt_tests::rkt::{RKT_FAILED, TestRkt};
use rkt_tests::server::{Answer, Server};
use rkt_tests::{cas, dist, leaks, stub_stage1};

use crate::publisher::{self, NAME};

/// Threads that kill, more than there are processors: a command waits for its children most of the time.
const KILLERS: usize = 4;

/// States in which a pod is listed while nobody holds its lock (rkt-reference.md 2.3).
const UNLOCKED: [&str; 4] = ["aborted prepare", "prepared", "exited", "exited garbage"];

/// Collects whatever can be collected.
const GC: [&str; 3] = ["gc", "--grace-period=0s", "--expire-prepared=0s"];
const IMAGE_GC: [&str; 3] = ["image", "gc", "--grace-period=0s"];

/// Stands for the UUID in the file `uuid` in a command.
const UUID: &str = "@uuid";

/// What a command has to do, and where it finds the rkt.
struct Scenario {
    name: &'static str,
    /// Commands before, which are not killed.
    before: fn(&Subject<'_>),
    /// The command that is killed.
    command: Vec<String>,
    /// Why it may refuse to be repeated after its crash: it had done its work.
    done: &'static [&'static str],
}

/// What every scenario shares.
struct Fixtures {
    /// A data directory with the images fetched, and nothing else.
    fetched: TestRkt,
    server: Server,
    layout: Layout,
}

/// An rkt that commands are killed at.
struct Subject<'f> {
    rkt: TestRkt,
    fixtures: &'f Fixtures,
    /// Pods that nobody has stopped yet.
    running: RefCell<Vec<Running>>,
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// `rkt run` and its like, with the images that are in the store.
fn with_images(command: &str, further: &[&str]) -> Vec<String> {
    let stage1 = format!("--stage1-name={}:1.0.0", stub_stage1::NAME);
    let mut words = text(&[command, "--insecure-options=image"]);
    words.push(stage1);
    words.extend(text(further));
    words.push(NAME.to_owned());
    words
}

/// `rkt app sandbox` with the stage1 that is in the store.
fn sandbox_words(further: &[&str]) -> Vec<String> {
    let mut words = text(&["app", "sandbox", "--insecure-options=image"]);
    words.push(format!("--stage1-name={}:1.0.0", stub_stage1::NAME));
    words.extend(text(further));
    words
}

impl Fixtures {
    fn new() -> Self {
        let fetched = TestRkt::with_program(&faults::file("rkt"));
        stub_stage1::write(&fetched.path("stub.aci"));
        publisher::image(&fetched, "app.aci");
        let layer = |name| Layer::new(&Aci::empty().file(name, 0o644, name.as_bytes()));
        let layout = Layout::of(&Image::new([layer("lower"), layer("upper")]));
        for image in ["./stub.aci", "./app.aci", &layout.reference("latest")] {
            fetched.run(["fetch", "--insecure-options=image", image]).expect_code(0);
        }
        let gpg = Gpg::new();
        gpg.export(&gpg.generate("ed25519", publisher::USER), &fetched.path("key.asc"));
        let server = Server::http();
        let body = publisher::small_image().gzip();
        server.answer("/app.aci", Answer::body(body).etag("one"));
        Self { fetched, server, layout }
    }

    fn subject(&self) -> Subject<'_> {
        let rkt = TestRkt::with_program(&faults::file("rkt"));
        // Syncs of a disk would take most of the time.
        mount(Some("tmpfs"), &rkt.data(), Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .expect("a tmpfs");
        for file in ["app.aci", "key.asc"] {
            fs::copy(self.fetched.path(file), rkt.path(file)).expect("copying");
        }
        Subject { rkt, fixtures: self, running: RefCell::default() }
    }
}

fn an_empty_store(_: &Subject<'_>) {}

fn fetched_images(subject: &Subject<'_>) {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(subject.fixtures.fetched.data().join(".")).arg(subject.rkt.data());
    command::run(&mut copy, limit(20)).expect_code(0);
}

fn an_exited_pod(subject: &Subject<'_>) {
    fetched_images(subject);
    subject.rkt.run(with_images("run", &["--uuid-file-save=uuid"])).expect_code(0);
}

fn a_prepared_pod(subject: &Subject<'_>) {
    fetched_images(subject);
    let uuid = subject.rkt.run(with_images("prepare", &["--quiet"])).expect_code(0).out();
    fs::write(subject.rkt.path("uuid"), uuid.trim()).expect("writing");
}

fn a_running_pod(subject: &Subject<'_>) {
    fetched_images(subject);
    let hold = subject.rkt.path("hold");
    fs::write(&hold, "").expect("writing");
    let mut command = subject.rkt.command(with_images("run", &["--uuid-file-save=uuid"]));
    let mut pod = Running::start(command.env("STUB_HOLD", hold));
    pod.wait_for(Stream::Out, "stub: pod is up", limit(60));
    subject.running.borrow_mut().push(pod);
}

fn a_sandbox_with(subject: &Subject<'_>, further: &[&str], commands: &[&[&str]]) {
    fetched_images(subject);
    let hold = subject.rkt.path("hold");
    fs::write(&hold, "").expect("writing");
    let mut command = subject.rkt.command(sandbox_words(&[&["--uuid-file-save=uuid"], further].concat()));
    let mut pod = Running::start(command.env("STUB_HOLD", hold));
    pod.wait_for(Stream::Out, "stub: pod is up", limit(60));
    subject.running.borrow_mut().push(pod);
    let uuid = subject.rkt.uuid("uuid");
    for command in commands {
        let word = |word: &&str| if *word == UUID { uuid.clone() } else { (*word).to_owned() };
        subject.rkt.run(command.iter().map(word)).expect_code(0);
    }
}

const ADD: [&str; 5] = ["app", "add", UUID, NAME, "--name=a"];
const START: [&str; 4] = ["app", "start", UUID, "--app=a"];
const STOP: [&str; 4] = ["app", "stop", UUID, "--app=a"];
const APP_RM: [&str; 4] = ["app", "rm", UUID, "--app=a"];

/// With another app of the same image, which must not be touched.
fn a_sandbox(subject: &Subject<'_>) {
    a_sandbox_with(subject, &[], &[&["app", "add", UUID, NAME, "--name=b"]]);
}

fn a_sandbox_of_copies(subject: &Subject<'_>) {
    a_sandbox_with(subject, &["--no-overlay"], &[]);
}

fn an_added_app(subject: &Subject<'_>) {
    a_sandbox_with(subject, &[], &[&ADD]);
}

fn an_app_that_has_ended(subject: &Subject<'_>) {
    a_sandbox_with(subject, &[], &[&ADD, &START, &STOP]);
}

fn an_app_of_an_exited_pod(subject: &Subject<'_>) {
    a_sandbox_with(subject, &[], &[&ADD, &START]);
    subject.end_pods();
}

fn an_app_that_was_half_added(subject: &Subject<'_>) {
    a_sandbox_with(subject, &[], &[]);
    let uuid = subject.rkt.uuid("uuid");
    let mut add = subject.rkt.command(["app", "add", &uuid, NAME, "--name=a"]);
    Moment { point: "app.called".to_owned(), hit: 1 }.ends(&mut add);
    expect_killed(&command::run(&mut add, limit(20)), "app add");
}

fn a_pod_whose_preparation_was_aborted(subject: &Subject<'_>) {
    fetched_images(subject);
    let mut run = subject.rkt.command(with_images("run", &["--uuid-file-save=uuid"]));
    Moment { point: "pod.stage1.written".to_owned(), hit: 1 }.ends(&mut run);
    expect_killed(&command::run(&mut run, limit(20)), "run");
}

fn pods_of_many_kinds(subject: &Subject<'_>) {
    a_pod_whose_preparation_was_aborted(subject);
    subject.rkt.run(with_images("run", &["--no-overlay"])).expect_code(0);
    subject.rkt.run(with_images("run", &[])).expect_code(0);
}

fn an_exited_pod_after_a_reboot(subject: &Subject<'_>) {
    an_exited_pod(subject);
    let pods = subject.rkt.data().join("pods");
    assert!(!leaks::mounts_below(&pods).is_empty(), "the pod has no overlay");
    leaks::unmount_below(&pods);
}

fn rendered_images(subject: &Subject<'_>) {
    an_exited_pod(subject);
    subject.rkt.run(GC).expect_code(0);
}

fn scenarios(fixtures: &Fixtures) -> Vec<Scenario> {
    let layers = fixtures.layout.reference("latest");
    let url = fixtures.server.url("/app.aci");
    let fetch = |image: &str| text(&["fetch", "--insecure-options=image,http", image]);
    let scenario = |name, before, command, done| Scenario { name, before, command, done };
    vec![
        scenario("fetch of a file", an_empty_store as fn(&Subject<'_>), fetch("./app.aci"), &[]),
        scenario("fetch of a URL", an_empty_store, fetch(&url), &[]),
        scenario("fetch of layers", an_empty_store, fetch(&layers), &[]),
        scenario("run", fetched_images, with_images("run", &["--uuid-file-save=uuid"]), &[]),
        scenario("run --no-overlay", fetched_images, with_images("run", &["--no-overlay"]), &[]),
        scenario("prepare", fetched_images, with_images("prepare", &[]), &[]),
        scenario("prepare --no-overlay", fetched_images, with_images("prepare", &["--no-overlay"]), &[]),
        scenario("run-prepared", a_prepared_pod, text(&["run-prepared", UUID]), &["is not prepared"]),
        scenario("stop", a_running_pod, text(&["stop", UUID]), &[]),
        scenario("stop --force", a_running_pod, text(&["stop", "--force", UUID]), &[]),
        scenario("rm of a prepared pod", a_prepared_pod, text(&["rm", UUID]), &["no matches found"]),
        scenario("rm", an_exited_pod, text(&["rm", UUID]), &["no matches found"]),
        scenario(
            "rm of an aborted pod",
            a_pod_whose_preparation_was_aborted,
            text(&["rm", UUID]),
            &["no matches found"],
        ),
        scenario("gc", pods_of_many_kinds, text(&GC), &[]),
        scenario("gc --mark-only", pods_of_many_kinds, text(&["gc", "--mark-only"]), &[]),
        scenario("gc after a reboot", an_exited_pod_after_a_reboot, text(&GC), &[]),
        scenario(
            "trust",
            an_empty_store,
            text(&["trust", "--root", "--skip-fingerprint-review", "key.asc"]),
            &[],
        ),
        scenario("export", an_exited_pod, text(&["export", UUID, "out.aci"]), &["exists"]),
        scenario(
            "export after a reboot",
            an_exited_pod_after_a_reboot,
            text(&["export", UUID, "out.aci"]),
            &["exists"],
        ),
        scenario("app sandbox", fetched_images, sandbox_words(&[]), &[]),
        scenario("app add", a_sandbox, text(&ADD), &["multiple apps"]),
        scenario("app add without overlay", a_sandbox_of_copies, text(&ADD), &["multiple apps"]),
        scenario(
            "app add after one that was killed",
            an_app_that_was_half_added,
            text(&ADD),
            &["multiple apps"],
        ),
        scenario("app start", an_added_app, text(&START), &[]),
        scenario("app start again", an_app_that_has_ended, text(&START), &[]),
        scenario("app rm", an_app_that_has_ended, text(&APP_RM), &["nonexistent app"]),
        scenario("app rm of an exited pod", an_app_of_an_exited_pod, text(&APP_RM), &["nonexistent app"]),
        scenario("image rm", rendered_images, text(&["image", "rm", NAME]), &["no image IDs found"]),
        scenario("image gc", rendered_images, text(&IMAGE_GC), &[]),
        scenario("image export", fetched_images, text(&["image", "export", NAME, "out.aci"]), &["exists"]),
        scenario("image render", fetched_images, text(&["image", "render", NAME, "out"]), &["exists"]),
    ]
}

#[track_caller]
fn expect_killed(output: &Finished, what: &str) {
    assert_eq!(output.code(), 128 + Signal::SIGKILL as i32, "{what} did not die where it should: {output:?}");
}

/// What is in a directory: for each path its kind and mode. What a database needs on disk depends on its history.
fn manifest(directory: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory_) = waiting.pop() {
        for entry in fs::read_dir(&directory_).expect("listing").flatten() {
            let metadata = entry.path().symlink_metadata().expect("a file");
            let path = entry.path();
            let name = path.strip_prefix(directory).expect("it is below").to_string_lossy().into_owned();
            found.insert(name, metadata.mode());
            if metadata.is_dir() {
                waiting.push(path);
            }
        }
    }
    found
}

impl Subject<'_> {
    /// The scenario's command.
    fn command(&self, scenario: &Scenario) -> Command {
        let uuid = fs::read_to_string(self.rkt.path("uuid")).unwrap_or_default();
        let word = |word: &String| if word == UUID { uuid.clone() } else { word.clone() };
        self.rkt.command(scenario.command.iter().map(word))
    }

    fn end_pods(&self) {
        // Nobody may have stopped them.
        let _ = fs::remove_file(self.rkt.path("hold"));
        self.running.borrow_mut().drain(..).for_each(|pod| drop(pod.finish(limit(60))));
    }

    /// Everything that must work after a crash, up to collecting all there is; returns what then is on disk.
    fn recover(&self, scenario: &Scenario) -> BTreeMap<String, u32> {
        let rkt = &self.rkt;
        self.check_pods();
        rkt.run(["image", "list"]).expect_code(0);
        let again = command::run(&mut self.command(scenario), limit(60));
        let done = scenario.done.iter().any(|reason| again.err().contains(reason));
        assert!(again.code() == 0 || (again.code() == RKT_FAILED && done), "repeated: {again:?}");
        cas::check(&rkt.data());
        self.end_pods();

        rkt.run(["fetch", "--insecure-options=image", "./app.aci"]).expect_code(0);
        let stub = self.fixtures.fetched.path("stub.aci");
        let stub = stub.to_str().expect("UTF-8");
        rkt.run(["fetch", "--insecure-options=image", stub]).expect_code(0);
        rkt.run(with_images("run", &["--uuid-file-save=later"])).expect_code(0);
        rkt.run(["rm", "--uuid-file=later"]).expect_code(0);
        self.check_pods();
        rkt.run(GC).expect_code(0);
        rkt.run(GC).expect_code(0);
        rkt.run(IMAGE_GC).expect_code(0);

        let left = leaks::below(&rkt.data().join("pods"));
        assert!(left.is_empty(), "left behind: {left:#?}");
        manifest(&rkt.data())
    }

    /// Each pod's state is one that the reference allows when nobody is at work, and commands can be asked about it.
    fn check_pods(&self) {
        let rkt = &self.rkt;
        let listed = rkt.run(["list", "--full"]).expect_code(0);
        assert!(listed.err().is_empty(), "{listed:?}");
        // Embryos and garbage are nobody's to name (2.3, "UUIDs").
        for uuid in
            ["prepare", "prepared", "run", "exited-garbage"].iter().flat_map(|stage| rkt.pods_in(stage))
        {
            assert!(listed.out().contains(&uuid), "{uuid} is not listed: {listed:?}");
            let state = rkt.status_value(&uuid, "state").expect("a state");
            let is_running = state == "running" && !self.running.borrow().is_empty();
            assert!(is_running || UNLOCKED.contains(&state.as_str()), "{uuid} is {state:?}");
            if state != "aborted prepare" {
                rkt.run(["cat-manifest", &uuid]).expect_code(0);
            }
        }
    }
}

/// The first and the last time that each point is passed.
fn first_and_last(moments: Vec<Moment>) -> BTreeSet<Moment> {
    let last = |moment: &Moment| {
        moments.iter().filter(|other| other.point == moment.point).map(|other| other.hit).max()
            == Some(moment.hit)
    };
    moments.iter().filter(|moment| moment.hit == 1 || last(moment)).cloned().collect()
}

/// A command to kill, and what must be on disk in the end.
struct Kill<'s> {
    scenario: &'s Scenario,
    moment: Moment,
    expected: BTreeMap<String, u32>,
}

impl Kill<'_> {
    fn carry_out(&self, fixtures: &Fixtures) {
        let subject = fixtures.subject();
        (self.scenario.before)(&subject);
        let mut command = subject.command(self.scenario);
        self.moment.ends(&mut command);

        let output = command::run(&mut command, limit(60));

        expect_killed(&output, self.scenario.name);
        let found = subject.recover(self.scenario);
        let differences: Vec<_> = found
            .iter()
            .filter(|(path, mode)| self.expected.get(*path) != Some(mode))
            .chain(self.expected.iter().filter(|(path, _)| !found.contains_key(*path)))
            .collect();
        assert!(differences.is_empty(), "another disk than without the crash: {differences:#?}");
    }
}

/// Runs a scenario undisturbed; returns the kills that it stands for.
fn kills<'s>(scenario: &'s Scenario, fixtures: &Fixtures) -> Vec<Kill<'s>> {
    let subject = fixtures.subject();
    (scenario.before)(&subject);
    let trace = subject.rkt.path("trace");
    let mut command = subject.command(scenario);
    faults::trace(&mut command, &trace);
    command::run(&mut command, limit(60)).expect_code(0);
    let moments = faults::traced(&trace);
    assert!(!moments.is_empty(), "{} passes no point", scenario.name);
    let expected = subject.recover(scenario);
    let moments = first_and_last(moments).into_iter();
    moments.map(|moment| Kill { scenario, moment, expected: expected.clone() }).collect()
}

/// Does something with each of `items`, several at a time.
fn each<T: Send, R: Send>(items: Vec<T>, act: impl Fn(T) -> R + Sync) -> Vec<R> {
    let (items, results) = (Mutex::new(items.into_iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..KILLERS {
            scope.spawn(|| {
                loop {
                    let Some(item) = items.lock().expect("nobody panics with the lock").next() else {
                        return;
                    };
                    let result = act(item);
                    results.lock().expect("nobody panics with the lock").push(result);
                }
            });
        }
    });
    results.into_inner().expect("nobody panics with the lock")
}

#[test]
fn killed_at_any_point_rkt_leaves_what_it_can_go_on_with_and_collect() {
    let fixtures = Fixtures::new();
    let scenarios = scenarios(&fixtures);

    let kills: Vec<Kill<'_>> = each(scenarios.iter().collect(), |scenario| kills(scenario, &fixtures))
        .into_iter()
        .flatten()
        .collect();

    let passed: BTreeSet<String> = kills.iter().map(|kill| kill.moment.point.clone()).collect();
    let points = faults::points("stage0");
    assert!(points.len() >= 40, "{} points", points.len());
    let missed: Vec<_> = points.difference(&passed).collect();
    assert!(missed.is_empty(), "no scenario passes {missed:?}");
    println!("{} points, {} kills", points.len(), kills.len());
    let failures: Vec<String> = each(kills, |kill| {
        let moment = format!("{} at {} ({})", kill.scenario.name, kill.moment.point, kill.moment.hit);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kill.carry_out(&fixtures)));
        outcome.err().map(|_| moment)
    })
    .into_iter()
    .flatten()
    .collect();
    assert!(failures.is_empty(), "{} kills were not survived: {failures:#?}", failures.len());
}

#[test]
fn the_product_has_no_points() {
    let has_points = |path: &Path| {
        let program = fs::read(path).expect("reading");
        program.windows(b"RKT_FAULT_POINT".len()).any(|bytes| bytes == b"RKT_FAULT_POINT")
    };

    assert!(!has_points(&dist::file("rkt")));
    assert!(has_points(&faults::file("rkt")));
}
