//! `/api/certificates`: what signs which type, and until when.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use crate::package::{DAY_MS, Kind};
use crate::web::Door;

/// Answer of `GET /api/certificates`.
#[derive(Serialize, ToSchema)]
pub(super) struct Certificates {
    /// As configured, the first type first.
    types: Vec<SignedType>,
}

/// A type that is signed here.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedType {
    /// `pass.…` or `order.…`.
    type_identifier: String,
    team_identifier: String,
    /// `pass` or `order`.
    kind: &'static str,
    /// Until when it can be signed with what is there, ms since 1970; null: not even now.
    signs_until: Option<i64>,
    certificates: Vec<Certificate>,
}

/// A certificate.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    /// Its common name.
    name: String,
    /// The issuer's common name.
    issuer: String,
    /// Hexadecimal SHA-256.
    fingerprint: String,
    /// From when it and its intermediate are valid, ms since 1970.
    from: i64,
    /// Until when, ms since 1970.
    until: i64,
    /// Whole days until then; negative: since then.
    days: i64,
    /// `signing`, `waiting` (it signs when the present one has ended, or when it begins), `ended`.
    state: &'static str,
    /// It ends within 30 days.
    ends_soon: bool,
}

/// The signing certificates of each type.
#[utoipa::path(get, path = "/api/certificates", tag = "certificates", security(("service_key" = [])),
    responses((status = 200, body = Certificates)))]
pub(super) async fn certificates(State(door): State<Door>) -> Result<Json<Certificates>, ApiError> {
    let service = door.service()?;
    let now_ms = service.clock.now_ms();
    let types = service.passes.issuers().iter().map(|builder| {
        let (issuer, identities) = (builder.issuer(), builder.identities());
        let signing = identities.signing(now_ms).map(|identity| identity.fingerprint());
        let all = identities.all();
        let certificates = all.iter().map(|identity| {
            let (fingerprint, (from, until)) = (identity.fingerprint(), identity.valid_ms());
            let state = match &signing {
                Some(present) if *present == fingerprint => "signing",
                _ if until < now_ms => "ended",
                _ => "waiting",
            };
            Certificate {
                name: identity.name(),
                issuer: identity.issuer_name(),
                from,
                until,
                days: (until - now_ms).div_euclid(DAY_MS),
                state,
                ends_soon: identity.expires_soon(now_ms).is_some(),
                fingerprint,
            }
        });
        SignedType {
            type_identifier: issuer.pass_type.clone(),
            team_identifier: issuer.team.clone(),
            kind: match issuer.kind {
                Kind::Pass => "pass",
                Kind::Order => "order",
            },
            signs_until: identities.signs_until(now_ms),
            certificates: certificates.collect(),
        }
    });
    Ok(Json(Certificates { types: types.collect() }))
}
