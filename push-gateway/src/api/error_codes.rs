//! Every code that this interface refuses with, and what it means. Codes of tokens and service keys are described with
//! [`tidings_shared::auth`].

/// `(code, HTTP status, meaning)`.
pub const ERROR_CODES: &[(&str, u16, &str)] = &[
    ("credential_missing", 401, "No Authorization header: send `Bearer` with an app token or a service key."),
    ("user_missing", 400, "With a service key, say whose device is meant: `user`."),
    ("user_not_yours", 403, "With an app token, only the token's own user may be named."),
    ("body_invalid", 400, "The body is not JSON of the described form; the message says where."),
    ("body_too_large", 413, "The body is longer than push.max_body."),
    ("device_invalid", 400, "The device's name is empty, too long, or has control characters."),
    ("client_invalid", 400, "The client id is empty, too long, or has control characters."),
    ("token_invalid", 400, "The push token cannot be one of this provider."),
    ("app_unknown", 400, "No app of this name is configured for this provider."),
    ("no_app_configured", 503, "The server has no push app at all: its operator has to configure one."),
    ("environment_unavailable", 400, "The app has no address for this environment."),
    ("too_many_devices", 409, "The user has as many devices as push.max_devices_per_user allows; remove one."),
    ("device_unknown", 404, "No such device is registered."),
    ("notification_unknown", 404, "No such notification; records are kept for push.keep."),
    ("idempotency_key_invalid", 400, "An Idempotency-Key is 1 to 255 visible ASCII characters."),
    ("idempotency_key_reused", 409, "The Idempotency-Key was used with another body within a day."),
    (
        "payload_too_large",
        413,
        "The provider takes 4096 bytes at most (APNs: 5120 for VoIP and broadcasts; Web Push: 3993).",
    ),
    ("data_name_reserved", 400, "A name in `data` belongs to a provider."),
    ("collapse_id_invalid", 400, "A collapse id has 1 to 64 bytes."),
    ("push_kind_unsupported", 400, "This provider does not know this kind of push."),
    (
        "push_invalid",
        400,
        "A field of the push or of its addressee breaks a rule of the provider; the message says which.",
    ),
    ("endpoint_refused", 400, "The subscription's push service is at an address that pushes are not sent to."),
    ("channel_unknown", 404, "Apple knows no such broadcast channel in this environment."),
    ("too_many_channels", 409, "The app has as many broadcast channels as Apple allows (10,000)."),
    ("provider_refused", 502, "The provider refuses the request; the message has its own words and what to do."),
    ("provider_unavailable", 503, "The provider gave no answer; try again after Retry-After."),
    ("database_unavailable", 503, "The database does not answer; try again after Retry-After."),
    ("not_found", 404, "Nothing is at this address."),
    ("method_not_allowed", 405, "The address does not take this method."),
    ("internal", 500, "Something failed inside; the server's log says what."),
];
