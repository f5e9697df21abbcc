use portcullis::tasks::settings::Settings;
use serde_json::{Value, json};

use super::{run, same};

/// Each text is a file of its own, which is named.
fn load(yaml: &Value) -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("settings.yml");
    if let Some(text) = yaml.as_str() {
        std::fs::write(&path, text).expect("it is written");
    }
    match Settings::from_file(&path) {
        Ok(settings) => json!({ "merged": settings }),
        Err(_) => json!({ "error": "invalid_config" }),
    }
}

#[test]
fn every_vector_of_the_configuration_passes() {
    run("config.json", 44, |given, expected| {
        if let Some(loads) = given.get("loads") {
            let results: Vec<Value> = loads.as_array().expect("a list").iter().map(load).collect();
            return same("results", &json!(results), &expected["results"]);
        }
        let got = load(&given["yaml"]);
        match expected.get("any_of") {
            Some(any) if any.as_array().expect("a list").contains(&got) => Ok(()),
            Some(any) => Err(format!("{got} is none of {any}")),
            None => same("the result", &got, expected),
        }
    });
}
