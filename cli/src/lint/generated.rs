//! The SDKs of AWS and of Google Cloud: hundreds of crates from two generators. What their operations are called is read from
//! the crate itself.

use std::fs;
use std::path::{Path, PathBuf};

use super::effects::{Group, Guard};
use super::workspace::Locked;

pub(super) fn operations(package: &Locked) -> Option<Group> {
    let src = package.dir.join("src");
    let (does, guard, paths) = match package.name.as_str() {
        "aws-sdk-bedrockruntime" => ("calls a model", Guard::Cost, aws(&src)),
        name if name.starts_with("aws-sdk-") => ("calls AWS", Guard::Either, aws(&src)),
        name if name.starts_with("google-cloud-") => ("calls Google Cloud", Guard::Either, google(&src)),
        _ => return None,
    };
    // Helpers of theirs go by such a name too.
    let group = Group { does: does.to_owned(), guard, features: Vec::new(), versions: None, os: None, paths };
    (!group.paths.is_empty()).then_some(group)
}

// Input:  src/operation/send_message/builders.rs has `pub struct SendMessageFluentBuilder {`
// Output: operation::send_message::builders::SendMessageFluentBuilder::send, …
fn aws(src: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for operation in directories(&src.join("operation")) {
        let module = name(&operation);
        for builder in structs(&operation.join("builders.rs"), "FluentBuilder") {
            paths.push(format!("operation::{module}::builders::{builder}FluentBuilder::send"));
            paths.push(format!("operation::{module}::builders::{builder}InputBuilder::send_with"));
        }
        for end in ["Paginator", "PaginatorItems"] {
            let paginators = structs(&operation.join("paginator.rs"), end);
            paths.extend(paginators.iter().map(|name| format!("operation::{module}::paginator::{name}{end}::send")));
        }
    }
    if src.join("client/customize.rs").exists() {
        paths.push("client::customize::CustomizableOperation::send".to_owned());
    }
    paths
}

// Input:  src/builder.rs has `pub mod operations {`, in it `impl GetOperation {`, and in that `pub async fn send(`
// Output: builder::operations::GetOperation::send, …
fn google(src: &Path) -> Vec<String> {
    let mut files = vec![("builder".to_owned(), src.join("builder.rs"))];
    for part in directories(&src.join("generated")) {
        files.push((format!("generated::{}::builder", name(&part)), part.join("builder.rs")));
    }
    let mut paths = Vec::new();
    for (prefix, file) in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        let (mut module, mut builder) = ("", "");
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("pub mod ") {
                module = name.trim_end_matches(" {");
            } else if let Some(name) = line.strip_prefix("    impl ") {
                builder = name.strip_suffix(" {").filter(|name| name.chars().all(char::is_alphanumeric)).unwrap_or("");
            } else if let Some(function) = line.strip_prefix("        pub ").filter(|_| !builder.is_empty()) {
                let function = function.trim_start_matches("async ").trim_start_matches("fn ");
                let function = function.split('(').next().unwrap_or_default();
                if ["send", "poller", "by_page", "by_item"].contains(&function) {
                    paths.push(format!("{prefix}::{module}::{builder}::{function}"));
                }
            }
        }
    }
    paths
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut dirs: Vec<_> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().display().to_string()
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

    fn operations_of(name: &str, files: &[(&str, &str)]) -> Option<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = dir.path().join("src").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let package = Locked {
            name: name.to_owned(),
            version: semver::Version::new(1, 0, 0),
            library: name.replace('-', "_"),
            dir: dir.path().to_owned(),
            source: None,
            features: Vec::new(),
        };
        operations(&package).map(|group| group.paths())
    }

    #[test]
    fn the_operations_of_aws_are_read_from_the_source() {
        let files = [
            ("operation/send_message/builders.rs", "pub struct SendMessageFluentBuilder {\n"),
            (
                "operation/list_queues/paginator.rs",
                "pub struct ListQueuesPaginator {\n}\npub struct ListQueuesPaginatorItems(ListQueuesPaginator);\n",
            ),
            ("client/customize.rs", ""),
        ];
        assert_eq!(
            operations_of("aws-sdk-sqs", &files).unwrap(),
            [
                "operation::list_queues::paginator::ListQueuesPaginator::send",
                "operation::list_queues::paginator::ListQueuesPaginatorItems::send",
                "operation::send_message::builders::SendMessageFluentBuilder::send",
                "operation::send_message::builders::SendMessageInputBuilder::send_with",
                "client::customize::CustomizableOperation::send",
            ]
        );
        assert_eq!(operations_of("aws-config", &files), None);
    }

    #[test]
    fn the_operations_of_google_are_read_from_the_source() {
        let text = "pub mod topics {\n    pub struct Publish(A);\n    impl Publish {\n        pub async fn send(self) {}\n        \
                    pub fn by_page(self) {}\n        pub fn set_topic(self) {}\n    }\n    impl crate::B for Publish {\n        \
                    pub async fn send(self) {}\n    }\n}\n";
        assert_eq!(
            operations_of("google-cloud-pubsub", &[("builder.rs", text), ("generated/gapic/builder.rs", text)])
                .unwrap(),
            [
                "builder::topics::Publish::send",
                "builder::topics::Publish::by_page",
                "generated::gapic::builder::topics::Publish::send",
                "generated::gapic::builder::topics::Publish::by_page",
            ]
        );
        assert_eq!(operations_of("google-cloud-auth", &[]), None, "a helper without operations");
    }
}
