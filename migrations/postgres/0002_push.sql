-- The push-gateway: registered devices, the durable queue, and what makes requests and events idempotent.
-- Times are milliseconds since 1970 (UTC); flags are 0 or 1.

-- One row for each device of a user. A token belongs to one row only: where it turns up again, it has moved.
CREATE TABLE push_devices (
    id            TEXT   NOT NULL PRIMARY KEY,
    user_id       TEXT   NOT NULL,
    device        TEXT   NOT NULL,
    client        TEXT,
    provider      TEXT   NOT NULL,
    app           TEXT   NOT NULL,
    environment   TEXT   NOT NULL,
    token         TEXT   NOT NULL,
    -- Counts the changes of the token: an answer about an older one changes nothing.
    generation    BIGINT NOT NULL,
    -- When the token was last confirmed by the device.
    registered_at BIGINT NOT NULL,
    -- When the device last came back, by the broker's clock.
    returned_at   BIGINT,
    -- The outstanding wake push: the time of the message that caused it (the broker's clock), and its target.
    wake_at       BIGINT,
    wake_target   TEXT,
    UNIQUE (user_id, device),
    UNIQUE (provider, app, token)
);

CREATE TABLE push_notifications (
    id          TEXT   NOT NULL PRIMARY KEY,
    push        TEXT   NOT NULL,
    collapse_id TEXT,
    created_at  BIGINT NOT NULL,
    -- 0: one attempt only.
    expires_at  BIGINT NOT NULL
);
CREATE INDEX push_notifications_created ON push_notifications (created_at);

-- The queue: one row for each device that a notification goes to.
CREATE TABLE push_targets (
    id               TEXT   NOT NULL PRIMARY KEY,
    notification_id  TEXT   NOT NULL,
    position         BIGINT NOT NULL,
    -- PROVIDER:APP. A lane has its own workers and may be paused alone.
    lane             TEXT   NOT NULL,
    provider         TEXT   NOT NULL,
    app              TEXT   NOT NULL,
    -- A registered device: its present token is read when the push is claimed …
    device_id        TEXT,
    device           TEXT,
    -- … or a token that the sender brought.
    token            TEXT,
    registered_at    BIGINT,
    environment      TEXT   NOT NULL,
    tried_other      BIGINT NOT NULL DEFAULT 0,
    state            TEXT   NOT NULL,
    attempts         BIGINT NOT NULL DEFAULT 0,
    first_attempt_at BIGINT,
    -- queued, retrying: when it may be claimed. sending: when the lease ends. NULL: final.
    due_at           BIGINT,
    lease            TEXT,
    -- An attempt ended without an answer.
    maybe_taken      BIGINT NOT NULL DEFAULT 0,
    -- The provider said that the token is gone.
    token_gone       BIGINT NOT NULL DEFAULT 0,
    provider_status  BIGINT,
    reason           TEXT,
    provider_id      TEXT,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL
);
CREATE INDEX push_targets_due ON push_targets (lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX push_targets_notification ON push_targets (notification_id);

-- What was answered to a request with an Idempotency-Key.
CREATE TABLE push_idempotency (
    key        TEXT   NOT NULL PRIMARY KEY,
    body_hash  TEXT   NOT NULL,
    answer     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX push_idempotency_created ON push_idempotency (created_at);

-- Messages whose missing acknowledgement has been dealt with: the event may come again.
CREATE TABLE push_wake_events (
    user_id    TEXT   NOT NULL,
    message_id TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, message_id)
);
CREATE INDEX push_wake_events_created ON push_wake_events (created_at);
