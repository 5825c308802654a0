//! `/v1/admin/connections` and `/v1/admin/sessions`: who is here, and out with them.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use rmqtt_codec::v5::DisconnectReasonCode;
use serde::Deserialize;
use serde_json::json;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;

use crate::engine::{ConnId, SessionInfo, Whose};
use crate::http::messages::stopping;
use crate::http::{Door, request};

/// Sessions in one answer, at most.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Asked {
    user: Option<String>,
    handlers: Option<String>,
    limit: Option<usize>,
    code: Option<String>,
}

type Query_<T> = Result<Query<T>, QueryRejection>;

impl Asked {
    fn read(query: Query_<Self>) -> Result<(Self, Whose), ApiError> {
        let Query(asked) = query.map_err(|_| request::invalid("limit", "a whole number"))?;
        let whose = match (&asked.user, request::flag("handlers", asked.handlers.as_deref())?) {
            (Some(_), true) => return Err(request::invalid("handlers", "left away where `user` is given")),
            (Some(id), false) => Whose::User(
                UserId::new(id).map_err(|_| request::invalid("user", "a user id: 1 to 256 bytes without NUL"))?,
            ),
            (None, true) => Whose::Handlers,
            (None, false) => Whose::All,
        };
        Ok((asked, whose))
    }

    /// What a kicked client is told.
    fn code(&self) -> Result<DisconnectReasonCode, ApiError> {
        Ok(match self.code.as_deref() {
            None | Some("administrative_action") => DisconnectReasonCode::AdministrativeAction,
            Some("not_authorized") => DisconnectReasonCode::NotAuthorized,
            Some("server_busy") => DisconnectReasonCode::ServerBusy,
            Some("use_another_server") => DisconnectReasonCode::UseAnotherServer,
            Some(_) => {
                let allowed = "administrative_action, not_authorized, server_busy or use_another_server";
                return Err(request::invalid("code", allowed));
            }
        })
    }
}

async fn find(door: &Door, whose: Whose, connected_only: bool, limit: usize) -> Result<Vec<SessionInfo>, ApiError> {
    let found = door.parts.engine.ask(move |engine| engine.sessions(&whose, connected_only, limit)).await;
    found.map_err(|_| stopping())
}

pub(super) async fn sessions(State(door): State<Door>, query: Query_<Asked>) -> Result<Response, ApiError> {
    let (asked, whose) = Asked::read(query)?;
    let found = find(&door, whose, false, asked.limit.unwrap_or(PAGE).clamp(1, PAGE)).await?;
    Ok(Json(json!({ "sessions": found })).into_response())
}

pub(super) async fn connections(State(door): State<Door>, query: Query_<Asked>) -> Result<Response, ApiError> {
    let (asked, whose) = Asked::read(query)?;
    let found = find(&door, whose, true, asked.limit.unwrap_or(PAGE).clamp(1, PAGE)).await?;
    let connection = |session: SessionInfo| {
        let SessionInfo { user, client, subscriptions, in_flight, connection, .. } = session;
        let connection = connection?;
        Some(json!({
            "id": connection.id,
            "user": user,
            "client": client,
            "mqtt": connection.mqtt,
            "jti": connection.jti,
            "issued_at_ms": connection.issued_at_ms,
            "subscriptions": subscriptions,
            "in_flight": in_flight,
        }))
    };
    let found: Vec<_> = found.into_iter().filter_map(connection).collect();
    Ok(Json(json!({ "connections": found })).into_response())
}

pub(super) async fn kick(
    State(door): State<Door>,
    id: Result<Path<u64>, PathRejection>,
    query: Query_<Asked>,
) -> Result<StatusCode, ApiError> {
    let unknown = || {
        let message = "there is no such connection (any more); GET /v1/admin/connections lists them";
        ApiError::new(StatusCode::NOT_FOUND, "connection_unknown", message)
    };
    let Path(id) = id.map_err(|_| unknown())?;
    let reason = Asked::read(query)?.0.code()?;
    let known = door.parts.engine.ask(move |engine| engine.is_connected(ConnId(id))).await.map_err(|_| stopping())?;
    if !known {
        return Err(unknown());
    }
    door.parts.engine.kick(ConnId(id), reason).await;
    tracing::info!(conn = id, "a connection was ended by an administrator");
    Ok(StatusCode::NO_CONTENT)
}

/// Every connection of a user, or of the handlers; never of everybody by an empty query.
pub(super) async fn kick_all(State(door): State<Door>, query: Query_<Asked>) -> Result<Response, ApiError> {
    let (asked, whose) = Asked::read(query)?;
    if whose == Whose::All {
        return Err(request::invalid("user", "given, or `handlers=true`: whose connections are to be closed"));
    }
    let reason = asked.code()?;
    let found = find(&door, whose, true, usize::MAX).await?;
    let ids: Vec<u64> = found.into_iter().filter_map(|session| Some(session.connection?.id)).collect();
    for id in &ids {
        door.parts.engine.kick(ConnId(*id), reason).await;
    }
    tracing::info!(closed = ids.len(), "connections were ended by an administrator");
    Ok(Json(json!({ "closed": ids.len() })).into_response())
}
