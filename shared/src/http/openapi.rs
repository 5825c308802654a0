//! What the OpenAPI 3.1 documents of all services have in common: the form of a refusal, names of operations, the ways to
//! say who one is.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};

/// Every refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    error: ErrorDetail,
}

/// Why it was refused.
#[derive(Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable: docs/http.md lists the codes.
    code: String,
    /// For people: what was found, what is allowed, what to do.
    message: String,
}

/// A scheme of `Authorization: Bearer …`, described.
#[must_use]
pub fn bearer(words: &str) -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build())
}

/// Adds what every operation has: a name made of its address, words for each status, and the refusal. The document's
/// components must hold [`ErrorBody`] and [`ErrorDetail`].
pub fn complete(document: &mut Document) {
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
            let refused = ResponseBuilder::new().description("Refused: a stable code, and words for people").content(
                "application/json",
                ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build(),
            );
            operation.responses.responses.insert("default".to_owned(), refused.build().into());
        }
    }
}

/// The document as it is kept in `docs/`.
///
/// # Errors
/// None in practice: it is made of texts.
pub fn text(document: &Document) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
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
