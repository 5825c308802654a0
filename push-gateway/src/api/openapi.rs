//! The interface as an OpenAPI 3.1 document, made from the handlers and the types themselves. It is served at
//! `/v1/openapi.json` and kept in `docs/push/openapi.json`; a test compares the two, and the routes with the document.

use axum::Json;
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{
    apps, batch, channels, devices, gorush, notifications, receipts, segments, stream, templates, topics, webhooks,
};

/// Every refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
struct ErrorBody {
    error: ErrorDetail,
}

/// Why it was refused.
#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// Stable: docs/http.md lists the codes.
    code: String,
    /// For people: what was found, what is allowed, what to do.
    message: String,
}

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
        let bearer = |words: &str| {
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build())
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("service_key", bearer("One of `keys.service`: backends."));
        components.add_security_scheme("app_token", bearer("The app's token (JWT): a device speaks for its own user."));
        for (path, item) in &mut document.paths.paths {
            let operations = [
                ("get", &mut item.get),
                ("put", &mut item.put),
                ("post", &mut item.post),
                ("delete", &mut item.delete),
                ("patch", &mut item.patch),
            ];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                operation.operation_id = Some(operation_id(method, path));
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response
                        && response.description.is_empty()
                    {
                        response.description = meaning(status).to_owned();
                    }
                }
                let refused =
                    ResponseBuilder::new().description("Refused: a stable code, and words for people").content(
                        "application/json",
                        ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build(),
                    );
                operation.responses.responses.insert("default".to_owned(), refused.build().into());
            }
        }
    }
}

/// Handlers of several rooms have the same name; addresses are different: `putV1SegmentsName`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

/// What a status means where the handler says nothing more.
fn meaning(status: &str) -> &'static str {
    match status {
        "201" => "It is new",
        "202" => "It is stored",
        "204" => "Done",
        _ => "Here it is",
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
    Ok(serde_json::to_string_pretty(&document())? + "\n")
}

/// Shows this document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "meta", security(()), responses((status = 200, body = Object)))]
pub(super) async fn show() -> Json<Document> {
    Json(document())
}
