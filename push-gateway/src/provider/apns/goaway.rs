//! What a broken HTTP/2 connection still says: Apple's reason in a GOAWAY, or a TLS alert about our certificate.

/// The `reason` of the JSON that Apple puts in a GOAWAY's debug data.
pub(super) fn reason(error: &h2::Error) -> Option<String> {
    if !error.is_go_away() {
        return None;
    }
    in_debug_text(&error.to_string())
}

/// `h2` shows the debug data only as part of the error's text, escaped: `(b"{\"reason\":\"Shutdown\"}")`.
fn in_debug_text(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("reason\\\"")?;
    let value = rest.trim_start_matches([' ', ':', '\\', '"']);
    let end = value.find(|character: char| !character.is_ascii_alphanumeric())?;
    (end > 0).then(|| value.get(..end).unwrap_or_default().to_owned())
}

/// The TLS alert with which a server refuses a client certificate. In TLS 1.3 it comes after the handshake, as
/// an error of the first read.
pub(super) fn certificate_alert(error: &std::io::Error) -> Option<String> {
    let text = error.to_string();
    let (_, alert) = text.split_once("received fatal alert: ")?;
    let alert = alert.split(|character: char| !character.is_ascii_alphanumeric()).next()?;
    matches!(
        alert,
        "BadCertificate"
            | "UnsupportedCertificate"
            | "CertificateRevoked"
            | "CertificateExpired"
            | "CertificateUnknown"
            | "CertificateRequired"
            | "UnknownCA"
            | "UnknownCa"
            | "AccessDenied"
    )
    .then(|| alert.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_the_debug_text() {
        let text = format!(
            "connection error received: not a result of an error ({:?})",
            bytes::Bytes::from_static(b"{\"reason\":\"Shutdown\"}")
        );
        assert_eq!(in_debug_text(&text), Some("Shutdown".to_owned()));
        let spaced = format!("x ({:?})", bytes::Bytes::from_static(b"{ \"reason\": \"BadCertificate\", \"a\":1}"));
        assert_eq!(in_debug_text(&spaced), Some("BadCertificate".to_owned()));
        assert_eq!(in_debug_text("connection error received: not a result of an error"), None);
    }

    #[test]
    fn an_alert_about_the_certificate_is_recognised() {
        let refused = std::io::Error::other("received fatal alert: CertificateRevoked");
        assert_eq!(certificate_alert(&refused), Some("CertificateRevoked".to_owned()));
        let other = std::io::Error::other("received fatal alert: ProtocolVersion");
        assert_eq!(certificate_alert(&other), None);
    }
}
