//! The strict reading of an authority's answer.
//!
//! # Invariants
//! 1. An allow comes only from `"allowed": true`, the JSON boolean, once, in the top-level object of a complete
//!    document with nothing after it.
//! 2. A key that matters and stands twice is a fault, also if both values agree: two parsers may differ on which one
//!    counts.
//! 3. A no wins: `"allowed": false` is a denial whatever else the answer says.
//! 4. An allow that contradicts itself (another code, another device) is a fault.
//! 5. No part of the body gets into a message, except a code that looks like one.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{DecisionId, Denial, Device, Fault, FaultKind, Grant, Registration, Verdict};

/// How deep an answer may be nested, its own object included.
const MAX_DEPTH: u8 = 16;

/// Reads the answer to a question.
pub(super) fn verdict(body: &[u8], device: &Device) -> Verdict {
    let answer = match Answer::read(body) {
        Ok(answer) => answer,
        Err(fault) => return Verdict::Fault(fault),
    };
    match answer.allowed {
        Value::True => answer.grant(device).map_or_else(Verdict::Fault, Verdict::Allow),
        Value::False => Verdict::Deny(answer.denial()),
        Value::Absent => Verdict::Fault(malformed("the answer does not say `allowed`")),
        Value::Null | Value::Text(_) | Value::Other => {
            Verdict::Fault(malformed("`allowed` in the answer is not a JSON boolean"))
        }
    }
}

/// Reads the answer to a registration that came with status 200.
pub(super) fn registration(body: &[u8], device: &Device) -> Registration {
    let answer = match Answer::read(body) {
        Ok(answer) => answer,
        Err(fault) => return Registration::Fault(fault),
    };
    match (&answer.status, &answer.allowed) {
        (_, Value::False) => Registration::Refused(answer.denial()),
        (Value::Text(status), Value::Absent | Value::True) => match status.as_str() {
            "ok" | "exists" | "restored" => match answer.about(device) {
                Ok(_) => Registration::Accepted,
                Err(fault) => Registration::Fault(fault),
            },
            // `limit_reached`, `blocked`, and whatever is invented next: not one of the three that mean yes.
            _ => Registration::Refused(answer.denial()),
        },
        (Value::Text(_), _) => Registration::Fault(malformed("`allowed` in the answer is not a JSON boolean")),
        _ => Registration::Fault(malformed("the answer to the registration has no `status`")),
    }
}

/// Reads the body that came with a status that refuses a registration (403). `None`: it names no reason.
pub(super) fn registration_refused(body: &[u8]) -> Option<Denial> {
    let answer = Answer::read(body).ok()?;
    let says = |value: &Value| matches!(value, Value::Text(text) if looks_like_a_code(text));
    (says(&answer.error) || says(&answer.code) || says(&answer.status)).then(|| answer.denial())
}

fn malformed(detail: &str) -> Fault {
    Fault::new(FaultKind::Malformed, detail)
}

/// A code is shown to people, so it must not smuggle in anything else.
fn looks_like_a_code(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// What the keys that matter hold.
#[derive(Debug, Default)]
struct Answer {
    allowed: Value,
    code: Value,
    device: Value,
    request: Value,
    status: Value,
    error: Value,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Absent,
    True,
    False,
    Null,
    Text(String),
    /// A number, an array or an object.
    Other,
}

impl Answer {
    fn read(body: &[u8]) -> Result<Self, Fault> {
        // The whole of it, because a parser that skips a field need not look at its bytes.
        let text = std::str::from_utf8(body).map_err(|_| malformed("the answer is not UTF-8"))?;
        let mut json = serde_json::Deserializer::from_str(text);
        // The parser's own message may quote the body.
        let answer = json.deserialize_map(Whole).map_err(|error| {
            malformed(match error.classify() {
                serde_json::error::Category::Eof => "the answer is cut off",
                serde_json::error::Category::Data => "the answer is not one JSON object with unambiguous fields",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => "the answer is not JSON",
            })
        })?;
        json.end().map_err(|_| malformed("something follows the answer's JSON object"))?;
        Ok(answer)
    }

    fn slot(&mut self, key: &str) -> Option<&mut Value> {
        match key {
            "allowed" => Some(&mut self.allowed),
            "code" => Some(&mut self.code),
            "deviceId" => Some(&mut self.device),
            "request_id" => Some(&mut self.request),
            "status" => Some(&mut self.status),
            "error" => Some(&mut self.error),
            _ => None,
        }
    }

    /// Invariant 4.
    fn grant(&self, device: &Device) -> Result<Grant, Fault> {
        match &self.code {
            Value::Absent => {}
            Value::Text(code) if code == "ALLOW" => {}
            _ => return Err(malformed("the answer allows and gives a code that is not ALLOW")),
        }
        let spoken_of = self.about(device)?;
        let decision = match &self.request {
            Value::Absent | Value::Null => None,
            Value::Text(id) if id.is_empty() => None,
            Value::Text(id) => match DecisionId::new(id) {
                Some(id) => Some(id),
                None => return Err(malformed("`request_id` in the answer is too long or not printable")),
            },
            _ => return Err(malformed("`request_id` in the answer is not a string")),
        };
        let grant = Grant::parsed(decision);
        Ok(match spoken_of {
            Some(id) => grant.for_device(id),
            None => grant,
        })
    }

    /// The device that the answer speaks of; a fault if it is not ours.
    fn about(&self, device: &Device) -> Result<Option<&str>, Fault> {
        match &self.device {
            Value::Absent => Ok(None),
            Value::Text(id) if id == device.as_str() => Ok(Some(id)),
            _ => Err(malformed("the answer speaks of another device")),
        }
    }

    /// Invariant 3: built from whatever of it is readable.
    fn denial(&self) -> Denial {
        let code = [&self.code, &self.error, &self.status].into_iter().find_map(|value| match value {
            Value::Text(code) if looks_like_a_code(code) && code != "ALLOW" && code != "ok" => Some(code.as_str()),
            _ => None,
        });
        let decision = match &self.request {
            Value::Text(id) => DecisionId::new(id),
            _ => None,
        };
        Denial::new(code.unwrap_or("DENIED")).with_decision(decision)
    }
}

/// The top-level object. Only `visit_map` exists, so nothing else can be an answer.
struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Answer, M::Error> {
        let mut answer = Answer::default();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Inside { depth: 1 })?;
            if let Some(slot) = answer.slot(&key) {
                // Invariant 2.
                if *slot != Value::Absent {
                    return Err(M::Error::custom("a key stands twice"));
                }
                *slot = value;
            }
        }
        Ok(answer)
    }
}

