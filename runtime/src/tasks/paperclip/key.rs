//! The key with which an agent speaks to the task service.

use std::fmt;

use zeroize::Zeroizing;

/// An agent's key, `pcp_…`, or the token that a run finds in `PAPERCLIP_API_KEY`.
///
/// It can't be printed: there is no `Display`, and `Debug` shows nothing of it. Its memory is overwritten when it is dropped (the HTTP
/// client's own copy in a header is marked as sensitive, and lives as long as the client).
///
/// ```
/// # use portcullis::tasks::paperclip::ApiKey;
/// let key = ApiKey::new("pcp_123")?;
/// assert_eq!(format!("{key:?}"), "ApiKey(…)");
/// # Ok::<(), portcullis::tasks::paperclip::InvalidApiKey>(())
/// ```
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

/// Text that can't be a key. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key of the task service: {0}")]
pub struct InvalidApiKey(&'static str);

impl ApiKey {
    /// Takes a key.
    ///
    /// # Errors
    /// It is blank, longer than 8 KiB, or holds anything but visible ASCII (a line break could smuggle in another header). It is
    /// refused, not trimmed.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidApiKey> {
        let key = Zeroizing::new(key.into());
        let why = if key.trim().is_empty() {
            "it is blank"
        } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            "it holds a space, a line break or another character that is not visible ASCII"
        } else if key.len() > 8 * 1024 {
            "it is longer than 8 KiB"
        } else {
            return Ok(ApiKey(key));
        };
        Err(InvalidApiKey(why))
    }

    /// For the request's header, and nothing else.
    pub(super) fn bearer(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("Bearer {}", *self.0))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_key() {
        for key in ["pcp_123", "eyJhbGciOiJIUzI1NiJ9.e30.x-_"] {
            assert!(ApiKey::new(key).is_ok(), "{key}");
        }
        for key in ["", "  ", "pcp_1\r\nx-evil: 1", "pcp_1\n", " pcp_1", "pcp_\u{e4}", "pcp_1 2", "pcp_\0"] {
            let error = ApiKey::new(key).unwrap_err().to_string();
            assert!(key.len() < 5 || !error.contains(key), "{error}");
        }
        assert!(ApiKey::new("x".repeat(9000)).is_err());
    }

    #[test]
    fn a_key_is_not_printed() {
        assert!(!format!("{:?}", ApiKey::new("pcp_secret").unwrap()).contains("secret"));
    }
}
