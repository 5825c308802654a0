//! Who calls: a device with its user's token, or a backend with a service key.

use http::{HeaderMap, StatusCode};
use tidings_shared::auth::http::bearer;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;

use super::Gateway;

/// A caller that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// May speak for any user.
    Service,
    /// May speak for this user only.
    User(UserId),
}

impl Caller {
    pub(super) async fn of(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, ApiError> {
        let Some(credential) = bearer(headers) else {
            let message = "send `Authorization: Bearer` with an app token or a service key";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "credential_missing", message));
        };
        if gateway.service_keys.accepts(credential) {
            return Ok(Self::Service);
        }
        Ok(Self::User(gateway.verifier.verify(credential).await?.user))
    }

    /// Whose devices are meant, where `named` is the user that the request names.
    pub(super) fn user(&self, named: Option<&UserId>) -> Result<UserId, ApiError> {
        match (self, named) {
            (Self::User(own), None) => Ok(own.clone()),
            (Self::User(own), Some(named)) if own == named => Ok(own.clone()),
            (Self::User(_), Some(_)) => {
                let message = "an app token speaks for its own user only; leave `user` out";
                Err(ApiError::new(StatusCode::FORBIDDEN, "user_not_yours", message))
            }
            (Self::Service, Some(named)) => Ok(named.clone()),
            (Self::Service, None) => {
                let message = "with a service key, name the user: `user` in the body, or ?user= in the address";
                Err(ApiError::new(StatusCode::BAD_REQUEST, "user_missing", message))
            }
        }
    }
}
