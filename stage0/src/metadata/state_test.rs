use appc::AcName;
use axum::body::Bytes;
use uuid::Uuid;

use super::state::{Pods, Refusal};

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);
const POD: &str = r#"{"acVersion":"0.8.11","acKind":"PodManifest","apps":[]}"#;
const IMAGE: &str = r#"{"acVersion":"0.8.11","acKind":"ImageManifest","name":"example.com/app"}"#;

fn app() -> AcName {
    "app".parse().unwrap()
}

fn register(pods: &Pods, uuid: Uuid, token: &str) -> Result<(), Refusal> {
    pods.register(uuid, token, Bytes::from_static(POD.as_bytes()))
}

fn register_app(pods: &Pods, uuid: Uuid) -> Result<(), Refusal> {
    pods.register_app(uuid, &app(), Bytes::from_static(IMAGE.as_bytes()))
}

fn apps(pods: &Pods, token: &str) -> Option<usize> {
    pods.with(token, |pod| pod.images.len())
}

#[test]
fn a_pod_is_found_by_its_token_until_it_is_removed() {
    let pods = Pods::new(1_000_000);
    register(&pods, A, "token-a").unwrap();
    register(&pods, B, "token-b").unwrap();
    register_app(&pods, A).unwrap();

    assert_eq!(pods.with("token-a", |pod| pod.uuid), Some(A));
    assert_eq!(apps(&pods, "token-a"), Some(1));
    assert_eq!(apps(&pods, "token-b"), Some(0));
    pods.remove(A).unwrap();

    assert_eq!(apps(&pods, "token-a"), None);
    assert!(matches!(pods.remove(A), Err(Refusal::UnknownPod)));
    assert!(matches!(register_app(&pods, A), Err(Refusal::UnknownPod)));
}

#[test]
fn a_pod_that_registers_again_keeps_its_apps_only_with_its_token() {
    let pods = Pods::new(1_000_000);
    register(&pods, A, "old").unwrap();
    register_app(&pods, A).unwrap();

    register(&pods, A, "old").unwrap();
    assert_eq!(apps(&pods, "old"), Some(1));
    register(&pods, A, "new").unwrap();

    assert_eq!(apps(&pods, "old"), None);
    assert_eq!(apps(&pods, "new"), Some(0));
}

#[test]
fn nobody_takes_another_pods_token() {
    let pods = Pods::new(1_000_000);
    register(&pods, A, "token").unwrap();

    assert!(matches!(register(&pods, B, "token"), Err(Refusal::TokenTaken)));
    assert_eq!(pods.with("token", |pod| pod.uuid), Some(A));
    for token in ["", "a/b", "a b", &"x".repeat(129)] {
        assert!(matches!(register(&pods, B, token), Err(Refusal::Token)), "{token:?}");
    }
}

#[test]
fn what_is_no_manifest_changes_nothing() {
    let pods = Pods::new(1_000_000);
    register(&pods, A, "token").unwrap();

    let pod = pods.register(A, "token", Bytes::from_static(b"{}"));
    let image = pods.register_app(A, &app(), Bytes::from_static(POD.as_bytes()));

    assert!(matches!(pod, Err(Refusal::Manifest(_))) && matches!(image, Err(Refusal::Manifest(_))));
    assert_eq!(apps(&pods, "token"), Some(0));
}

#[test]
fn memory_is_bounded_and_comes_back() {
    let pods = Pods::new(1_000_000);
    let large = IMAGE.replace('}', r#","annotations":[{"name":"a","value":"PADDING"}]}"#);
    let large = Bytes::from(large.replace("PADDING", &"x".repeat(100_000)));
    let name = |number: usize| format!("app-{number}").parse::<AcName>().unwrap();
    register(&pods, A, "token").unwrap();

    let held = (0..).take_while(|number| pods.register_app(A, &name(*number), large.clone()).is_ok()).count();

    assert!(matches!(pods.register_app(A, &name(held), large.clone()), Err(Refusal::Full)));
    assert!(matches!(register_many(&pods), Err(Refusal::Full)));
    assert_eq!(held, 4);
    pods.remove(A).unwrap();
    register(&pods, B, "token").unwrap();
    pods.register_app(B, &app(), large).unwrap();
}

fn register_many(pods: &Pods) -> Result<(), Refusal> {
    (10..100).try_for_each(|number| register(pods, Uuid::from_u128(number), &format!("token-{number}")))
}

#[test]
fn a_manifest_that_is_replaced_leaves_the_token_and_takes_the_images_of_apps_that_are_gone() {
    let pods = Pods::new(1_000_000);
    let image = format!("sha512-{}", "0".repeat(128));
    let with_app = format!(
        r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{{"name":"app","image":{{"id":"{image}"}}}}]}}"#
    );
    register(&pods, A, "token-a").unwrap();

    pods.update(A, Bytes::from(with_app)).unwrap();
    register_app(&pods, A).unwrap();
    assert_eq!(pods.with("token-a", |pod| pod.manifest.app("app").is_some()), Some(true));
    assert_eq!(apps(&pods, "token-a"), Some(1));

    pods.update(A, Bytes::from_static(POD.as_bytes())).unwrap();
    assert_eq!(apps(&pods, "token-a"), Some(0));
    assert!(matches!(pods.update(B, Bytes::from_static(POD.as_bytes())), Err(Refusal::UnknownPod)));
}
