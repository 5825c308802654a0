-- The push queue: classes of priority, scheduled and cancelled notifications, what replaces what, and what a device
-- has had already.

-- The device's own time zone (IANA), where it has told one.
ALTER TABLE push_devices ADD COLUMN time_zone TEXT;

-- When it was cancelled: what is not sent by then is not sent any more.
ALTER TABLE push_notifications ADD COLUMN cancelled_at BIGINT;

-- 0: high, 1: normal, 2: bulk. The lower is sent first.
ALTER TABLE push_targets ADD COLUMN priority BIGINT NOT NULL DEFAULT 1;
-- Device and collapse id: a newer push with the same one takes the place of one that waits.
ALTER TABLE push_targets ADD COLUMN collapse_key TEXT;

DROP INDEX push_targets_due;
CREATE INDEX push_targets_due ON push_targets (lane, priority, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX push_targets_collapse ON push_targets (collapse_key) WHERE collapse_key IS NOT NULL AND due_at IS NOT NULL;

-- What a device has had: a notification with the same key is not sent to it before `until`.
CREATE TABLE push_dedup (
    -- Device and key.
    dedup_key TEXT   NOT NULL PRIMARY KEY,
    until_at  BIGINT NOT NULL
);
CREATE INDEX push_dedup_until ON push_dedup (until_at);
