//! Certificates as Apple issues them, and signatures by `openssl`, for a pass web service that signs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};
use tempfile::TempDir;

const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];

/// A root and an intermediate that issue Pass Type ID certificates.
pub(crate) struct Authority {
    folder: TempDir,
    root: String,
}

/// Certificate and key of one pass type.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    certificate: PathBuf,
    key: PathBuf,
    intermediate: PathBuf,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    /// An authority with a signer for each (name of its files, pass type, team).
    pub(crate) fn new(signers: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let root_params = authority("Root");
        let root = root_params.self_signed(&root_key).unwrap().pem();
        let root_issuer = Issuer::from_params(&root_params, root_key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = authority("Intermediate");
        let intermediate = params.signed_by(&key, &root_issuer).unwrap().pem();
        std::fs::write(folder.path().join("intermediate.pem"), intermediate).unwrap();
        let issuer = Issuer::from_params(&params, key);
        for (name, pass_type, team) in signers {
            let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
            let mut params = named(&format!("Pass Type ID: {pass_type}"));
            params.distinguished_name.push(DnType::CustomDnType(UID.to_vec()), *pass_type);
            params.distinguished_name.push(DnType::OrganizationalUnitName, *team);
            let certificate = params.signed_by(&key, &issuer).unwrap().pem();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { folder, root }
    }

    /// The root, PEM.
    pub(crate) fn root(&self) -> &[u8] {
        self.root.as_bytes()
    }

    pub(crate) fn signer(&self, name: &str) -> Signer {
        let file = |name: String| Path::new(self.folder.path()).join(name);
        Signer {
            certificate: file(format!("{name}.pem")),
            key: file(format!("{name}.key")),
            intermediate: file("intermediate.pem".to_owned()),
        }
    }
}

impl Signer {
    /// A detached signature over `content`, DER.
    pub(crate) fn sign(&self, content: &[u8]) -> Vec<u8> {
        let mut child = Command::new("openssl")
            .args(["cms", "-sign", "-binary", "-outform", "DER", "-md", "sha256", "-signer"])
            .arg(&self.certificate)
            .arg("-inkey")
            .arg(&self.key)
            .arg("-certfile")
            .arg(&self.intermediate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
