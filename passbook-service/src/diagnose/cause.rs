//! The texts that Wallet writes, and what each means for the server that reads them.

/// A cause, with what it means and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Stable code.
    pub code: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Recognised when every fragment occurs; the first match counts.
const CAUSES: [(&[&str], Cause); 13] = [
    (
        &["encountered error: Authentication failure"],
        Cause {
            code: "authentication_failure",
            meaning: "the service answered 401: the pass is gone here, or its token is another one than in the device's copy",
            remedy: "see whether the pass still exists; a pass that was deleted and made again has a new token",
        },
    ),
    (
        &["encountered error: Unexpected response code"],
        Cause {
            code: "unexpected_response",
            meaning: "the service, or a proxy before it, answered with a status that Wallet does not expect",
            remedy: "look for that status in the proxy's log; 408, 504 and 596 are time-outs before this service",
        },
    ),
    (
        &["encountered error: Server response was malformed"],
        Cause {
            code: "malformed_response",
            meaning: "the answer was no JSON of the expected form",
            remedy: "see whether a proxy replaces answers, for example by an error page",
        },
    ),
    (
        &["encountered error: Received invalid pass data"],
        Cause {
            code: "invalid_package",
            meaning: "the package was refused: damaged, or signed by another certificate than the installed pass",
            remedy: "verify a package with openssl cms; the signing certificate must stay of the same pass type and team",
        },
    ),
    (
        &["encountered error: Requested serial number", "received serial number"],
        Cause {
            code: "wrong_pass",
            meaning: "another pass was served than the one asked for",
            remedy: "look for a cache before this service that ignores the path or Authorization",
        },
    ),
    (
        &["Update requested for unregistered serial number"],
        Cause {
            code: "unregistered_serial",
            meaning: "a pass was listed that the device does not have any more",
            remedy: "the device's unregistration did not arrive; it is corrected when the device asks again",
        },
    ),
    (
        &["Server ignored the 'if-modified-since' header"],
        Cause {
            code: "not_modified_ignored",
            meaning: "the full pass was sent although it had not changed",
            remedy: "see whether a proxy removes the header If-Modified-Since",
        },
    ),
    (
        &["did not provide a 'last-modified' header"],
        Cause {
            code: "last_modified_missing",
            meaning: "a pass came without Last-Modified",
            remedy: "see whether a proxy removes the header Last-Modified",
        },
    ),
    (
        &["Server requested update to serial number", "but the pass was unchanged"],
        Cause {
            code: "unchanged_update",
            meaning: "a pass was listed as changed, and the device found nothing new",
            remedy: "rare ones are harmless: the pass changed twice, and the first fetch brought both changes",
        },
    ),
    (
        &["Device received spurious push"],
        Cause {
            code: "spurious_push",
            meaning: "a push arrived and the list had nothing new",
            remedy: "rare ones are harmless: the device had asked by itself just before the push",
        },
    ),
    (
        &["serial numbers but the lastUpdated tag", "remained the same"],
        Cause {
            code: "tag_unmoved",
            meaning: "changes were listed under a tag that did not move",
            remedy: "see whether two databases are behind one address",
        },
    ),
    (
        &["omitted a lastUpdated tag"],
        Cause {
            code: "tag_missing",
            meaning: "a list came without lastUpdated",
            remedy: "see whether a proxy rewrites answers",
        },
    ),
    (
        &["Personalization request was issued", "but the pass was unchanged"],
        Cause {
            code: "personalization_unchanged",
            meaning: "a personalized pass had no new version",
            remedy: "change the pass when its personalization arrives",
        },
    ),
];

/// Whatever nobody has seen before.
const UNKNOWN: Cause =
    Cause { code: "unknown", meaning: "a text that is not known here", remedy: "read it: it is the first of its kind" };

/// The cause of a line (its date removed).
#[must_use]
pub fn cause_of(text: &str) -> Cause {
    CAUSES
        .iter()
        .find(|(fragments, _)| fragments.iter().all(|fragment| text.contains(fragment)))
        .map_or(UNKNOWN, |(_, cause)| *cause)
}

/// The cause with a stored code.
#[must_use]
pub fn cause_with_code(code: &str) -> Cause {
    CAUSES.iter().map(|(_, cause)| *cause).find(|cause| cause.code == code).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_wallet_has_its_cause() {
        let texts = [
            (
                "Get pass task (for device D, pass type pass.a, serial number 1; with web service url https://x) encountered error: Authentication failure",
                "authentication_failure",
            ),
            ("Register task (x) encountered error: Unexpected response code 596", "unexpected_response"),
            (
                "Get serial #s task (x) encountered error: Server response was malformed (Missing lastUpdated)",
                "malformed_response",
            ),
            (
                "Get pass task (x) encountered error: Received invalid pass data (The pass cannot be read)",
                "invalid_package",
            ),
            ("Get pass task (x) encountered error: Requested serial number A, received serial number B", "wrong_pass"),
            (
                "Web service error for pass.a (https://x): Update requested for unregistered serial number S",
                "unregistered_serial",
            ),
            (
                "Web service error for pass.a (https://x): Server ignored the 'if-modified-since' header (D) and returned the full unchanged pass data for serial number 'S'.",
                "not_modified_ignored",
            ),
            (
                "Web service error for pass.a (https://x): Server returned the pass data for serial number 'S' but did not provide a 'last-modified' header.",
                "last_modified_missing",
            ),
            (
                "Web service error for pass.a (https://x): Server requested update to serial number 'S', but the pass was unchanged.",
                "unchanged_update",
            ),
            (
                "Web service error for pass.a (https://x): Device received spurious push. Request for passesUpdatedSince 'T' returned no serial numbers. (Device = D)",
                "spurious_push",
            ),
            (
                "Web service error for pass.a (https://x): Response to 'What changed?' request included 2 serial numbers but the lastUpdated tag (T) remained the same.",
                "tag_unmoved",
            ),
            (
                "Web service error for pass.a (https://x): Response to 'What changed?' request included 1 serial numbers but omitted a lastUpdated tag.",
                "tag_missing",
            ),
            (
                "Personalization request was issued for serial number 'S', but the pass was unchanged.",
                "personalization_unchanged",
            ),
            ("the moon is full", "unknown"),
        ];
        for (text, code) in texts {
            assert_eq!(cause_of(text).code, code, "{text}");
            assert_eq!(cause_with_code(code).code, code);
        }
    }
}
