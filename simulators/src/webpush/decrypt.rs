//! The browser's side of RFC 8291: one record of `aes128gcm`, decrypted and checked.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, UnparsedPublicKey, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};

use super::Browser;

/// Salt, record size, length of the key, key.
const HEADER: usize = 16 + 4 + 1 + 65;
const TAG: usize = 16;

/// The plaintext, or what is wrong.
pub(super) fn decrypt(body: &[u8], browser: &Browser) -> Result<Vec<u8>, &'static str> {
    let (Some(header), Some(record)) = (body.get(..HEADER), body.get(HEADER..)) else {
        return Err("the body is shorter than a header of aes128gcm with a key of 65 bytes");
    };
    let (salt, rest) = header.split_at(16);
    let size = usize::try_from(u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]])).unwrap_or(0);
    let key = &rest[5..];
    if rest[4] != 65 || key[0] != 4 {
        return Err("keyid is no uncompressed point of P-256");
    }
    if size < 18 {
        return Err("the record size is below 18");
    }
    if record.len() > size {
        return Err("the body has more than one record");
    }
    if record.len() < TAG + 1 {
        return Err("the record is shorter than its tag and delimiter");
    }
    let failed = |_: Unspecified| "the keys cannot be derived";
    let peer = UnparsedPublicKey::new(&ECDH_P256, key);
    let info: [&[u8]; 3] = [b"WebPush: info\0", &browser.public, key];
    let input: [u8; 32] = agree(&browser.private, peer, "keyid is no point of P-256", |secret| {
        expand(&browser.auth, secret, &info).map_err(failed)
    })?;
    let cek: [u8; 16] = expand(salt, &input, &[b"Content-Encoding: aes128gcm\0"]).map_err(failed)?;
    let nonce: [u8; 12] = expand(salt, &input, &[b"Content-Encoding: nonce\0"]).map_err(failed)?;
    let opening = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &cek).map_err(failed)?);
    let mut record = record.to_vec();
    let plain = opening
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record)
        .map_err(|_| "the record is not for this subscription, or was changed")?;
    let padded = plain.iter().rposition(|byte| *byte != 0).ok_or("the record has no delimiter")?;
    if plain[padded] != 2 {
        return Err("the record's delimiter is not that of the last record");
    }
    Ok(plain[..padded].to_vec())
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut out = [0; N];
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(info, Length(N))?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::agreement::PrivateKey;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn the_example_of_the_rfc_is_read_and_nothing_that_was_changed() {
        let decode = |text: &str| BASE64.decode(text).unwrap();
        let private =
            PrivateKey::from_private_key(&ECDH_P256, &decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")).unwrap();
        let browser = Browser {
            public: private.compute_public_key().unwrap().as_ref().to_vec(),
            private,
            auth: decode("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap(),
            server_key: None,
            gone: false,
        };
        let body = decode(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
        );
        assert_eq!(decrypt(&body, &browser).unwrap(), b"When I grow up, I want to be a watermelon");
        for (at, word) in [(0, "not for this"), (20, "keyid"), (body.len() - 1, "not for this")] {
            let mut changed = body.clone();
            changed[at] ^= 1;
            let why = decrypt(&changed, &browser).unwrap_err();
            assert!(why.contains(word), "{at}: {why}");
        }
        assert!(decrypt(&body[..80], &browser).is_err());
        let mut small = body.clone();
        small[16..20].copy_from_slice(&20_u32.to_be_bytes());
        assert!(decrypt(&small, &browser).unwrap_err().contains("more than one record"));
    }
}
