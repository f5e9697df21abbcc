//! The identity that asks.

use std::fmt;

/// The identity that asks: `service:env:role:instance`.
///
/// Each part is 1 to 64 characters of `A-Z a-z 0-9 . _ -`; the whole is at most 200 bytes. What does not fit is refused,
/// never repaired: two strangers must not become one device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device(String);

/// A device id that is not `service:env:role:instance`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a device id: {0}")]
pub struct InvalidDevice(String);

const PARTS: [&str; 4] = ["service", "env", "role", "instance"];

impl Device {
    /// Puts an id together from its parts.
    ///
    /// # Errors
    /// A part is empty, longer than 64 bytes or holds another character; the whole is longer than 200 bytes.
    pub fn new(service: &str, env: &str, role: &str, instance: &str) -> Result<Self, InvalidDevice> {
        for (name, part) in PARTS.iter().zip([service, env, role, instance]) {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            if part.is_empty() || part.len() > 64 || !part.bytes().all(plain) {
                return Err(InvalidDevice(format!(
                    "the {name} part {part:?} must be 1 to 64 characters of A-Z a-z 0-9 . _ -"
                )));
            }
        }
        let id = format!("{service}:{env}:{role}:{instance}");
        if id.len() > 200 {
            return Err(InvalidDevice(format!("{} bytes long, at most 200 are allowed", id.len())));
        }
        Ok(Device(id))
    }

    /// Reads `service:env:role:instance`.
    ///
    /// # Errors
    /// There are not exactly four parts, or one of them is refused by [`Device::new`].
    pub fn parse(id: &str) -> Result<Self, InvalidDevice> {
        match *id.split(':').collect::<Vec<_>>() {
            [service, env, role, instance] => Device::new(service, env, role, instance),
            _ => Err(InvalidDevice(format!("{id:?} is not of the form service:env:role:instance"))),
        }
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_four_plain_parts() {
        assert_eq!(Device::parse("pay:prod:worker:i-1").unwrap().as_str(), "pay:prod:worker:i-1");
        for id in [
            "",
            "pay",
            "pay:prod:worker",
            "pay:prod:worker:1:2",
            "pay::worker:1",
            " pay:prod:worker:1",
            "p\u{e4}y:prod:w:1",
            "a:b:c:d\n",
        ] {
            assert!(Device::parse(id).is_err(), "{id:?}");
        }
        let long = "x".repeat(64);
        assert!(Device::new(&long, &long, &long, "1").is_ok());
        assert!(Device::new(&long, &long, &long, &long).is_err());
    }
}
