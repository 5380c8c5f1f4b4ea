//! Registrations: what rkt asks of the service.
//!
//! Responsible for: `PUT` and `DELETE` below `/pods`, their statuses. Must not know: sockets; what apps are told. Follows
//! rkt-reference.md 6.10.

use std::sync::Arc;

use appc::{AcName, MAX_MANIFEST_BYTES};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::put;
use uuid::Uuid;

use super::state::{Pods, Refusal};
use super::{TEXT, answer};

/// The requests of the registration socket.
pub fn router(pods: Arc<Pods>) -> Router {
    Router::new()
        .route("/pods/{uuid}", put(register).delete(remove))
        .route("/pods/{uuid}/{app}", put(register_app))
        .with_state(pods)
}

async fn register(
    State(pods): State<Arc<Pods>>,
    Path(uuid): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let Ok(uuid) = Uuid::try_parse(&uuid) else { return malformed(&uuid) };
    let query = query.unwrap_or_default();
    let mut tokens = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "token");
    let token = match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Some(token),
        (None, _) => None,
        // Which of two is meant nobody knows.
        (Some(_), Some(_)) => return bad("token missing or malformed"),
    };
    let Ok(json) = to_bytes(body, MAX_MANIFEST_BYTES).await else { return too_large() };
    verdict(match token {
        Some(token) => pods.register(uuid, &token, json),
        None => pods.update(uuid, json),
    })
}

async fn register_app(
    State(pods): State<Arc<Pods>>,
    Path((uuid, app)): Path<(String, String)>,
    body: Body,
) -> Response {
    let Ok(uuid) = Uuid::try_parse(&uuid) else { return malformed(&uuid) };
    let Ok(app) = app.parse::<AcName>() else {
        return bad(&format!("App name {app:?} is not a valid AC Name"));
    };
    let Ok(json) = to_bytes(body, MAX_MANIFEST_BYTES).await else { return too_large() };
    verdict(pods.register_app(uuid, &app, json))
}

async fn remove(State(pods): State<Arc<Pods>>, Path(uuid): Path<String>) -> Response {
    let Ok(uuid) = Uuid::try_parse(&uuid) else { return malformed(&uuid) };
    verdict(pods.remove(uuid))
}

fn malformed(uuid: &str) -> Response {
    bad(&format!("UUID is missing or malformed: {uuid:?}"))
}

fn too_large() -> Response {
    let text = format!("a manifest has at most {MAX_MANIFEST_BYTES} bytes");
    answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, text)
}

fn verdict(result: Result<(), Refusal>) -> Response {
    let Err(refusal) = result else { return answer(StatusCode::OK, TEXT, "") };
    let status = match refusal {
        Refusal::Manifest(_) | Refusal::Token | Refusal::TokenTaken => StatusCode::BAD_REQUEST,
        Refusal::UnknownPod => StatusCode::NOT_FOUND,
        Refusal::Full => StatusCode::INSUFFICIENT_STORAGE,
    };
    answer(status, TEXT, refusal.to_string())
}

fn bad(text: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, TEXT, text.to_owned())
}
