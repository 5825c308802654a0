-- Passes as a product: void and expired passes, their history, uploaded templates, bulk changes.

ALTER TABLE wallet_passes ADD COLUMN voided BIGINT NOT NULL DEFAULT 0;
-- expirationDate as it stands in pass.json, laid over the template's.
ALTER TABLE wallet_passes ADD COLUMN expires TEXT;

-- What a pass was before each of its changes. The present one is in wallet_passes.
CREATE TABLE wallet_versions (
    pass_type     TEXT   NOT NULL,
    serial        TEXT   NOT NULL,
    revision      BIGINT NOT NULL,
    template      TEXT   NOT NULL,
    fields        TEXT   NOT NULL,
    user_info     TEXT,
    voided        BIGINT NOT NULL,
    expires       TEXT,
    fingerprint   TEXT   NOT NULL,
    -- Seconds since 1970, as devices saw it.
    last_modified BIGINT NOT NULL,
    -- When it came to be, ms since 1970.
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (pass_type, serial, revision)
);
CREATE INDEX wallet_versions_age ON wallet_versions (updated_at);

-- Every version of an uploaded template.
CREATE TABLE wallet_template_versions (
    name       TEXT   NOT NULL,
    revision   BIGINT NOT NULL,
    digest     TEXT   NOT NULL,
    -- JSON object: file name to Base64.
    files      TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (name, revision)
);

-- Which version is the present one. No row: the template was removed.
CREATE TABLE wallet_templates (
    name       TEXT   NOT NULL PRIMARY KEY,
    revision   BIGINT NOT NULL,
    digest     TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Changes of many passes: what is asked, how far it is, and which process works on it until when.
CREATE TABLE wallet_jobs (
    id           TEXT   NOT NULL PRIMARY KEY,
    -- JSON: which passes, and what becomes of them.
    query        TEXT   NOT NULL,
    change       TEXT   NOT NULL,
    -- running, done or cancelled.
    state        TEXT   NOT NULL,
    total        BIGINT NOT NULL,
    done         BIGINT NOT NULL,
    changed      BIGINT NOT NULL,
    failed       BIGINT NOT NULL,
    -- JSON array: the first passes that could not be changed, and why.
    faults       TEXT   NOT NULL,
    after_type   TEXT,
    after_serial TEXT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
);
CREATE INDEX wallet_jobs_running ON wallet_jobs (leased_until) WHERE state = 'running';
