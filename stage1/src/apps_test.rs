use guest_api::AppId;

use crate::apps::{Apps, Effect};
use crate::control_socket::protocol::{Reply, Request};
use crate::control_socket::server::ClientId;
use crate::plan::AppPlan;
use crate::plan_test::app_plan;

const A: ClientId = ClientId(1);
const B: ClientId = ClientId(2);

fn named(name: &str) -> String {
    name.to_owned()
}

fn ask(apps: &mut Apps, client: ClientId, request: Request) -> Vec<Effect> {
    apps.request(client, &request, true).unwrap()
}

fn start(run: u16, plan: &AppPlan) -> Effect {
    let mut plan = plan.clone();
    plan.spec.id = AppId(run);
    Effect::Start(AppId(run), Box::new(plan))
}

fn failed(client: ClientId, reason: &str) -> Vec<Effect> {
    vec![Effect::Reply(client, Reply::Failed(named(reason)))]
}

fn done(client: ClientId) -> Vec<Effect> {
    vec![Effect::Reply(client, Reply::Done)]
}

/// A pod with one app that was added and not started.
fn with(name: &str) -> Apps {
    let mut apps = Apps::new(true, []);
    assert_eq!(ask(&mut apps, A, Request::AddApp(named(name))), [Effect::Add(named(name))]);
    assert_eq!(apps.added(name, Ok(app_plan(name))), done(A));
    apps
}

/// The same with the app running as number 0.
fn running(name: &str) -> Apps {
    let mut apps = with(name);
    assert_eq!(ask(&mut apps, A, Request::StartApp(named(name))), [start(0, &app_plan(name))]);
    assert_eq!(apps.started(AppId(0)), done(A));
    apps
}

#[test]
fn app_is_forgotten_before_it_runs_again_under_another_number() {
    let mut apps = running("one");
    assert_eq!(apps.exited(AppId(0)), []);

    let forget = Effect::Forget(AppId(0), named("one"));
    assert_eq!(ask(&mut apps, B, Request::StartApp(named("one"))), [forget]);
    assert_eq!(apps.forgotten(AppId(0)), [start(1, &app_plan("one"))]);
    assert_eq!(apps.started(AppId(1)), done(B));
}

#[test]
fn everybody_who_stops_an_app_is_answered_when_it_has_ended() {
    let mut apps = running("one");

    assert_eq!(ask(&mut apps, A, Request::StopApp(named("one"))), [Effect::Stop(AppId(0))]);
    assert_eq!(ask(&mut apps, B, Request::StopApp(named("one"))), [Effect::Stop(AppId(0))]);

    assert_eq!(apps.exited(AppId(0)), [done(A), done(B)].into_iter().flatten().collect::<Vec<_>>());
    let not_running = [Effect::Reply(A, Reply::NotRunning)];
    assert_eq!(ask(&mut apps, A, Request::StopApp(named("one"))), not_running);
    assert_eq!(ask(&mut apps, A, Request::StopApp(named("none"))), not_running);
}

#[test]
fn app_that_cannot_be_started_says_why_and_may_be_started_again() {
    let mut apps = with("one");
    ask(&mut apps, A, Request::StartApp(named("one")));

    assert_eq!(apps.start_failed(AppId(0), "no such file"), failed(A, "no such file"));

    let forget = Effect::Forget(AppId(0), named("one"));
    assert_eq!(ask(&mut apps, A, Request::StartApp(named("one"))), [forget]);
}

#[test]
fn removal_waits_until_the_guest_has_forgotten_the_app_and_its_files_are_gone() {
    let mut apps = running("one");
    let refused = failed(B, "app \"one\" is running (stop it first)");
    assert_eq!(ask(&mut apps, B, Request::RemoveApp(named("one"))), refused);
    apps.exited(AppId(0));

    let forget = Effect::Forget(AppId(0), named("one"));
    assert_eq!(ask(&mut apps, B, Request::RemoveApp(named("one"))), [forget]);
    assert_eq!(apps.forgotten(AppId(0)), [Effect::Remove(named("one"))]);
    assert_eq!(apps.removed("one", Ok(())), done(B));

    assert_eq!(ask(&mut apps, B, Request::RemoveApp(named("one"))), done(B));
    assert_eq!(ask(&mut apps, B, Request::AddApp(named("one"))), [Effect::Add(named("one"))]);
}

