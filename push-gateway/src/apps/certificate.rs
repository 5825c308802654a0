//! What can be known of a client certificate for APNs before it is used: is it valid now, and is it this topic's?

use std::path::Path;

use tidings_shared::tls;
use x509_cert::der::Decode;
use x509_cert::{Certificate, der};

/// `userId`: Apple puts the bundle id or the pass type identifier there.
const USER_ID: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");

/// When it ends (ms since 1970), or what is wrong with it.
pub(super) fn check(file: &Path, topic: &str, now_ms: i64) -> Result<i64, String> {
    let chain = tls::certificates(file).map_err(|error| error.to_string())?;
    let Some(leaf) = chain.first() else { return Err("no certificate is in this file".to_owned()) };
    let certificate =
        Certificate::from_der(leaf).map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let tbs = &certificate.tbs_certificate;
    let ms = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
    let (from, until) = (ms(tbs.validity.not_before), ms(tbs.validity.not_after));
    if now_ms >= until {
        return Err(format!("the certificate ended on {}; make a new one in Apple's portal", tbs.validity.not_after));
    }
    if now_ms < from {
        return Err(format!("the certificate begins on {}; is this machine's clock right?", tbs.validity.not_before));
    }
    let named = tbs
        .subject
        .0
        .iter()
        .flat_map(|set| set.0.iter())
        .find(|attribute| attribute.oid == USER_ID)
        .map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned());
    match named {
        // VoIP, complication and other topics are the bundle id with a suffix.
        Some(named) if topic != named && !topic.starts_with(&format!("{named}.")) => {
            Err(format!("the certificate is for \"{named}\", not for the topic \"{topic}\": one of them is wrong"))
        }
        _ => Ok(until),
    }
}

/// When the file's certificate has ended, if it has.
pub(super) fn ended(file: &Path, now_ms: i64) -> Option<String> {
    let chain = tls::certificates(file).ok()?;
    let certificate = Certificate::from_der(chain.first()?).ok()?;
    let until = certificate.tbs_certificate.validity.not_after;
    let until_ms = i64::try_from(until.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
    (now_ms >= until_ms).then(|| until.to_string())
}
