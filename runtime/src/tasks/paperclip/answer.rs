//! The strict reading of the service's answers.
//!
//! # Invariants
//! 1. An answer is one JSON object with nothing after it; a key that matters stands in it once; a state is one of ours.
//! 2. What is shown of an answer to people has no control characters and is cut.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::{NotMine, Said};
use crate::tasks::admission::shown;
use crate::tasks::lifecycle::TaskState;

/// How much of what the service says is shown.
const MAX_SHOWN: usize = 600;

/// An issue, as far as this side needs it. As JSON it has the service's own names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Issue {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Its short name, such as `ACME-7`, under which it can be found too.
    #[serde(default)]
    pub identifier: Option<String>,
    /// Its title.
    pub title: String,
    /// Where it stands.
    #[serde(rename = "status")]
    pub state: TaskState,
    /// The agent to which it is assigned.
    #[serde(default, rename = "assigneeAgentId")]
    pub assignee: Option<String>,
    /// The run that has it checked out.
    #[serde(default, rename = "checkoutRunId")]
    pub run: Option<String>,
}

/// What became of a wish to create an issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Created {
    /// The issue.
    #[serde(flatten)]
    pub issue: Issue,
    /// `false`: there was one already, with the same key or, where the service looks for that, the same title.
    pub new: bool,
}

/// A comment that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Comment {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The issue's id.
    #[serde(deserialize_with = "id")]
    pub issue_id: String,
}

/// A decision that a person was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Approval {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// `pending` at first.
    pub status: String,
}

/// An agent of the company.
#[derive(Debug, Deserialize)]
pub(super) struct Colleague {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    pub(super) role: String,
    pub(super) status: String,
}

/// An id is text that can be seen.
fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let id = String::deserialize(from)?;
    crate::tasks::check_name(&id).map_err(D::Error::custom)?;
    Ok(id)
}

/// Reads an answer that is one object.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, &'static str> {
    read::<Object<T>>(body).map(|Object(value)| value)
}

/// Reads an answer that is a list of objects.
pub(super) fn objects<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, &'static str> {
    read::<Vec<Object<T>>>(body).map(|list| list.into_iter().map(|Object(value)| value).collect())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, &'static str> {
    // The whole of it, because a parser that skips a field need not look at its bytes.
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8")?;
    // The parser's own message may quote the body.
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => "the answer is cut off",
        serde_json::error::Category::Data => "the answer is JSON, and not what such a call is answered with",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "the answer is not JSON",
    })
}

/// Names and values. (What serde derives would also take a list, in the order of the fields.)
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        from.deserialize_map(Fields(PhantomData))
    }
}

/// What comes with a status that is no success: nothing of it is needed, so nothing of it is insisted on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Error {
    error: Value,
    code: Value,
    details: Value,
}

/// What the service says with `status`.
pub(super) fn said(status: u16, body: Option<&[u8]>) -> Said {
    words(status, &error(body))
}

/// What it says with 409.
pub(super) fn not_mine(body: Option<&[u8]>) -> NotMine {
    let error = error(body);
    let text = |name: &str| error.details[name].as_str().map(cut);
    NotMine {
        said: words(409, &error),
        state: error.details["status"].as_str().and_then(|state| state.parse().ok()),
        agent: text("assigneeAgentId"),
        run: text("checkoutRunId"),
    }
}

fn error(body: Option<&[u8]>) -> Error {
    body.and_then(|body| object(body).ok()).unwrap_or_default()
}

fn words(status: u16, error: &Error) -> Said {
    let Error { error, code, details } = error;
    let code = code.as_str().or_else(|| details["code"].as_str()).map(cut);
    let mut message = error.as_str().unwrap_or_default().to_owned();
    // What is wrong with which field.
    for flaw in details.as_array().into_iter().flatten() {
        if let (Some(path), Some(why)) = (flaw["path"].as_array(), flaw["message"].as_str()) {
            let path: Vec<_> =
                path.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
            message.push_str(&format!("; {}: {why}", path.join(".")));
        }
    }
    Said { status, code, message: cut(&message) }
}

/// Invariant 2.
fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    shown(&cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUE: &str =
        r#"{"id":"i","identifier":"A-1","title":"t","status":"todo","assigneeAgentId":null,"x":[1,{"y":2}]}"#;

    #[test]
    fn an_issue_is_read_whatever_else_the_service_says() {
        let issue: Issue = object(ISSUE.as_bytes()).unwrap();
        assert_eq!((issue.id.as_str(), issue.state, issue.assignee), ("i", TaskState::Todo, None));
    }

    #[test]
    fn what_is_not_an_issue_is_not_read_as_one() {
        for body in [
            "",
            "null",
            "[]",
            r#"["i","A-1","t","todo",null,null]"#,
            r#"{"id":"i","title":"t"}"#,
            r#"{"id":"i","title":"t","status":"finished"}"#,
            r#"{"id":"i","title":"t","status":"TODO"}"#,
            r#"{"id":7,"title":"t","status":"todo"}"#,
            r#"{"id":"","title":"t","status":"todo"}"#,
            r#"{"id":"i\n","title":"t","status":"todo"}"#,
            r#"{"id":"i","title":"t","status":"todo","status":"done"}"#,
            r#"{"id":"i","title":"t","status":"todo","checkoutRunId":7}"#,
            r#"{"id":"i","title":"t","status":"todo"}x"#,
            r#"{"id":"i","title":"t","status":"todo""#,
        ] {
            assert!(object::<Issue>(body.as_bytes()).is_err(), "{body}");
        }
        assert!(object::<Issue>(b"{\"id\":\"i\",\"title\":\"t\",\"status\":\"todo\",\"x\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_is_not_needed_may_be_of_any_depth() {
        let (open, shut) = ("[".repeat(100_000), "]".repeat(100_000));
        let deep = format!(r#"{{"id":"i","title":"t","status":"todo","x":{open}{shut}}}"#);
        assert!(object::<Issue>(deep.as_bytes()).is_ok());
        // What is said with an error is kept, and so has its limit.
        let deep = format!(r#"{{"error":"why","details":{open}{shut}}}"#);
        assert_eq!(said(500, Some(deep.as_bytes())).to_string(), "500");
    }

    #[test]
    fn what_the_service_says_cannot_write_another_line() {
        let said = said(422, Some(br#"{"error":"a\nOK: b\u001b[2J","code":"c\nd"}"#));
        assert!(!said.to_string().contains(['\n', '\u{1b}']), "{said}");
        let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(100_000));
        assert!(super::said(400, Some(long.as_bytes())).message.len() < 1000);
        for nothing in [None, Some(&b"<html>"[..]), Some(b"[]"), Some(b"{\"error\":{\"a\":1}}")] {
            assert_eq!(super::said(500, nothing).to_string(), "500");
        }
    }

    #[test]
    fn a_flaw_is_told_with_its_field() {
        let body = br#"{"error":"Validation error","details":[{"path":["assigneeAgentId"],"message":"Invalid GUID"}]}"#;
        assert_eq!(said(400, Some(body)).to_string(), "400: Validation error; assigneeAgentId: Invalid GUID");
    }
}
