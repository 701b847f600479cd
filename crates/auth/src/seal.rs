//! [`Seals`]: the keys by which nodes mark their messages (HMAC-SHA256). A mark covers the place of a message and its body, byte by
//! byte, so nothing has to be written in one form only.
//!
//! Not here: the property that carries a mark (crate transport).

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beds_core::gate::Place;
use beds_core::secret_keys::{FEWEST_BYTES, read_keys};

/// The form of the mark: another one would have another number. It also stands in front of everything that is covered: a mark is of no
/// use for another purpose of the same key.
const FORM: &str = "beds-seal-1";
const MARK_BYTES: usize = 32;
/// The bytes of a mark as text.
const MARK_TEXT: usize = 43;

/// The keys of a node. The first marks; all are believed, so that one can be changed after the other on each node.
#[derive(Default)]
pub(crate) struct Seals(Vec<(String, Key)>);

impl Seals {
    /// Reads keys, each 43 characters of base64url or more, or answers the positions of those that are none.
    pub(crate) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Self, Vec<usize>> {
        let keys = read_keys(texts)?.into_iter();
        Ok(Self(keys.map(|(name, key)| (name, Key::new(HMAC_SHA256, &key))).collect()))
    }

    pub(crate) fn seal(&self, place: &Place<'_>, body: &[u8]) -> Option<String> {
        let (name, key) = self.0.first()?;
        let mark = covered(key, place, body).sign();
        // One buffer: each request makes two of these.
        let mut seal = String::with_capacity(FORM.len() + name.len() + MARK_TEXT + 2);
        for part in [FORM, ".", name, "."] {
            seal.push_str(part);
        }
        URL_SAFE_NO_PAD.encode_string(mark.as_ref(), &mut seal);
        Some(seal)
    }

    pub(crate) fn is_sealed(&self, place: &Place<'_>, body: &[u8], seal: &str) -> bool {
        let mut parts = seal.split('.');
        let (Some(FORM), Some(name), Some(mark), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let key = self.0.iter().find(|(known, _)| known == name).map(|(_, key)| key);
        let mut told = [0; MARK_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(mark, &mut told);
        let (Some(key), Ok(MARK_BYTES)) = (key, length) else { return false };
        let made = covered(key, place, body).sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(made.as_ref(), &told).is_ok()
    }
}

/// A new key as text, for a file: of seals, or of the hashes in the trail.
///
/// # Errors
/// Where the operating system gives no random bytes.
pub fn new_secret_key() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut key = [0; FEWEST_BYTES];
    aws_lc_rs::rand::fill(&mut key)?;
    Ok(URL_SAFE_NO_PAD.encode(key))
}

fn covered(key: &Key, place: &Place<'_>, body: &[u8]) -> Context {
    // None of these can hold a zero byte that RabbitMQ would carry, and each stands behind its length all the same.
    let Place { exchange, routing_key, reply_to, correlation_id, actor } = *place;
    let parts = [exchange, routing_key, reply_to, correlation_id, actor];
    let size = FORM.len() + parts.iter().map(|part| size_of::<u64>() + part.len()).sum::<usize>();
    // Put together first: a hash that is fed in eleven pieces takes longer.
    let mut place = Vec::with_capacity(size);
    place.extend_from_slice(FORM.as_bytes());
    for part in parts {
        place.extend_from_slice(&(part.len() as u64).to_le_bytes());
        place.extend_from_slice(part.as_bytes());
    }
    let mut covered = Context::with_key(key);
    covered.update(&place);
    covered.update(body);
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_message_at_one_place_under_a_known_key() {
        let (first, second) = (new_secret_key().unwrap(), new_secret_key().unwrap());
        let keys = |of: &[&str]| Seals::of(of.iter().copied()).unwrap();
        let place = Place {
            exchange: "beds.events",
            routing_key: "rel.write.main",
            reply_to: "r",
            correlation_id: "c",
            actor: "",
        };
        let seal = keys(&[&first]).seal(&place, b"body").unwrap();
        assert!(keys(&[&second, &first]).is_sealed(&place, b"body", &seal));
        assert!(!keys(&[&second]).is_sealed(&place, b"body", &seal));
        assert!(
            !keys(&[]).is_sealed(&place, b"body", &seal) && keys(&[]).seal(&place, b"").is_none()
        );
        let known = keys(&[&first]);
        for other in [
            Place { routing_key: "rel.write", ..place },
            Place { exchange: "beds.dead", ..place },
            Place { reply_to: "x", ..place },
            Place { correlation_id: "", ..place },
            Place { actor: "{}", ..place },
            // The same bytes, cut at other places.
            Place { reply_to: "rc", correlation_id: "", ..place },
        ] {
            assert!(!known.is_sealed(&other, b"body", &seal), "{other:?}");
        }
        assert!(!known.is_sealed(&place, b"bodz", &seal));
        for bad in [
            "",
            FORM,
            "beds-seal-1..",
            "beds-seal-2.00000000.x",
            &seal[..seal.len() - 1],
            &format!("{seal}."),
            &format!("{seal}A"),
        ] {
            assert!(!known.is_sealed(&place, b"body", bad), "{bad}");
        }
        assert_eq!(Seals::of(["short", &first].into_iter()).err(), Some(vec![0]));
    }
}
