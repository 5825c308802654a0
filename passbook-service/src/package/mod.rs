//! Building a signed pass: template, rules, manifest, signature, archive. Knows nothing of HTTP or of the database.
//!
//! [`Template`] (a folder) + the fields of one pass → `pass.json` (`render`) → `validate` → `manifest` →
//! `sign` → `archive`. The same input gives the same `pass.json` and the same manifest, so that an update
//! that changes nothing can be recognised.

mod archive;
mod builder;
mod certificate;
pub mod development;
mod example;
mod fault;
mod identities;
mod identity;
mod images;
mod issuer;
mod message;
mod opened;
mod placeholder;
mod prepared;
mod preview;
mod render;
mod sign;
mod signup;
mod starter;
mod strings;
mod template;
mod upload;
mod validate;
mod warnings;

pub use builder::{BuildError, Builder};
pub use certificate::DAY_MS;
pub use fault::{Fault, Faults};
pub use identities::{CertificateSource, Identities};
pub use identity::{CertificateFiles, IdentityError, SigningIdentity};
pub use issuer::{Issuer, Issuers, Kind};
pub use message::{ChangeMessage, change_messages};
pub use opened::Opened;
pub use preview::{Preview, escaped, qr_svg};
pub use render::{PassContent, PassState};
pub use starter::{STARTERS, starter};
pub use template::{Template, TemplateError};
pub use upload::{LARGEST_UNPACKED, unpack};
pub(crate) use validate::with_colon;
pub use validate::{Rules, STYLES};

pub(crate) use example::files as example_files;
pub(crate) use placeholder::valid_name as valid_field_name;

/// SHA-1 as hexadecimal text, the form that Apple's manifest wants.
fn sha1_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