/// Any value inside of something that is `depth` deep.
#[derive(Clone, Copy)]
struct Inside {
    depth: u8,
}

impl Inside {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH { Err(E::custom("nested too deep")) } else { Ok(Inside { depth }) }
    }
}

impl<'de> DeserializeSeed<'de> for Inside {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(if value { Value::True } else { Value::False })
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Value, S::Error> {
        let inside = self.deeper()?;
        while seq.next_element_seed(inside)?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        let inside = self.deeper()?;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(inside)?;
        }
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device::parse("pay:prod:worker:1").unwrap()
    }

    /// `allow`, `deny CODE`, `malformed`.
    fn read(body: impl AsRef<[u8]>) -> String {
        match verdict(body.as_ref(), &device()) {
            Verdict::Allow(_) => "allow".into(),
            Verdict::Deny(denial) => format!("deny {}", denial.code()),
            Verdict::Fault(fault) => {
                assert_eq!(fault.kind(), FaultKind::Malformed);
                "malformed".into()
            }
        }
    }

    #[test]
    fn what_allows() {
        for body in [
            r#"{"allowed":true}"#,
            r#"{"allowed":true,"code":"ALLOW","request_id":"7b0e"}"#,
            r#"{"allowed":true,"request_id":null}"#,
            r#"{"allowed":true,"request_id":""}"#,
            r#"{"allowed":true,"deviceId":"pay:prod:worker:1"}"#,
            r#"{"allowed":true,"handler":"devices/validate","reason":null,"more":{"allowed":false,"x":[1,2.5,-3]}}"#,
            r#"{"\u0061llowed":true}"#,
            " \n{ \"allowed\" : true }\r\n\t ",
            r#"{"x":[[[[[[[[[[[[[[[]]]]]]]]]]]]]]],"allowed":true}"#,
        ] {
            assert_eq!(read(body), "allow", "{body}");
        }
    }

    #[test]
    fn what_denies() {
        for (body, code) in [
            (r#"{"allowed":false}"#, "DENIED"),
            (r#"{"allowed":false,"code":"DEVICE_REVOKED"}"#, "DEVICE_REVOKED"),
            (r#"{"allowed":false,"code":"ALLOW"}"#, "DENIED"),
            (r#"{"allowed":false,"code":7,"deviceId":"someone:else:a:b","request_id":[1]}"#, "DENIED"),
            ("{\"allowed\":false,\"code\":\"forged\\nline\"}", "DENIED"),
        ] {
            assert_eq!(read(body), format!("deny {code}"), "{body}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        for body in [
            // `allowed` is something else than a boolean, elsewhere, or not there.
            r#"{"allowed":"true"}"#,
            r#"{"allowed":"false"}"#,
            r#"{"allowed":1}"#,
            r#"{"allowed":null}"#,
            r#"{"allowed":[true]}"#,
            r#"{"allowed":{"allowed":true}}"#,
            r#"{"Allowed":true}"#,
            r#"{"ALLOWED":true}"#,
            r#"{"allowed ":true}"#,
            r#"{"data":{"allowed":true}}"#,
            r#"{"valid":true,"revoked":false}"#,
            r#"{}"#,
            // Twice, either way, also if equal, also if spelled otherwise.
            r#"{"allowed":true,"allowed":true}"#,
            r#"{"allowed":true,"allowed":false}"#,
            r#"{"allowed":false,"allowed":true}"#,
            r#"{"allowed":false,"\u0061llowed":true}"#,
            r#"{"allowed":true,"code":"ALLOW","code":"ALLOW"}"#,
            r#"{"allowed":true,"deviceId":"pay:prod:worker:1","deviceId":"pay:prod:worker:1"}"#,
            r#"{"allowed":true,"request_id":"a","request_id":"a"}"#,
            // Not an object.
            "true",
            "[true]",
            r#"[{"allowed":true}]"#,
            r#""allowed""#,
            "1",
            "null",
            "",
            " ",
            // Contradictions.
            r#"{"allowed":true,"code":"DEVICE_REVOKED"}"#,
            r#"{"allowed":true,"code":"allow"}"#,
            r#"{"allowed":true,"code":null}"#,
            r#"{"allowed":true,"code":""}"#,
            r#"{"allowed":true,"deviceId":"pay:prod:worker:2"}"#,
            r#"{"allowed":true,"deviceId":null}"#,
            r#"{"allowed":true,"request_id":7}"#,
            "{\"allowed\":true,\"request_id\":\"a\\u0000b\"}",
            // Not one whole JSON document.
            r#"{"allowed":true"#,
            r#"{"allowed":tru"#,
            r#"{"allowed":true}}"#,
            r#"{"allowed":true}{"allowed":true}"#,
            r#"{"allowed":true} x"#,
            r#"{"allowed":true,}"#,
            r#"{'allowed':true}"#,
            r#"{"allowed":true,"x":NaN}"#,
            r#"{"allowed":true,"x":Infinity}"#,
            r#"{"allowed":true/**/}"#,
            "\u{feff}{\"allowed\":true}",
            "<html>{\"allowed\":true}</html>",
            r#"{"x":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]],"allowed":true}"#,
        ] {
            assert_eq!(read(body), "malformed", "{body}");
        }
        for body in [
            &b"{\"allowed\":true,\"x\":\"\xff\"}"[..],
            b"{\"allowed\":true,\"\xc3\x28\":1}",
            b"\xff\xfe{\0\"\0a\0",
            b"{\"allowed\":true}\0",
        ] {
            assert_eq!(read(body), "malformed", "{body:?}");
        }
        assert_eq!(read("[".repeat(200_000)), "malformed");
        assert_eq!(read(format!("{{\"x\":{}", "[".repeat(200_000))), "malformed");
    }

    #[test]
    fn a_grant_carries_the_decision_and_the_device() {
        let body = br#"{"allowed":true,"request_id":"7b0e","deviceId":"pay:prod:worker:1"}"#;
        let Verdict::Allow(grant) = verdict(body, &device()) else { panic!("not allowed") };
        assert_eq!(grant.decision().map(DecisionId::as_str), Some("7b0e"));
        assert_eq!(grant.device(), Some("pay:prod:worker:1"));
    }

    #[test]
    fn no_message_quotes_the_body() {
        for body in [r#"{"allowed":"org_secret"}"#, "org_secret", r#"{"org_secret":1,"org_secret"}"#] {
            let Verdict::Fault(fault) = verdict(body.as_bytes(), &device()) else { panic!("{body}") };
            assert!(!fault.detail().contains("org_secret"), "{}", fault.detail());
        }
    }

    #[test]
    fn registrations() {
        let read = |body: &str| match registration(body.as_bytes(), &device()) {
            Registration::Accepted => "accepted".to_owned(),
            Registration::Refused(denial) => format!("refused {}", denial.code()),
            Registration::Fault(_) => "fault".to_owned(),
        };
        for (body, expected) in [
            (r#"{"status":"ok"}"#, "accepted"),
            (r#"{"status":"exists","deviceId":"pay:prod:worker:1","limit":3,"accessUntil":null}"#, "accepted"),
            (r#"{"status":"restored","handler":"devices/register"}"#, "accepted"),
            (r#"{"status":"limit_reached","limit":3}"#, "refused limit_reached"),
            (r#"{"status":"blocked","error":"device_limit_reached"}"#, "refused device_limit_reached"),
            (r#"{"status":"OK"}"#, "refused OK"),
            (r#"{"status":"ok","allowed":false,"code":"PLAN_FROZEN"}"#, "refused PLAN_FROZEN"),
            (r#"{"status":"ok","deviceId":"pay:prod:worker:2"}"#, "fault"),
            (r#"{"status":"ok","allowed":"yes"}"#, "fault"),
            (r#"{"status":"ok","status":"ok"}"#, "fault"),
            (r#"{"status":true}"#, "fault"),
            (r#"{"error":"internal"}"#, "fault"),
            (r#"{}"#, "fault"),
            ("ok", "fault"),
        ] {
            assert_eq!(read(body), expected, "{body}");
        }
        let denial = registration_refused(br#"{"status":"blocked","error":"device_limit_reached"}"#).unwrap();
        assert_eq!(denial.code(), "device_limit_reached");
        assert!(registration_refused(b"<html>").is_none());
    }
}
