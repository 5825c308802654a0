//! `GET /get/image/{template}/{sha1}.png`: images of templates, which Google Wallet fetches. They are part of every pass, so
//! they are no secret; named by their content, they may be kept for ever.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tidings_shared::http::ApiError;

use super::Door;
use super::path::Segments;

pub(super) async fn image(State(door): State<Door>, segments: Segments) -> Result<Response, ApiError> {
    let service = door.service()?;
    let nothing = || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such image");
    let (template, file) = segments.id(2).zip(segments.id(3)).ok_or_else(nothing)?;
    let template = service.passes.catalog().get(template).ok_or_else(nothing)?;
    let wanted = file.strip_suffix(".png").ok_or_else(nothing)?;
    let found = template
        .file_names()
        .filter(|name| name.ends_with(".png"))
        .filter_map(|name| template.file(name))
        .find(|(_, sha1)| *sha1 == wanted);
    let (bytes, _) = found.ok_or_else(nothing)?;
    let headers = [(CONTENT_TYPE, "image/png"), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, bytes.to_vec()).into_response())
}
