//! Who is at the door: user name `JWT` with a token, or user name `handler` with a shared key. Nobody else.

use rmqtt_codec::v5::{Connect, ConnectAckReason};
use tidings_shared::auth::{ServiceKeys, TokenError, Verifier};
use tidings_shared::topic::access::Principal;

/// The user name of a device, whose password is its token.
pub const TOKEN_USER: &str = "JWT";
/// The user name of a handler, whose password is a shared key.
pub const HANDLER_USER: &str = "handler";

/// A verified log-in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) principal: Principal,
    /// When the connection has to end: at the token's `exp`, or at the end of the leeway when only that made it good.
    /// `None` for handlers, and for tokens without `exp` where those are allowed.
    pub(super) ends_at_ms: Option<i64>,
}

/// A refused log-in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// For CONNACK; 3.1.1's return code follows from it.
    pub(super) reason: ConnectAckReason,
    /// A documented code, for logs and metrics.
    pub(super) code: &'static str,
    /// Which check failed, for the client's reason string.
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(reason: ConnectAckReason, code: &'static str, why: impl Into<String>) -> Self {
        Self { reason, code, why: why.into() }
    }
}

/// Checks user name and password of a CONNECT.
pub(super) async fn check(
    connect: &Connect,
    verifier: &Verifier,
    keys: &ServiceKeys,
    now_ms: i64,
) -> Result<Login, Refused> {
    let bad = |code, why: &str| Refused::new(ConnectAckReason::BadUserNameOrPassword, code, why);
    if connect.auth_method.is_some() {
        let why = "extended authentication is not offered here; log in with user name and password";
        return Err(Refused::new(ConnectAckReason::BadAuthenticationMethod, "authentication_method", why));
    }
    let password = connect.password.as_ref().map(|password| std::str::from_utf8(password));
    match (connect.username.as_deref(), password) {
        (Some(TOKEN_USER), Some(Ok(token))) => match verifier.verify(token).await {
            Ok(claims) => {
                let ends = |at: i64| if at > now_ms { at } else { at.saturating_add(verifier.leeway_ms()) };
                Ok(Login { principal: claims.principal(), ends_at_ms: claims.expires_at_ms.map(ends) })
            }
            Err(error) => Err(token_refused(&error)),
        },
        (Some(TOKEN_USER), _) => Err(bad("token_malformed", "the password of user JWT is its token")),
        (Some(HANDLER_USER), Some(Ok(key))) if keys.accepts(key) => {
            Ok(Login { principal: Principal::Handler, ends_at_ms: None })
        }
        (Some(HANDLER_USER), _) => Err(bad("handler_key", "this is not a handler key")),
        (Some(_), _) => Err(bad("user_name", "the user name is JWT (password: a token) or handler (password: a key)")),
        (None, _) => {
            Err(bad("user_name", "log in with user name JWT (password: a token) or handler (password: a key)"))
        }
    }
}

fn token_refused(error: &TokenError) -> Refused {
    let reason = match error {
        TokenError::KeysUnavailable => ConnectAckReason::ServerUnavailable,
        _ => ConnectAckReason::BadUserNameOrPassword,
    };
    Refused::new(reason, error.code(), error.to_string())
}
