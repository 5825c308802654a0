//! `GET /v1/presence/{user}` and `GET /v1/presence?user=…&user=…`: who is connected, and when others were seen last.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;

use super::messages::stopping;
use super::request::Asker;
use super::{Door, request};
use crate::engine::Presence;

/// Users in one request.
const USERS: usize = 100;

/// Times are ms since 1970.
#[derive(Serialize)]
pub(super) struct User {
    user: UserId,
    online: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<i64>,
    sessions: Vec<Session>,
}

#[derive(Serialize)]
struct Session {
    client: String,
    online: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Users {
    users: Vec<User>,
}

pub(super) async fn one(
    State(door): State<Door>,
    headers: HeaderMap,
    user: Result<Path<String>, PathRejection>,
) -> Result<Json<User>, ApiError> {
    let asker = request::asker(&door.parts, &headers).await?;
    let Path(user) = user.map_err(|_| user_invalid())?;
    let user = allowed(&asker, &user)?;
    Ok(Json(presence(&door, user).await?))
}

pub(super) async fn many(
    State(door): State<Door>,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Users>, ApiError> {
    let asker = request::asker(&door.parts, &headers).await?;
    let Query(pairs) = query.map_err(|_| request::invalid("query", "of the form user=NAME&user=NAME"))?;
    let named = pairs.iter().filter(|(name, _)| name == "user").map(|(_, user)| allowed(&asker, user));
    let mut users = named.collect::<Result<Vec<_>, _>>()?;
    if users.is_empty()
        && let Asker::Device(own) = asker
    {
        users.push(own);
    }
    if users.is_empty() || users.len() > USERS {
        return Err(request::invalid("user", &format!("there between 1 and {USERS} times")));
    }
    let users = futures_util::future::try_join_all(users.into_iter().map(|user| presence(&door, user))).await?;
    Ok(Json(Users { users }))
}

/// A device may ask for its own user.
fn allowed(asker: &Asker, user: &str) -> Result<UserId, ApiError> {
    let user = UserId::new(user).map_err(|_| user_invalid())?;
    match asker {
        Asker::Device(own) if *own != user => {
            let message = "with an app token, only the token's own user may be named";
            Err(ApiError::new(StatusCode::FORBIDDEN, "user_not_yours", message))
        }
        _ => Ok(user),
    }
}

fn user_invalid() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "user_invalid", "this cannot be the id of a user")
}

async fn presence(door: &Door, user: UserId) -> Result<User, ApiError> {
    let Presence { online, last_seen_ms, sessions } =
        door.parts.engine.presence(&user).await.map_err(|_| stopping())?;
    let sessions = sessions.into_iter().map(|session| Session {
        client: session.client,
        online: session.connected_since_ms.is_some(),
        connected_since: session.connected_since_ms,
        last_seen: session.last_seen_ms,
    });
    Ok(User { user, online, last_seen: last_seen_ms, sessions: sessions.collect() })
}
