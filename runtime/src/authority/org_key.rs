//! The key that stands for an organisation.

use std::fmt;

use zeroize::Zeroizing;

/// The organisation's key, `org_…`.
///
/// It can't be printed: there is no `Display`, and `Debug` shows nothing of it. Its memory is overwritten when it is
/// dropped (the HTTP client's own copy in a header is marked as sensitive, and lives as long as the client).
///
/// ```
/// # use portcullis::authority::OrgKey;
/// let key = OrgKey::new("org_123")?;
/// assert_eq!(format!("{key:?}"), "OrgKey(…)");
/// # Ok::<(), portcullis::authority::InvalidOrgKey>(())
/// ```
#[derive(Clone)]
pub struct OrgKey(Zeroizing<String>);

/// Text that can't be an organisation's key. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an organisation's key: {0}")]
pub struct InvalidOrgKey(&'static str);

impl OrgKey {
    /// Takes a key.
    ///
    /// # Errors
    /// It is blank, does not start with `org_`, is longer than 256 bytes, or holds anything but visible ASCII
    /// (a line break could smuggle in another header). It is refused, not trimmed.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidOrgKey> {
        let key = Zeroizing::new(key.into());
        let why = if key.trim().is_empty() {
            "it is blank"
        } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            "it holds a space, a line break or another character that is not visible ASCII"
        } else if key.strip_prefix("org_").is_none_or(str::is_empty) {
            "it does not start with `org_`, or nothing follows"
        } else if key.len() > 256 {
            "it is longer than 256 bytes"
        } else {
            return Ok(OrgKey(key));
        };
        Err(InvalidOrgKey(why))
    }

    /// For the request's header, and nothing else.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the HTTP providers send it"))]
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OrgKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OrgKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_key() {
        assert!(OrgKey::new("org_123").is_ok());
        for key in
            ["", "  ", "org_", "key_123", "org_1\r\nx-evil: 1", "org_1\n", " org_1", "org_\u{e4}", "org_1 2", "org_\0"]
        {
            let error = OrgKey::new(key).unwrap_err().to_string();
            assert!(key.len() < 5 || !error.contains(key), "{error}");
        }
        assert!(OrgKey::new(format!("org_{}", "x".repeat(300))).is_err());
    }

    #[test]
    fn a_key_is_not_printed() {
        assert!(!format!("{:?}", OrgKey::new("org_secret").unwrap()).contains("secret"));
    }
}
