-- The push-gateway: what is known of devices, segments, templates, receipts, webhooks.
-- Times are milliseconds since 1970 (UTC); flags are 0 or 1.

-- The language of the app (BCP 47), and its version.
ALTER TABLE push_devices ADD COLUMN locale TEXT;
ALTER TABLE push_devices ADD COLUMN version TEXT;
-- The version in a form whose bytes sort as versions do; NULL when it does not begin with a number.
ALTER TABLE push_devices ADD COLUMN version_key TEXT;
-- Since when the provider calls the token gone: nothing is sent to it, and the row is removed later.
ALTER TABLE push_devices ADD COLUMN quarantined_at BIGINT;
CREATE INDEX push_devices_quarantined ON push_devices (quarantined_at) WHERE quarantined_at IS NOT NULL;

CREATE TABLE push_device_tags (
    device_id TEXT NOT NULL REFERENCES push_devices (id) ON DELETE CASCADE,
    tag       TEXT NOT NULL,
    PRIMARY KEY (device_id, tag)
);
CREATE INDEX push_device_tags_tag ON push_device_tags (tag, device_id);

-- Named segments; the expression is JSON.
CREATE TABLE push_segments (
    name       TEXT   NOT NULL PRIMARY KEY,
    expression TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

-- A notification to a segment: its targets are made in portions, each in one transaction that moves the cursor.
CREATE TABLE push_expansions (
    notification_id TEXT   NOT NULL PRIMARY KEY,
    segment         TEXT,
    -- The segment's expression when the notification was accepted (JSON).
    expression      TEXT   NOT NULL,
    -- The request (JSON): when and how its targets are made.
    request         TEXT   NOT NULL,
    -- The id of the last device that was looked at. Devices that registered after the notification are left out.
    position        TEXT   NOT NULL,
    targets         BIGINT NOT NULL DEFAULT 0,
    skipped         BIGINT NOT NULL DEFAULT 0,
    -- When somebody may go on with it: at once, or when the lease of who is at it ends. NULL: complete.
    due_at          BIGINT,
    created_at      BIGINT NOT NULL
);
CREATE INDEX push_expansions_due ON push_expansions (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE push_templates (
    name       TEXT   NOT NULL PRIMARY KEY,
    -- As it was uploaded (JSON).
    template   TEXT   NOT NULL,
    revision   BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
-- The push in each language of a template (JSON): `push` has the default language then.
ALTER TABLE push_notifications ADD COLUMN localized TEXT;

-- What the app reported.
ALTER TABLE push_targets ADD COLUMN delivered_at BIGINT;
ALTER TABLE push_targets ADD COLUMN opened_at BIGINT;
ALTER TABLE push_targets ADD COLUMN dismissed_at BIGINT;

-- What became of pushes, in one order without holes: webhooks and streams read it by their own cursors. Written only while
-- there is a reader.
CREATE TABLE push_events (
    seq        BIGINT NOT NULL PRIMARY KEY,
    kind       TEXT   NOT NULL,
    -- JSON.
    data       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX push_events_created ON push_events (created_at);

-- One row. Whoever holds its lock gives the numbers, so that they become visible in their order.
CREATE TABLE push_event_clock (
    id           BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    last_seq     BIGINT NOT NULL,
    -- A stream was open not long ago: events are written until then.
    wanted_until BIGINT NOT NULL
);
INSERT INTO push_event_clock (id, last_seq, wanted_until) VALUES (1, 0, 0);

CREATE TABLE push_webhooks (
    name             TEXT   NOT NULL PRIMARY KEY,
    url              TEXT   NOT NULL,
    -- JSON list; empty: every event.
    events           TEXT   NOT NULL,
    secret           TEXT   NOT NULL,
    old_secret       TEXT,
    old_secret_until BIGINT,
    enabled          BIGINT NOT NULL,
    disabled_reason  TEXT,
    failing_since    BIGINT,
    last_error       TEXT,
    -- The last event that it has a delivery for, if it wants one.
    position         BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
);

-- What a webhook has not taken yet.
CREATE TABLE push_deliveries (
    -- The webhook-id that the receiver sees: the same on every attempt.
    id         TEXT   NOT NULL PRIMARY KEY,
    webhook    TEXT   NOT NULL REFERENCES push_webhooks (name) ON DELETE CASCADE,
    seq        BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    data       TEXT   NOT NULL,
    happened_at BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,
    -- When it may be tried; while it is tried, when somebody else may. NULL: given up.
    due_at     BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE (webhook, seq)
);
CREATE INDEX push_deliveries_due ON push_deliveries (webhook, due_at) WHERE due_at IS NOT NULL;