#[test]
fn wrong_uses_are_refused_with_a_reason() {
    let mut apps = running("one");

    assert_eq!(ask(&mut apps, B, Request::AddApp(named("one"))), failed(B, "app \"one\" was added before"));
    assert_eq!(
        ask(&mut apps, B, Request::StartApp(named("one"))),
        failed(B, "app \"one\" is running already")
    );
    assert_eq!(
        ask(&mut apps, B, Request::StartApp(named("two"))),
        failed(B, "app \"two\" was not added to the pod")
    );
    assert_eq!(
        apps.request(B, &Request::AddApp(named("two")), false).unwrap(),
        failed(B, "the pod has not started yet")
    );
    let refused = failed(B, "the pod is immutable: it was not started as an app sandbox");
    assert_eq!(ask(&mut Apps::new(false, []), B, Request::AddApp(named("one"))), refused);
}

#[test]
fn app_whose_files_cannot_be_shown_was_never_added() {
    let mut apps = Apps::new(true, []);
    ask(&mut apps, A, Request::AddApp(named("one")));

    assert_eq!(apps.added("one", Err(named("no volume"))), failed(A, "no volume"));

    assert_eq!(ask(&mut apps, A, Request::AddApp(named("one"))), [Effect::Add(named("one"))]);
}

#[test]
fn whoever_waits_when_the_pod_ends_learns_so() {
    let mut apps = running("one");
    ask(&mut apps, A, Request::StopApp(named("one")));
    apps.pod_ends();
    assert_eq!(ask(&mut apps, B, Request::AddApp(named("two"))), failed(B, "the pod is ending"));

    assert_eq!(apps.pod_ended(), [Effect::Reply(A, Reply::PodEnded)]);
}

#[test]
fn number_of_a_run_that_the_guest_knows_is_given_to_no_other() {
    let mut apps = running("kept");
    ask(&mut apps, A, Request::AddApp(named("again")));
    apps.added("again", Ok(app_plan("again")));
    ask(&mut apps, A, Request::StartApp(named("again")));
    let mut run = AppId(1);

    // As many runs as there are numbers.
    for _ in 0..=u16::MAX {
        apps.start_failed(run, "no");
        ask(&mut apps, A, Request::StartApp(named("again")));
        let effects = apps.forgotten(run);
        let [Effect::Start(next, _)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_ne!(*next, AppId(0));
        run = *next;
    }
}

#[test]
fn pod_to_which_an_app_with_something_to_run_after_it_was_added_has_the_time_for_that() {
    let mut apps = with("one");
    let before = apps.clean_up();
    let mut handled = app_plan("two");
    handled.spec.lifecycle.post_stop = vec![vec!["/clean".to_owned()]];

    ask(&mut apps, A, Request::AddApp(named("two")));
    apps.added("two", Ok(handled));

    assert!(!before);
    assert!(apps.clean_up());
}

#[test]
fn volumes_that_go_with_an_app_are_its_own_and_no_others() {
    use crate::volumes::{SharedVolume, VolumeSource};

    let volume = |name: &str, directory: &str, of_app| {
        let directory = directory.to_owned();
        let source = VolumeSource::Empty { directory, mode: 0o755, uid: 0, gid: 0, content: None, of_app };
        SharedVolume { name: named(name), source, read_only: false }
    };
    let mut apps = Apps::new(true, []);
    let mut add = |name: &str, volumes| {
        ask(&mut apps, A, Request::AddApp(named(name)));
        apps.added(name, Ok(AppPlan { volumes, ..app_plan(name) }));
    };
    // The mount point "b-c" of "a", and "c" of "a-b".
    add("a", vec![volume("a..b-c", "a-b-c", true), volume("a.own", "a.own", true)]);
    add("a-b", vec![volume("a-b..c", "a-b-c", true), volume("pods", "pods", false)]);

    assert_eq!(apps.directories_of("a"), ["a.own"]);
    assert_eq!(apps.directories_of("a-b"), Vec::<String>::new());
}
