//! `rkt api-service` while pods come and go, and with many of them.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rkt_tests::rkt::TestRkt;
use serde_json::json;
use tokio::runtime::Builder;
use tonic::{Code, Status};

use crate::api_client::wire::{InspectPodRequest, ListImagesRequest, ListPodsRequest, PodState};
use crate::api_client::{Api, connect};
use crate::publisher::{self, run_arguments};

/// Clients that look.
const CLIENTS: usize = 4;
/// Pods that are run, one after the other, by each of the runners.
const PODS: usize = 5;
const RUNNERS: usize = 2;

#[test]
fn clients_see_no_error_while_pods_come_and_go() {
    let rkt = publisher::rkt();
    publisher::image(&rkt, "app.aci");
    let mut api = Api::start(&rkt);
    let address = format!("unix://{}", rkt.path("api.sock").display());
    let (is_over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));

    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| scope.spawn(|| look(&address, &is_over, &looks))).collect();
        let run = |_| scope.spawn(|| (0..PODS).for_each(|_| run_and_remove(&rkt)));
        let runners: Vec<_> = (0..RUNNERS).map(run).collect();
        let runners: Vec<_> = runners.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no client failed");
        }
        assert!(runners.iter().all(Result::is_ok), "rkt works while it is looked at");
    });

    assert!(looks.load(Ordering::Relaxed) > CLIENTS, "they did look");
    assert!(!api.service().has_ended());
    let said = api.stop().expect_code(0).err();
    assert_eq!(said.lines().count(), 3, "nothing to complain of: {said}");
}

/// One pod from its making to its removal.
fn run_and_remove(rkt: &TestRkt) {
    rkt.run(run_arguments(&["./app.aci"])).expect_code(0);
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
    rkt.run(["gc", "--grace-period=0s"]).expect_code(0);
}

/// Lists and inspects until it is over.
fn look(address: &str, is_over: &AtomicBool, looks: &AtomicUsize) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = connect(address.to_owned()).await;
        while !is_over.load(Ordering::Relaxed) {
            let request = ListPodsRequest { filters: Vec::new(), detail: true };
            let pods = client.list_pods(request).await.expect("a list").into_inner().pods;
            for pod in pods {
                assert!(pod.apps.len() == 1 || !has_manifest(pod.state()), "{pod:?}");
                let inspected = client.inspect_pod(InspectPodRequest { id: pod.id.clone() }).await;
                expect_found_or_gone(inspected.map(drop));
            }
            let request = ListImagesRequest { filters: Vec::new(), detail: true };
            expect_found_or_gone(client.list_images(request).await.map(drop));
            looks.fetch_add(1, Ordering::Relaxed);
        }
    });
}

fn has_manifest(state: PodState) -> bool {
    matches!(state, PodState::Prepared | PodState::Running | PodState::Exited)
}

fn expect_found_or_gone(answer: Result<(), Status>) {
    if let Err(status) = answer {
        assert_eq!(status.code(), Code::NotFound, "{status:?}");
    }
}

#[test]
fn a_thousand_pods_are_listed() {
    const MANY: usize = 1000;
    let rkt = TestRkt::new();
    let image = format!("sha512-{}", "a".repeat(64));
    let manifest = json!({
        "acVersion": "1.30.0", "acKind": "PodManifest",
        "apps": [{ "name": "app", "image": { "name": "example.com/x", "id": image } }],
    });
    for number in 0..MANY {
        let pod = rkt.data().join(format!("pods/run/{number:08x}-1111-4111-8111-111111111111"));
        fs::create_dir_all(&pod).expect("a directory");
        for (name, content) in [("pod", manifest.to_string()), ("pid", "1\n".to_owned())] {
            fs::write(pod.join(name), content).expect("writing");
        }
        fs::write(pod.join("pod-created"), "").expect("writing");
    }
    let api = Api::start(&rkt);

    let pods = api.pods(&[], true);

    assert_eq!(pods.len(), MANY);
    assert!(pods.iter().all(|pod| pod.state() == PodState::Exited && !pod.manifest.is_empty()));
}
