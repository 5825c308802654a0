//! The interface as an OpenAPI 3.1 document, made from the handlers and the types themselves. It is served at
//! `/v1/openapi.json` and kept in `docs/push/openapi.json`; a test compares the two, and the routes with the document.

use axum::Json;
use tidings_shared::http::openapi::{self, ErrorBody, ErrorDetail};
use utoipa::openapi::OpenApi as Document;
use utoipa::{Modify, OpenApi};

use super::{
    apps, batch, channels, devices, gorush, notifications, receipts, segments, stream, templates, topics, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings push-gateway",
        description = "Devices register, backends send, and everybody can see what became of it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        devices::register,
        devices::change,
        devices::list,
        devices::remove,
        notifications::send,
        notifications::show,
        notifications::cancel,
        batch::send,
        receipts::show,
        stream::open,
        receipts::take,
        segments::put,
        segments::show,
        segments::list,
        segments::count,
        segments::remove,
        templates::put,
        templates::show,
        templates::list,
        templates::preview,
        templates::remove,
        webhooks::put,
        webhooks::show,
        webhooks::list,
        webhooks::test,
        webhooks::remove,
        apps::list,
        apps::check,
        channels::create,
        channels::list,
        channels::show,
        channels::delete,
        topics::subscribe,
        topics::unsubscribe,
        gorush::push,
        show,
    ),
    components(schemas(
        ErrorBody,
        ErrorDetail,
        tidings_shared::push_api::SendNotification,
        tidings_shared::push_api::Seen,
        tidings_shared::push_api::VersionRange,
        tidings_shared::push_api::Outcome
    )),
    modifiers(&Common)
)]
struct Interface;

/// What every route has.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("service_key", openapi::bearer("One of `keys.service`: backends."));
        let app_token = openapi::bearer("The app's token (JWT): a device speaks for its own user.");
        components.add_security_scheme("app_token", app_token);
        openapi::complete(document);
    }
}

/// The document.
#[must_use]
pub fn document() -> Document {
    Interface::openapi()
}

/// The document as it is kept in `docs/push/openapi.json`.
///
/// # Errors
/// None in practice: it is made of texts.
pub fn text() -> Result<String, serde_json::Error> {
    openapi::text(&document())
}

/// Shows this document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "meta", security(()), responses((status = 200, body = Object)))]
pub(super) async fn show() -> Json<Document> {
    Json(document())
}
