-- Moving from another provider, and keeping what is registered true: campaigns, imports, what each device has been told and
-- has asked, who does not answer any more, and what devices complain about.

-- What a device was last told, for each pass type. listed_tag: the clock's tag when the list was last answered (NULL: it has
-- never asked here). unanswered: pushes since it last asked, and since when. notification: the push-gateway's name for the
-- latest push, and the age of the token that it went to, so that "this token is gone" finds its device.
ALTER TABLE wallet_pushes ADD COLUMN listed_tag BIGINT;
ALTER TABLE wallet_pushes ADD COLUMN listed_at BIGINT;
ALTER TABLE wallet_pushes ADD COLUMN unanswered BIGINT NOT NULL DEFAULT 0;
ALTER TABLE wallet_pushes ADD COLUMN unanswered_since BIGINT;
ALTER TABLE wallet_pushes ADD COLUMN notification TEXT;
ALTER TABLE wallet_pushes ADD COLUMN notified_token_at BIGINT;
CREATE INDEX wallet_pushes_notification ON wallet_pushes (notification) WHERE notification IS NOT NULL;

-- Devices that nothing is sent to any more, until they are heard of again or forgotten. reason: token_gone or unanswered.
ALTER TABLE wallet_devices ADD COLUMN quarantined_at BIGINT;
ALTER TABLE wallet_devices ADD COLUMN quarantine_reason TEXT;
CREATE INDEX wallet_devices_quarantined ON wallet_devices (quarantined_at) WHERE quarantined_at IS NOT NULL;

-- A campaign walks the registrations in this order. It takes the place of the index without the device.
CREATE INDEX wallet_registrations_walk ON wallet_registrations (pass_type, serial, device);
DROP INDEX wallet_registrations_pass;

-- Work that one process at a time does. Whoever renews the lease has it.
CREATE TABLE wallet_leases (
    name  TEXT   NOT NULL PRIMARY KEY,
    owner TEXT   NOT NULL,
    until BIGINT NOT NULL
);

-- Where a reader of somebody else's sequence stands.
CREATE TABLE wallet_cursors (
    name     TEXT NOT NULL PRIMARY KEY,
    position TEXT NOT NULL
);

CREATE TABLE wallet_campaigns (
    id          TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    -- JSON: which passes.
    query       TEXT   NOT NULL,
    -- running, paused, waiting (for its next sweep), done or cancelled.
    state       TEXT   NOT NULL,
    -- JSON: rates, thresholds, repetition.
    plan        TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    finished_at BIGINT,
    -- Which walk over the registrations this is, from 1, and when it began.
    sweep       BIGINT NOT NULL,
    sweep_at    BIGINT NOT NULL,
    -- When the next one begins; only while waiting.
    next_at     BIGINT,
    -- The last registration that was looked at.
    after_type   TEXT NOT NULL DEFAULT '',
    after_serial TEXT NOT NULL DEFAULT '',
    after_device TEXT NOT NULL DEFAULT '',
    -- Registrations of this sweep: how many there were at its beginning (NULL: not counted yet), how many were looked at.
    total       BIGINT,
    looked_at   BIGINT NOT NULL DEFAULT 0,
    -- Of all sweeps: what became of them.
    pushed      BIGINT NOT NULL DEFAULT 0,
    up_to_date  BIGINT NOT NULL DEFAULT 0,
    recent      BIGINT NOT NULL DEFAULT 0,
    unpushable  BIGINT NOT NULL DEFAULT 0,
    refused     BIGINT NOT NULL DEFAULT 0,
    -- Pushes a second, in thousandths, and why it moved last.
    rate        BIGINT NOT NULL,
    rate_reason TEXT   NOT NULL DEFAULT '',
    last_error  TEXT,
    -- JSON: who had asked when that was last counted.
    coverage    TEXT
);

-- How each process answers, while a campaign runs: JSON, see campaign/load.rs.
CREATE TABLE wallet_load (
    process TEXT   NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL,
    sample  TEXT   NOT NULL
);

CREATE TABLE wallet_imports (
    -- Digest of the file and of what was asked with it.
    id            TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    -- The last line that was taken.
    line          BIGINT NOT NULL,
    complete      BIGINT NOT NULL DEFAULT 0,
    passes        BIGINT NOT NULL DEFAULT 0,
    known_passes  BIGINT NOT NULL DEFAULT 0,
    registrations BIGINT NOT NULL DEFAULT 0,
    known_registrations BIGINT NOT NULL DEFAULT 0,
    push_tokens   BIGINT NOT NULL DEFAULT 0,
    refused       BIGINT NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE wallet_import_refusals (
    import TEXT   NOT NULL,
    line   BIGINT NOT NULL,
    -- A line may have several.
    ordinal BIGINT NOT NULL,
    field  TEXT   NOT NULL,
    found  TEXT   NOT NULL,
    rule   TEXT   NOT NULL,
    PRIMARY KEY (import, line, ordinal)
);

-- What only this service knows of a report: JSON object, fact to count.
ALTER TABLE wallet_diagnoses ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
-- When somebody is to be told (NULL: nobody, or it was told), and how often that failed.
ALTER TABLE wallet_diagnoses ADD COLUMN alert_at BIGINT;
ALTER TABLE wallet_diagnoses ADD COLUMN alert_attempts BIGINT NOT NULL DEFAULT 0;
-- When it was told as a first (NULL: never).
ALTER TABLE wallet_diagnoses ADD COLUMN told_at BIGINT;
