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
    ("dedup_key_invalid", 400, "A key in `dedup` has 1 to 255 bytes."),
    ("not_before_too_far", 400, "`not_before` lies more than 366 days ahead."),
    ("batch_size_invalid", 400, "A batch has 1 to 1,000 notifications."),
    (
        "app_queue_full",
        429,
        "As many pushes of the app wait as push.limits.queue_per_app allows; `queue_length` says how many. Try again after Retry-After.",
    ),
    (
        "queue_full",
        503,
        "As many pushes wait as push.limits.queue allows; `queue_length` says how many. Try again after Retry-After.",
    ),
    ("payload_too_large", 413, "The provider takes 4096 bytes at most."),
    ("data_name_reserved", 400, "A name in `data` belongs to a provider."),
    ("collapse_id_invalid", 400, "A collapse id has 1 to 64 bytes."),
    ("push_kind_unsupported", 400, "This provider does not know this kind of push."),
    ("database_unavailable", 503, "The database does not answer; try again after Retry-After."),
    ("not_found", 404, "Nothing is at this address."),
    ("method_not_allowed", 405, "The address does not take this method."),
    ("internal", 500, "Something failed inside; the server's log says what."),
];
