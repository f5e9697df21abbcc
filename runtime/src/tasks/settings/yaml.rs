//! YAML 1.2, strictly.

use serde_json::Value;
use serde_saphyr::Options;

use super::layer::Layer;
use crate::config::explained;

/// Reads a file's text; an empty one says nothing. `Err` is without the file's own lines, which may hold a secret.
pub(super) fn parse(text: &str) -> Result<Layer, String> {
    let options: Options = serde_saphyr::options! {
        // By YAML 1.2 these are texts, and where a number is wanted a text is an error.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    // First as what it is, so that a quoted number stays a text.
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    let value = match value {
        Value::Null => Value::Object(serde_json::Map::new()),
        Value::Object(sections) => Value::Object(sections),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err("it has no sections, such as `budget:`".into());
        }
    };
    serde_path_to_error::deserialize(value).map_err(|error| explained(&error, &error.inner().to_string()))
}
