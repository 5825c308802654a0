//! `wallet.signing`, `wallet.certificates` and `wallet.types`: which types are signed, and by which certificates.

use std::path::PathBuf;

use tidings_shared::config::{Kind, Setting, Settings};

use crate::package::{CertificateFiles, CertificateSource};

/// A type that this service signs.
#[derive(Clone)]
pub struct TypeConfig {
    /// `pass.…` or `order.…`, the UID of its certificates.
    pub identifier: String,
    /// The OU of its certificates.
    pub team: String,
    /// Its certificates for this environment; empty: a development certificate is made.
    pub certificates: Vec<CertificateSource>,
}

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "wallet.environment",
        Kind::Text,
        "production",
        "Name of this installation's environment: certificates with another one are left alone, so that one file can serve all.",
    ),
    Setting::new(
        "wallet.check_key_permissions",
        Kind::Flag,
        "true",
        "Refuse to start when others than their owner may read the files of private keys. false: for containers whose volumes and secrets have other rights.",
    ),
    Setting::new(
        "wallet.signing.watch",
        Kind::Duration,
        "30s",
        "How often the files of certificates and keys are looked at; replaced ones are taken over without a restart.",
    ),
    Setting::optional(
        "wallet.signing.certificate",
        Kind::Path,
        "Pass Type ID certificate, PEM or DER. Without any certificate: development certificates are made in the data folder.",
    ),
    Setting::optional("wallet.signing.key", Kind::Path, "Its private key, PEM."),
    Setting::optional(
        "wallet.signing.p12",
        Kind::Path,
        "Certificate and key as a .p12 file, instead of certificate and key.",
    ),
    Setting::optional("wallet.signing.p12_password", Kind::Secret, "Password of the .p12 file."),
    Setting::optional(
        "wallet.signing.intermediate",
        Kind::Path,
        "Apple's WWDR certificate that issued the signing certificate, PEM or DER.",
    ),
    Setting::optional(
        "wallet.signing.environment",
        Kind::Text,
        "Use this certificate only where wallet.environment has this value; unset: everywhere.",
    ),
    Setting::optional(
        "wallet.certificates.*.type",
        Kind::Text,
        "A further certificate, beside wallet.signing or wallet.types.*.signing: the type that it signs; wallet.pass_type when unset. The newest one that is valid signs, so that a renewed certificate takes over by itself.",
    ),
    Setting::optional("wallet.certificates.*.certificate", Kind::Path, "The certificate, PEM or DER."),
    Setting::optional("wallet.certificates.*.key", Kind::Path, "Its private key, PEM."),
    Setting::optional("wallet.certificates.*.p12", Kind::Path, "Or both as a .p12 file."),
    Setting::optional("wallet.certificates.*.p12_password", Kind::Secret, "Password of the .p12 file."),
    Setting::optional("wallet.certificates.*.intermediate", Kind::Path, "The WWDR certificate that issued it."),
    Setting::optional(
        "wallet.certificates.*.environment",
        Kind::Text,
        "Use it only where wallet.environment has this value; unset: everywhere.",
    ),
    Setting::optional(
        "wallet.types.*.team",
        Kind::Text,
        "A further type that is signed here, pass.… or order.…, by its identifier: its team identifier; wallet.team when unset.",
    ),
    Setting::optional("wallet.types.*.signing.certificate", Kind::Path, "The type's certificate, PEM or DER."),
    Setting::optional("wallet.types.*.signing.key", Kind::Path, "Its private key, PEM."),
    Setting::optional("wallet.types.*.signing.p12", Kind::Path, "Or both as a .p12 file."),
    Setting::optional("wallet.types.*.signing.p12_password", Kind::Secret, "Password of the .p12 file."),
    Setting::optional("wallet.types.*.signing.intermediate", Kind::Path, "The WWDR certificate that issued it."),
    Setting::optional(
        "wallet.types.*.signing.environment",
        Kind::Text,
        "Use it only where wallet.environment has this value; unset: everywhere.",
    ),
];

