//! The API for backends as an OpenAPI 3.1 document, made from the handlers and the types themselves. It is served at
//! `/api/openapi.json` and kept in `docs/wallet/openapi.json`; a test compares the two, and the routes with the document.

use axum::Json;
use tidings_shared::http::openapi::{self, ErrorBody, ErrorDetail};
use utoipa::openapi::OpenApi as Document;
use utoipa::{Modify, OpenApi};

use super::{
    campaigns, certificates, devices, google, imports, jobs, links, orders, passes, personalizations, reports,
    templates, versions,
};

// One line for each handler, by room, so that rooms can be added side by side.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings passbook-service",
        description = "Backends issue Wallet passes, change them, and see what became of them.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        passes::create,
        passes::patch,
        passes::state,
        passes::delete,
        passes::package,
        passes::preview,
        passes::search,
        versions::list,
        versions::show,
        versions::diff,
        jobs::start,
        jobs::list,
        jobs::show,
        jobs::cancel,
        links::make,
        links::pack,
        templates::list,
        templates::show,
        templates::put,
        templates::check,
        templates::remove,
        templates::versions,
        templates::preview,
        google::link,
        google::state,
        orders::create,
        orders::patch,
        orders::state,
        orders::delete,
        orders::package,
        reports::diagnoses,
        certificates::certificates,
        personalizations::list,
        personalizations::forget,
        campaigns::create,
        campaigns::list,
        campaigns::show,
        campaigns::coverage,
        campaigns::pause,
        campaigns::resume,
        campaigns::sweep,
        campaigns::cancel,
        imports::rows,
        imports::list,
        imports::show,
        imports::refusals,
        devices::cohorts,
        reports::forget,
        show,
    ),
    components(schemas(ErrorBody, ErrorDetail, crate::store::PassQuery)),
    modifiers(&Common)
)]
struct Interface;

/// What every route has.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("service_key", openapi::bearer("One of `keys.service`: backends."));
        openapi::complete(document);
    }
}

/// The document.
#[must_use]
pub fn document() -> Document {
    Interface::openapi()
}

/// The document as it is kept in `docs/wallet/openapi.json`.
///
/// # Errors
/// None in practice: it is made of texts.
pub fn text() -> Result<String, serde_json::Error> {
    openapi::text(&document())
}

/// Shows this document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "meta", security(()), responses((status = 200, body = Object)))]
pub(super) async fn show() -> Json<Document> {
    Json(document())
}
