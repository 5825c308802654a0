//! `Authorization: ApplePass TOKEN`: the same answer in the same time for a missing token, a wrong token and an unknown
//! serial number.

use axum::response::{IntoResponse, Response};
use http::header::{HeaderValue, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use tidings_shared::auth::http::credential;
use tidings_shared::http::ApiError;
use tidings_shared::storage::StorageError;

use super::{Service, unavailable};
use crate::store::{Client, PassId, PassRow};
use crate::token::{self, Algorithm};

/// Longer ones are nobody's.
const LONGEST_TOKEN: usize = 512;

/// Apple's schemes (for passes, for orders), and those of wallet apps on Android (walletpasses.io, walletunion.com) that keep to the protocol.
const SCHEMES: [(&str, Client); 4] = [
    ("ApplePass", Client::Apple),
    ("AppleOrder", Client::Apple),
    ("AndroidPass", Client::Android),
    ("WalletUnionPass", Client::Android),
];

/// Who speaks: an app on Android says so by its scheme, by `X-Pass-Client` (Pass2U) or by its user agent.
pub(super) fn client(headers: &HeaderMap) -> Client {
    let scheme = SCHEMES.iter().find(|(scheme, _)| credential(headers, scheme).is_some());
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if headers.contains_key("x-pass-client") || agent.contains("Android") {
        return Client::Android;
    }
    scheme.map_or(Client::Apple, |(_, client)| *client)
}

/// A request that goes no further.
pub(super) enum Refusal {
    /// 401.
    Unauthorized,
    /// Anything else.
    Error(ApiError),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => {
                let message = "this pass and this token do not belong together";
                let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response();
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("ApplePass"));
                response
            }
            Self::Error(error) => error.into_response(),
        }
    }
}

/// The pass, if the request carries its token; and the token.
pub(super) async fn authenticate(
    service: &Service,
    headers: &HeaderMap,
    id: Option<&PassId>,
) -> Result<(PassRow, String), Refusal> {
    let presented =
        SCHEMES.iter().find_map(|(scheme, _)| credential(headers, scheme)).filter(|token| token.len() <= LONGEST_TOKEN);
    let nobody = PassId { pass_type: String::new(), serial: String::new() };
    let failed = |error: StorageError| {
        tracing::error!(%error, "a pass cannot be read");
        unavailable()
    };
    // The database is asked in every case, and nothing of the pass is read before its token fits: time tells nothing.
    let pass = service.store.unread(id.unwrap_or(&nobody)).await.map_err(failed)?;
    let stored = pass.as_ref().map(|pass| (pass.token_algorithm, pass.token_hash.as_str()));
    let fits = token::fits(presented.unwrap_or_default(), stored);
    match (pass, presented) {
        (Some(pass), Some(presented)) if fits => {
            let pass = pass.read().map_err(failed)?;
            if pass.token_algorithm != Algorithm::Sha384 {
                uplift(service, &pass, presented).await;
            }
            Ok((pass, presented.to_owned()))
        }
        _ => Err(Refusal::Unauthorized),
    }
}

async fn uplift(service: &Service, pass: &PassRow, token: &str) {
    match service.store.uplift_token(&pass.id, &pass.token_hash, &token::hash(token)).await {
        Ok(()) => {
            service.metrics.token_uplifts.inc();
        }
        Err(error) => tracing::warn!(%error, "an imported token keeps its old hash for now"),
    }
}
