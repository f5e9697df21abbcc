//! Where a gate's configuration comes from, and who is trusted with what. Each case is a process of its own.

use std::path::Path;
use std::process::Command;

/// Runs the probe in an empty environment and directory, with what `arrange` adds.
fn probe(arrange: impl FnOnce(&Path, &mut Command)) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_configured"));
    command.env_clear().env("HOME", directory.path()).current_dir(directory.path());
    arrange(directory.path(), &mut command);
    let output = command.output().expect("the probe starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("a directory is made");
    std::fs::write(path, text).expect("a file is written");
}

#[test]
fn nothing_configured_is_refused_and_a_budget_needs_nothing() {
    let (code, said) = probe(|_, _| {});
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("budget: ok"), "{said}");
    assert!(said.contains("boundary: not_configured"), "{said}");
    assert!(said.contains("PORTCULLIS_AUTHORITY=machineid"), "{said}");
}

#[test]
fn the_environment_names_the_embedded_authority() {
    let (_, said) = probe(|_, command| {
        command.env("PORTCULLIS_AUTHORITY", "local").env("PORTCULLIS_LEDGER", "sqlite:here.db");
    });
    assert!(said.contains("boundary: ok") && said.contains("once: ok"), "{said}");
}

#[test]
fn a_users_file_is_trusted_and_the_environment_more() {
    let file = ".config/portcullis/portcullis.toml";
    let (_, said) =
        probe(|directory, _| write(directory, file, "authority = \"local\"\nledger = \"sqlite:user.db\"\n"));
    assert!(said.contains("boundary: ok"), "{said}");

    let (_, said) = probe(|directory, command| {
        write(directory, file, "authority = \"local\"\nledger = \"sqlite:user.db\"\n");
        command.env("PORTCULLIS_AUTHORITY", "nobody");
    });
    assert!(said.contains("boundary: not_configured") && said.contains("\"nobody\" is unknown"), "{said}");
}

#[test]
fn a_file_in_the_working_directory_may_not_choose_the_judge() {
    for text in [
        "authority = \"local\"",
        "ledger = \"sqlite:mine.db\"",
        "namespace = \"mine\"",
        "[device]\nservice = \"mine\"",
        "[machineid]\nbase_url = \"https://mine.example\"",
        "[machineid]\norg_key = \"org_mine\"",
    ] {
        let (_, said) = probe(|directory, command| {
            write(directory, "portcullis.toml", text);
            command.env("PORTCULLIS_AUTHORITY", "local").env("PORTCULLIS_LEDGER", "sqlite:here.db");
        });
        assert!(said.contains("boundary: not_configured") && said.contains("may only tighten"), "{text}: {said}");
        assert!(said.contains("budget: not_configured"), "a gate that can't be built refuses everything: {said}");
    }
}

#[test]
fn a_file_in_the_working_directory_may_tighten_limits_and_not_loosen_them() {
    let steps = |here: &str, environment: &str| {
        let (_, said) = probe(|directory, command| {
            write(directory, "portcullis.toml", &format!("[limits]\nmax_steps = {here}\n"));
            command.env("PORTCULLIS_MAX_STEPS", environment);
        });
        said.lines()
            .find_map(|line| line.strip_prefix("steps in a scope: ").map(str::to_owned))
            .expect("the probe says it")
    };
    assert_eq!(steps("3", "7"), "3");
    assert_eq!(steps("9", "7"), "7");
}

#[test]
fn a_file_that_is_meant_can_be_named() {
    let (_, said) = probe(|directory, command| {
        write(directory, "mine.toml", "authority = \"local\"\nledger = \"sqlite:named.db\"\n");
        command.env("PORTCULLIS_CONFIG", "mine.toml");
    });
    assert!(said.contains("boundary: ok"), "{said}");

    let (_, said) = probe(|_, command| {
        command.env("PORTCULLIS_CONFIG", "missing.toml");
    });
    assert!(said.contains("missing.toml: cannot be read"), "{said}");
}

#[test]
fn what_is_wrong_is_said_without_the_secret() {
    for (name, value, message) in [
        ("PORTCULLIS_DEADLINE", "5s", "at most 3s"),
        ("PORTCULLIS_DEADLINE", "soon", "not a duration"),
        ("PORTCULLIS_LEASE", "100ms", "at least 1s"),
        ("PORTCULLIS_LEASE", "soon", "not a duration"),
        ("PORTCULLIS_MAX_STEPS", "-1", "not a whole number"),
        ("PORTCULLIS_MAX_COST", "five", "not an amount"),
        ("PORTCULLIS_AUTHORITY", "machineid", "MACHINEID_ORG_KEY"),
    ] {
        let (_, said) = probe(|_, command| {
            command.env(name, value);
        });
        assert!(said.contains("not_configured") && said.contains(message), "{name}={value}: {said}");
    }
    let (_, said) = probe(|_, command| {
        command
            .env("PORTCULLIS_AUTHORITY", "machineid")
            .env("MACHINEID_ORG_KEY", "org_s3cret\nx")
            .env("SERVICE_NAME", "s");
    });
    assert!(said.contains("not_configured") && !said.contains("s3cret"), "{said}");

    let (_, said) = probe(|directory, command| {
        write(directory, "mine.toml", "[machineid]\norg_key = \"org_s3cret\" nonsense\n");
        command.env("PORTCULLIS_CONFIG", "mine.toml");
    });
    assert!(said.contains("mine.toml") && !said.contains("s3cret"), "{said}");

    let (_, said) = probe(|directory, command| {
        write(directory, "mine.toml", "leger = \"sqlite:x.db\"\n");
        command.env("PORTCULLIS_CONFIG", "mine.toml");
    });
    assert!(said.contains("leger"), "{said}");
}

