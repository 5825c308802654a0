//! What a notification says: the push that the request brings, or that its template makes in every language.

use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use sqlx::AnyConnection;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Push, SendNotification, To};

use super::{Gateway, refusal, segments, templates};
use crate::provider::Refusal;
use crate::queue::store::NewExpansion;
use crate::templates::Localized;

/// The name in a push's `data` that the app reports receipts with.
const RECEIPT_NAME: &str = "tidings_notification";

/// What is stored of it.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// For a device whose language is not among the others.
    pub(super) push: Arc<Push>,
    /// The pushes in the languages of a template (JSON).
    pub(super) localized: Option<Arc<str>>,
    others: Vec<Push>,
}

impl Content {
    /// Every push that a device may get.
    pub(super) fn pushes(&self) -> impl Iterator<Item = &Push> {
        std::iter::once(&*self.push).chain(&self.others)
    }
}

/// The content of a request for the notification `id`.
pub(super) async fn of(
    gateway: &Gateway,
    connection: Option<&mut AnyConnection>,
    request: &SendNotification,
    id: &str,
) -> Result<Content, ApiError> {
    let invalid = |message: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
    let localized = match (&request.push, &request.template, connection) {
        (Some(push), None, _) => {
            if !request.params.is_empty() {
                return invalid("`params` belong to a `template`; this notification has a `push`");
            }
            Localized { default: push.clone(), pushes: std::collections::BTreeMap::new() }
        }
        (None, Some(template), Some(connection)) => {
            templates::localized(gateway, connection, template, &request.params).await?
        }
        // Whoever names a template was given a connection.
        (None, Some(_), None) => return Err(ApiError::internal()),
        (Some(_), Some(_), _) => return invalid("a notification has a `push` or a `template`, not both"),
        (None, None, _) => return invalid("a notification has a `push`, or a `template` and its `params`"),
    };
    let Localized { mut default, mut pushes } = localized;
    if request.receipts {
        for push in std::iter::once(&mut default).chain(pushes.values_mut()) {
            name_in(push, id)?;
        }
    }
    let localized = match pushes.len() {
        0 | 1 => None,
        _ => Some(serde_json::to_string(&pushes).map_err(|_| ApiError::internal())?.into()),
    };
    let others = pushes.into_values().filter(|push| *push != default).collect();
    Ok(Content { push: Arc::new(default), localized, others })
}

/// Puts the notification's id into the data of a push, for the app to report with.
fn name_in(push: &mut Push, id: &str) -> Result<(), ApiError> {
    match push {
        Push::Alert { data, .. } => {
            data.insert(RECEIPT_NAME.to_owned(), Value::from(id));
            Ok(())
        }
        _ => {
            let message =
                "`receipts` is for pushes of the kind `alert`: the others have no `data` to name the notification in";
            Err(ApiError::new(StatusCode::BAD_REQUEST, "receipts_unsupported", message))
        }
    }
}

/// What is to be stored for the targets of a segment, when the request names one. A push that no app takes, or that is too large
/// for one of them, is refused now: later nobody could be told.
pub(super) async fn expansion(
    gateway: &Gateway,
    connection: Option<&mut AnyConnection>,
    request: &SendNotification,
    content: &Content,
) -> Result<Option<NewExpansion>, ApiError> {
    let To::Segment(to) = &request.to else { return Ok(None) };
    let Some(connection) = connection else { return Err(ApiError::internal()) };
    let (segment, filter) = segments::resolve(connection, to).await?;
    let mut answers = HashMap::new();
    for lane in gateway.apps.lanes() {
        let answer = content.pushes().try_for_each(|push| lane.client.check(push, request.collapse_id.as_deref()));
        answers.insert(lane.name.clone(), answer);
    }
    if answers.is_empty() {
        let message = "this server has no push app; its operator has to configure one (push.apps.NAME)";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_app_configured", message));
    }
    let taken = answers.values().any(Result::is_ok);
    for refusal in answers.into_values().filter_map(Result::err) {
        // Another provider may not know the kind of push; its devices are counted as skipped.
        if !taken || !matches!(refusal, Refusal::Kind { .. }) {
            return Err(refusal::push(&refusal));
        }
    }
    let json = |value: Result<String, serde_json::Error>| value.map_err(|_| ApiError::internal());
    Ok(Some(NewExpansion {
        segment,
        expression: json(serde_json::to_string(&filter))?,
        request: json(serde_json::to_string(request))?,
    }))
}