/// The types, `wallet.pass_type` first, each with its certificates for this environment.
pub(super) fn types(settings: &Settings, faults: &mut Vec<String>) -> Vec<TypeConfig> {
    let environment = settings.text("wallet.environment");
    let team = settings.text("wallet.team");
    let mut found = Found { settings, environment: &environment, any: false, faults };
    let first = settings.text("wallet.pass_type");
    if first.starts_with("order.") {
        found.faults.push(format!("wallet.pass_type: found `{first}`, an order type; name a pass type, pass.…, and give the order type as wallet.types.\"{first}\""));
    }
    let mut types = vec![TypeConfig {
        certificates: found.certificate("wallet.signing"),
        identifier: first.clone(),
        team: team.clone(),
    }];
    for identifier in settings.names("wallet.types") {
        let place = Settings::named("wallet.types", &identifier, "signing");
        let team = settings.optional_text(&Settings::named("wallet.types", &identifier, "team"));
        let certificates = found.certificate(&place);
        if identifier == first {
            found.faults.push(format!("wallet.types.\"{identifier}\": is wallet.pass_type too; its certificate stands under wallet.signing, further ones under wallet.certificates"));
            continue;
        }
        if !identifier.starts_with("pass.") && !identifier.starts_with("order.") {
            found.faults.push(format!("wallet.types.\"{identifier}\": found a type that begins with neither `pass.` nor `order.`; give the identifier as the developer account shows it, in quotes"));
        }
        types.push(TypeConfig { identifier, team: team.unwrap_or_else(|| settings.text("wallet.team")), certificates });
    }
    for name in settings.names("wallet.certificates") {
        let place = Settings::named("wallet.certificates", &name, "type");
        let identifier = settings.optional_text(&place).unwrap_or_else(|| first.clone());
        let certificates = found.certificate(place.trim_end_matches(".type"));
        match types.iter_mut().find(|one| one.identifier == identifier) {
            Some(one) => one.certificates.extend(certificates),
            None => {
                let known = types.iter().map(|one| one.identifier.as_str()).collect::<Vec<_>>().join(", ");
                found.faults.push(format!(
                    "{place}: found `{identifier}`; the types are {known}: add wallet.types.\"{identifier}\", or name one of them"
                ));
            }
        }
    }
    if found.any {
        for without in types.iter().filter(|one| one.certificates.is_empty()) {
            let place = if without.identifier == first {
                "wallet.signing".to_owned()
            } else {
                Settings::named("wallet.types", &without.identifier, "signing")
            };
            faults.push(format!(
                "{place}: no certificate for {} in the environment `{environment}` (wallet.environment); set {place}.certificate and .key, or .p12",
                without.identifier
            ));
        }
    }
    types
}

struct Found<'a> {
    settings: &'a Settings,
    environment: &'a str,
    /// Whether any certificate is configured, for whatever environment.
    any: bool,
    faults: &'a mut Vec<String>,
}

impl Found<'_> {
    /// The certificate that a table names, if there is one for this environment.
    fn certificate(&mut self, place: &str) -> Vec<CertificateSource> {
        let path = |name: &str| self.settings.optional_path(&format!("{place}.{name}"));
        let password = self.settings.optional_text(&format!("{place}.p12_password"));
        let files = files(place, &path, password, self.faults);
        self.any |= files.is_some();
        let environment = self.settings.optional_text(&format!("{place}.environment"));
        if environment.is_some_and(|name| name != self.environment) {
            return Vec::new();
        }
        files.map(|files| CertificateSource { place: place.to_owned(), files }).into_iter().collect()
    }
}

fn files(
    place: &str,
    path: &dyn Fn(&str) -> Option<PathBuf>,
    password: Option<String>,
    faults: &mut Vec<String>,
) -> Option<CertificateFiles> {
    let intermediate = path("intermediate");
    match (path("certificate"), path("key"), path("p12")) {
        (None, None, None) => {
            if intermediate.is_some() {
                faults.push(format!(
                    "{place}.intermediate: stands alone; set {place}.certificate and .key, or .p12, too"
                ));
            }
            None
        }
        (None, None, Some(file)) => {
            Some(CertificateFiles::Pkcs12 { file, password: password.unwrap_or_default(), intermediate })
        }
        (Some(certificate), Some(key), None) => Some(CertificateFiles::Pem { certificate, key, intermediate }),
        (_, _, Some(_)) => {
            faults.push(format!("{place}.p12: stands beside certificate or key; give one or the other"));
            None
        }
        (Some(_), None, None) => {
            faults.push(format!("{place}.key: unset; the certificate's private key is required"));
            None
        }
        (None, Some(_), None) => {
            faults.push(format!("{place}.certificate: unset; the certificate of {place}.key is required"));
            None
        }
    }
}