#[test]
fn a_device_has_no_defaults_where_strangers_could_become_one() {
    let (_, said) = probe(|_, command| {
        command
            .env("PORTCULLIS_AUTHORITY", "machineid")
            .env("MACHINEID_ORG_KEY", "org_0123456789")
            .env("SERVICE_NAME", "pay")
            .env("ENVIRONMENT", "prod")
            .env("SERVICE_ROLE", "worker");
    });
    assert!(said.contains("INSTANCE_ID is missing"), "{said}");
}

/// What the probe says of tasks: its settings as JSON, or why there are none.
fn tasks(arrange: impl FnOnce(&Path, &mut Command)) -> String {
    let (_, said) = probe(arrange);
    let line = said.lines().find_map(|line| line.strip_prefix("tasks: ")).unwrap_or_else(|| panic!("{said}"));
    line.to_owned()
}

fn limit(said: &str, section: &str, name: &str) -> serde_json::Value {
    let settings: serde_json::Value = serde_json::from_str(said).unwrap_or_else(|_| panic!("{said}"));
    settings[section][name].clone()
}

#[test]
fn settings_of_tasks_are_taken_in_the_order_of_trust() {
    let said = tasks(|directory, command| {
        write(directory, ".exec-kernel.yml", "");
        write(directory, "named.yml", "budget: {max_steps: 30, max_depth: 7}\n");
        write(directory, ".config/portcullis/portcullis.toml", "[budget]\nmax_depth = 6\nmax_duration_seconds = 60\n");
        command.env("PORTCULLIS_CONFIG", "named.yml").env("PORTCULLIS_TASK_MAX_STEPS", "20");
        command.env("PAPERCLIP_API_URL", "http://tasks.test");
    });
    assert_eq!(limit(&said, "budget", "max_steps"), 20, "the environment");
    assert_eq!(limit(&said, "budget", "max_depth"), 7, "the named file");
    assert_eq!(limit(&said, "budget", "max_duration_seconds"), 60, "the user's file");
    assert_eq!(limit(&said, "lifecycle", "max_depth"), 10, "the default");
    assert_eq!(limit(&said, "paperclip", "api_url"), "http://tasks.test");
}

#[test]
fn files_in_the_working_directory_may_lower_the_limits_of_tasks_and_nothing_else() {
    for (file, text) in [
        (".exec-kernel.yml", "budget: {max_steps: 5, max_depth: 900}\nlifecycle: {max_depth: 3}\n"),
        ("portcullis.toml", "[budget]\nmax_steps = 5\nmax_depth = 900\n[lifecycle]\nmax_depth = 3\n"),
    ] {
        let said = tasks(|directory, _| write(directory, file, text));
        let limits = ["max_steps", "max_depth"].map(|name| limit(&said, "budget", name));
        assert_eq!((limits, limit(&said, "lifecycle", "max_depth")), ([5.into(), 10.into()], 3.into()), "{file}");
    }
    for (file, text) in [
        (".exec-kernel.yml", "paperclip: {api_url: 'http://mine.test'}\n"),
        (".exec-kernel.yml", "memory_hooks: {enabled: false}\n"),
        ("portcullis.toml", "[memory_hooks]\nmemory_store_path = \"/tmp/mine\"\n"),
    ] {
        let said = tasks(|directory, _| write(directory, file, text));
        assert!(said.contains("may only lower the limits"), "{file}: {said}");
    }
}

#[test]
fn a_slip_of_the_pen_in_any_file_is_told_with_what_was_meant() {
    for (file, text, expected) in [
        (
            ".exec-kernel.yml",
            "budget: {max_step: 5}\n",
            ".exec-kernel.yml: budget: unknown key `max_step`; did you mean `max_steps`?",
        ),
        (
            ".exec-kernel.yml",
            "buget: {max_steps: 5}\n",
            ".exec-kernel.yml: unknown key `buget`; did you mean `budget`?",
        ),
        (
            "portcullis.toml",
            "[limits]\nmax_dept = 5\n",
            "portcullis.toml: limits: unknown key `max_dept`; did you mean `max_depth`?",
        ),
        (
            "portcullis.toml",
            "[budget]\nmax_steps = \"5\"\n",
            "budget.max_steps: invalid type: string \"5\", expected a whole number from 0",
        ),
        (
            "portcullis.toml",
            "budget = [5, 5]\n",
            "budget: invalid type: sequence, expected a section with names and values",
        ),
        (
            "portcullis.toml",
            "[machineid]\norg_kye = \"org_secret\"\n",
            "machineid: unknown key `org_kye`; did you mean `org_key`?",
        ),
    ] {
        let said = tasks(|directory, _| write(directory, file, text));
        assert!(said.contains(expected) && !said.contains("org_secret"), "{said}");
    }
    let said = tasks(|_, command| {
        command.env("PORTCULLIS_CONFIG", "missing.yml");
    });
    assert!(said.contains("missing.yml: cannot be read"), "{said}");
}
