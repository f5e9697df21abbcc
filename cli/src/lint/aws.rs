//! The AWS SDKs: hundreds of crates from one generator. What their operations are called is read from the crate itself.

use std::fs;
use std::path::Path;

use super::effects::{Group, Guard};
use super::workspace::Locked;

// Input:  aws-sdk-sqs, whose src/operation/send_message/builders.rs has `pub struct SendMessageFluentBuilder {`
// Output: operation::send_message::builders::SendMessageFluentBuilder::send, …
pub(super) fn operations(package: &Locked) -> Option<Group> {
    if !package.name.starts_with("aws-sdk-") {
        return None;
    }
    let mut paths = Vec::new();
    let src = package.dir.join("src");
    for operation in directories(&src.join("operation")) {
        let Some(module) = operation.file_name().and_then(|name| name.to_str()) else { continue };
        for builder in structs(&operation.join("builders.rs"), "FluentBuilder") {
            paths.push(format!("operation::{module}::builders::{builder}FluentBuilder::send"));
            paths.push(format!("operation::{module}::builders::{builder}InputBuilder::send_with"));
        }
        for paginator in structs(&operation.join("paginator.rs"), "Paginator") {
            paths.push(format!("operation::{module}::paginator::{paginator}Paginator::send"));
        }
        for paginator in structs(&operation.join("paginator.rs"), "PaginatorItems") {
            paths.push(format!("operation::{module}::paginator::{paginator}PaginatorItems::send"));
        }
    }
    if src.join("client/customize.rs").exists() {
        paths.push("client::customize::CustomizableOperation::send".to_owned());
    }
    let (does, guard) = if package.name == "aws-sdk-bedrockruntime" {
        ("calls a model", Guard::Cost)
    } else {
        ("calls AWS", Guard::Either)
    };
    Some(Group { does: does.to_owned(), guard, features: Vec::new(), versions: None, os: None, paths })
}

fn directories(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut dirs: Vec<_> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs
}

/// The names of the public structs that end like this, without that end.
fn structs(file: &Path, end: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let name = |line: &str| {
        let rest = line.strip_prefix("pub struct ")?;
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        Some(name.strip_suffix(end)?.to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_from_the_source() {
        let dir = tempfile::tempdir().unwrap();
        let operation = dir.path().join("src/operation");
        for module in ["send_message", "list_queues"] {
            fs::create_dir_all(operation.join(module)).unwrap();
        }
        fs::write(operation.join("send_message/builders.rs"), "pub struct SendMessageFluentBuilder {\n").unwrap();
        fs::write(
            operation.join("list_queues/paginator.rs"),
            "pub struct ListQueuesPaginator {\n}\npub struct ListQueuesPaginatorItems(ListQueuesPaginator);\n",
        )
        .unwrap();
        let package = |name: &str| Locked {
            name: name.to_owned(),
            version: semver::Version::new(1, 0, 0),
            library: name.replace('-', "_"),
            dir: dir.path().to_owned(),
            source: None,
            features: Vec::new(),
        };
        assert_eq!(
            operations(&package("aws-sdk-sqs")).unwrap().paths(),
            [
                "operation::list_queues::paginator::ListQueuesPaginator::send",
                "operation::list_queues::paginator::ListQueuesPaginatorItems::send",
                "operation::send_message::builders::SendMessageFluentBuilder::send",
                "operation::send_message::builders::SendMessageInputBuilder::send_with",
            ]
        );
        assert!(operations(&package("aws-config")).is_none());
    }
}
