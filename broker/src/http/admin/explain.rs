//! `POST /v1/admin/explain`: may this token publish or subscribe there, and by which rule. The token is in the body, so
//! that it stands in no URL and in no log.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use tidings_shared::auth::inspect;
use tidings_shared::http::ApiError;

use crate::explain::{Action, Bearer, Explanation};
use crate::http::Door;
use crate::http::messages::stopping;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    token: Option<String>,
    #[serde(default)]
    handler: bool,
    action: Action,
    topic: String,
}

pub(super) async fn explain(
    State(door): State<Door>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Explanation>, ApiError> {
    let Asked { token, handler, action, topic } = super::read(body)?;
    let bearer = match (token, handler) {
        (None, true) => Bearer::Handler,
        (Some(token), false) => {
            let token = token.trim();
            let verified = door.parts.verifier.verify(token).await;
            let verified = verified.and_then(|claims| door.parts.engine.revocations().admit(&claims).map(|()| claims));
            Bearer::of_token(verified, inspect(token))
        }
        _ => {
            let message = "say who: either `token`, or `\"handler\": true`";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
        }
    };
    let answer = door.parts.engine.ask(move |engine| {
        Explanation::new(bearer, action, &topic, "broker", |principal, topic| engine.explain_publish(principal, topic))
    });
    answer.await.map(Json).map_err(|_| stopping())
}
