use std::path::PathBuf;

use super::*;

/// An authority in `ca.pem` of the simulation's data folder, and a client certificate of it for a topic.
fn client_certificate(simulation: &Simulation, topic: &str) -> PathBuf {
    let folder = simulation.folder.path();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.distinguished_name.push(rcgen::DnType::CommonName, "Passes");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    std::fs::write(folder.join("passes.pem"), ca_certificate.pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::default();
    let user_id = rcgen::DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
    leaf.distinguished_name.push(user_id, topic);
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
    let file = folder.join("client.pem");
    std::fs::write(&file, format!("{}{}", leaf.pem(), key.serialize_pem())).unwrap();
    file
}

fn client(simulation: &Simulation, topic: &'static str, identity: &std::path::Path) -> Apns {
    let tls = tls::client_config(Some(&simulation.ca()), Some((identity, identity)), &[]).unwrap();
    let endpoint = Endpoint::parse(&simulation.simulators.credentials().apns_url).unwrap();
    let transport = Transport::new(endpoint, tls, limits());
    let topic = HeaderValue::from_static(topic);
    Apns::new(topic, Authentication::Certificate, Some(transport), None, WakeStyle::Silent)
}

#[tokio::test]
async fn a_pass_push_is_authenticated_by_its_certificate() {
    let simulation = Simulation::with(&[("simulators.apns.client_roots", "DATA/passes.pem")]).await;
    let identity = client_certificate(&simulation, "pass.org.example");
    let wallet = client(&simulation, "pass.org.example", &identity);
    let answer = wallet.send(&Message { push: Arc::new(Push::Pass {}), collapse_id: None, ..message() }).await;
    assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
    let pushes = simulation.simulators.inbox().list(None, 0, 10);
    assert_eq!((pushes[0].topic.as_str(), &pushes[0].payload), ("pass.org.example", &serde_json::json!({})));
    assert_eq!(pushes[0].sender, "certificate pass.org.example");
}

#[tokio::test]
async fn a_certificate_that_is_refused_pauses_the_app() {
    let simulation = Simulation::with(&[("simulators.apns.client_roots", "DATA/other.pem")]).await;
    let identity = client_certificate(&simulation, "pass.org.example");
    let wallet = client(&simulation, "pass.org.example", &identity);
    let answer = wallet.send(&Message { push: Arc::new(Push::Pass {}), ..message() }).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Pause, Some("BadCertificate")));
}
