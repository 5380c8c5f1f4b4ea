//! What apps ask of the service.
//!
//! Responsible for: every path below `/TOKEN/acMetadata/v1`, statuses, content types. Must not know: sockets, registrations. Follows
//! rkt-reference.md 6.10 and the App Container specification, "Pod Metadata" to "Identity Endpoint".

use std::sync::Arc;

use appc::{AcIdentifier, Annotations};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;

use super::form::field;
use super::hmac::Signer;
use super::state::{Pods, RegisteredImage, RegisteredPod};
use super::{TEXT, answer};

/// Bytes of a form. Whoever has more to sign signs a hash of it.
const MAX_FORM_BYTES: usize = 1024 * 1024;
const JSON: &str = "application/json";

/// What requests are answered from.
#[derive(Debug)]
pub struct Service {
    /// Who may ask.
    pub pods: Arc<Pods>,
    /// Signs for them.
    pub signer: Signer,
}

/// The requests of the public sockets.
pub fn router(service: Arc<Service>) -> Router {
    let pod = Router::new()
        .route("/annotations", get(pod_annotations))
        .route("/annotations/{*name}", get(pod_annotation))
        .route("/manifest", get(pod_manifest))
        .route("/uuid", get(pod_uuid))
        .route("/hmac/sign", post(sign))
        .route("/hmac/verify", post(verify));
    let app = Router::new()
        .route("/annotations", get(app_annotations))
        .route("/annotations/{*name}", get(app_annotation))
        .route("/image/manifest", get(image_manifest))
        .route("/image/id", get(image_id));
    Router::new()
        .nest("/{token}/acMetadata/v1/pod", pod)
        .nest("/{token}/acMetadata/v1/apps/{app}", app)
        .with_state(service)
}

type Serving = State<Arc<Service>>;

async fn pod_annotations(State(service): Serving, Path(token): Path<String>) -> Response {
    service.of_pod(&token, |pod| annotations(&pod.manifest.annotations))
}

async fn pod_annotation(State(service): Serving, Path((token, name)): Path<(String, String)>) -> Response {
    service.of_pod(&token, |pod| annotation(&pod.manifest.annotations, "Pod", &name))
}

async fn pod_manifest(State(service): Serving, Path(token): Path<String>) -> Response {
    service.of_pod(&token, |pod| json(pod.json.clone()))
}

async fn pod_uuid(State(service): Serving, Path(token): Path<String>) -> Response {
    service.of_pod(&token, |pod| text(pod.uuid.to_string()))
}

async fn app_annotations(State(service): Serving, Path((token, app)): Path<(String, String)>) -> Response {
    service.of_app(&token, &app, |pod, image| annotations(&merged(pod, image, &app)))
}

async fn app_annotation(
    State(service): Serving,
    Path((token, app, name)): Path<(String, String, String)>,
) -> Response {
    service.of_app(&token, &app, |pod, image| annotation(&merged(pod, image, &app), "App", &name))
}

async fn image_manifest(State(service): Serving, Path((token, app)): Path<(String, String)>) -> Response {
    service.of_app(&token, &app, |_, image| json(image.json.clone()))
}

async fn image_id(State(service): Serving, Path((token, app)): Path<(String, String)>) -> Response {
    service.of_app(&token, &app, |pod, _| match pod.manifest.app(&app) {
        Some(app) => text(app.image.id.to_string()),
        None => unknown_app(),
    })
}

async fn sign(State(service): Serving, Path(token): Path<String>, body: Body) -> Response {
    let Some(uuid) = service.pods.with(&token, |pod| pod.uuid) else { return unknown_token() };
    let Ok(form) = to_bytes(body, MAX_FORM_BYTES).await else { return too_large() };
    match field(&form, "content").filter(|content| !content.is_empty()) {
        Some(content) => text(BASE64_STANDARD.encode(service.signer.sign(uuid, &content))),
        None => bad("content form value not found"),
    }
}

async fn verify(State(service): Serving, Path(token): Path<String>, body: Body) -> Response {
    if service.pods.with(&token, |_| ()).is_none() {
        return unknown_token();
    }
    let Ok(form) = to_bytes(body, MAX_FORM_BYTES).await else { return too_large() };
    let uuid = field(&form, "uuid").and_then(|text| Uuid::try_parse_ascii(&text).ok());
    let content = field(&form, "content").filter(|content| !content.is_empty());
    let signature = field(&form, "signature").and_then(|text| BASE64_STANDARD.decode(text).ok());
    let Some(uuid) = uuid else { return bad("uuid field missing or malformed") };
    let Some(content) = content else { return bad("content field missing") };
    let Some(signature) = signature else { return bad("signature field missing or corrupt") };
    if service.signer.verify(uuid, &content, &signature) {
        text("")
    } else {
        answer(StatusCode::FORBIDDEN, TEXT, "")
    }
}

impl Service {
    fn of_pod(&self, token: &str, look: impl FnOnce(&RegisteredPod) -> Response) -> Response {
        self.pods.with(token, look).unwrap_or_else(unknown_token)
    }

    fn of_app(
        &self,
        token: &str,
        app: &str,
        look: impl FnOnce(&RegisteredPod, &RegisteredImage) -> Response,
    ) -> Response {
        self.of_pod(token, |pod| pod.images.get(app).map_or_else(unknown_app, |image| look(pod, image)))
    }
}

/// The image's annotations, and over them the app's in the pod manifest.
fn merged(pod: &RegisteredPod, image: &RegisteredImage, app: &str) -> Annotations {
    let mut merged = image.manifest.annotations.clone();
    for annotation in pod.manifest.app(app).into_iter().flat_map(|app| app.annotations.iter()) {
        merged.set(annotation.name.clone(), annotation.value.clone());
    }
    merged
}

fn annotations(annotations: &Annotations) -> Response {
    match serde_json::to_vec(annotations) {
        Ok(bytes) => json(bytes.into()),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn annotation(annotations: &Annotations, whose: &str, name: &str) -> Response {
    if name.parse::<AcIdentifier>().is_err() {
        return bad(&format!("{whose} annotation {name:?} is not a valid AC Identifier"));
    }
    match annotations.get(name) {
        Some(value) => text(value.to_owned()),
        None => answer(StatusCode::NOT_FOUND, TEXT, format!("{whose} annotation {name:?} not found")),
    }
}

fn too_large() -> Response {
    answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, format!("a form has at most {MAX_FORM_BYTES} bytes"))
}

fn json(bytes: Bytes) -> Response {
    answer(StatusCode::OK, JSON, bytes)
}

fn text(text: impl Into<String>) -> Response {
    answer(StatusCode::OK, TEXT, text.into())
}

fn bad(text: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, TEXT, text.to_owned())
}

fn unknown_token() -> Response {
    answer(StatusCode::UNAUTHORIZED, TEXT, "pod not found\n")
}

fn unknown_app() -> Response {
    answer(StatusCode::NOT_FOUND, TEXT, "app not found\n")
}
