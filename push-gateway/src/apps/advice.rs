//! What to do about a refused credential, in words for people.

use tidings_shared::push_api::Provider;

/// `reason` is the provider's own word.
pub(super) fn advice(provider: Provider, reason: Option<&str>) -> &'static str {
    match (provider, reason.unwrap_or_default()) {
        (Provider::Apns, "InvalidProviderToken" | "MissingProviderToken") => {
            "is the .p8 key revoked, or do key_id and team_id not belong to it? Compare with Apple's portal, or put a new key in its place"
        }
        (Provider::Apns, "ExpiredProviderToken") => "a fresh token counts as expired: set this machine's clock right",
        (Provider::Apns, "BadEnvironmentKeyInToken" | "BadEnvironmentKeyIdInToken") => {
            "the .p8 key is restricted to the other environment: use one for both, or one for each"
        }
        (Provider::Apns, "UnrelatedKeyIdInToken") => "the key belongs to another team than the one before it",
        (Provider::Apns, "TopicDisallowed") => "the key or certificate is not allowed for this topic",
        (Provider::Apns, "BadCertificateEnvironment") => "the certificate is for the other environment",
        (Provider::Apns, "BadCertificate" | "CertificateRevoked" | "CertificateExpired" | "CertificateUnknown") => {
            "the certificate is refused: make a new one in Apple's portal and put it in its place"
        }
        (Provider::Apns, "signing_failed") => "the .p8 key cannot sign: put a new one in its place",
        (Provider::Apns, _) => {
            "compare the credentials with Apple's portal; a changed file is taken over without a restart"
        }
        (Provider::Fcm, "SENDER_ID_MISMATCH") => {
            "the registration token belongs to another Firebase project: is this the project of the app?"
        }
        (Provider::Fcm, "PERMISSION_DENIED") => {
            "the service account lacks the role Firebase Cloud Messaging API Admin, or the API is switched off in the project"
        }
        (Provider::Fcm, "invalid_grant") => {
            "Google refuses the service account's key: is it deleted, or this machine's clock wrong? Put a new key file in its place"
        }
        (Provider::Fcm, _) => {
            "compare the service account with the Google Cloud console; a changed file is taken over without a restart"
        }
        (Provider::WebPush, _) => "the VAPID key cannot sign: put a P-256 private key in its place",
    }
}
