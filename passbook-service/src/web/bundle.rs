//! `.pkpasses`: several packages in one archive.

use std::io::{Cursor, Write};
use std::sync::Arc;

use http::StatusCode;
use tidings_shared::http::ApiError;
use tokio::sync::Semaphore;
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{Service, pass as package_of};
use crate::store::PassRow;

/// The media type of a bundle.
pub(super) const PKPASSES: &str = "application/vnd.apple.pkpasses";
/// Apple's limit.
const LARGEST: usize = 150 * 1000 * 1000;

/// Two bundles at a time: each is made in memory.
static PACKING: Semaphore = Semaphore::const_new(2);

/// Packages of the passes, as they are now, in one archive.
pub(super) async fn pack(service: &Arc<Service>, passes: Vec<(PassRow, String)>) -> Result<Vec<u8>, ApiError> {
    let _turn = PACKING.acquire().await.map_err(|_| ApiError::internal())?;
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut size = 0;
    for (index, (pass, token)) in passes.into_iter().enumerate() {
        let pass = package_of::current(service, pass).await?;
        let package = package_of::build(service, pass, token).await?;
        size += package.len();
        if size > LARGEST {
            let message = "the passes together have more than 150 MB, and Wallet takes no more: give fewer at once";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bundle_too_large", message));
        }
        let written = archive
            .start_file(format!("pass-{}.pkpass", index + 1), options)
            .and_then(|()| archive.write_all(&package).map_err(Into::into));
        written.map_err(|error| broken(&error))?;
    }
    archive.finish().map(Cursor::into_inner).map_err(|error| broken(&error))
}

fn broken(error: &zip::result::ZipError) -> ApiError {
    tracing::error!(%error, "a bundle cannot be packed");
    ApiError::internal()
}
