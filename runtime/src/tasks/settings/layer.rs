//! One source of settings: what it says, and what it leaves open.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serializer};

use super::{BudgetSettings, Settings};
use crate::config::{self, ConfigError};

/// One source. A section that is there and empty says nothing; a value that is there and empty is an error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Layer {
    #[serde(deserialize_with = "section")]
    pub(crate) lifecycle: Option<Lifecycle>,
    #[serde(deserialize_with = "section")]
    pub(crate) budget: Option<Budget>,
    #[serde(deserialize_with = "section")]
    pub(crate) paperclip: Option<Paperclip>,
    #[serde(deserialize_with = "section")]
    pub(crate) memory_hooks: Option<Memory>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lifecycle {
    #[serde(deserialize_with = "whole")]
    pub(crate) max_depth: Option<u64>,
    #[serde(deserialize_with = "whole")]
    pub(crate) max_heap_size: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budget {
    #[serde(deserialize_with = "whole")]
    pub(crate) max_steps: Option<u64>,
    #[serde(deserialize_with = "whole")]
    pub(crate) max_depth: Option<u64>,
    #[serde(rename = "max_duration_seconds", deserialize_with = "time")]
    pub(crate) max_duration: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Paperclip {
    #[serde(deserialize_with = "given")]
    pub(crate) api_url: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    #[serde(deserialize_with = "given")]
    enabled: Option<bool>,
    #[serde(deserialize_with = "given")]
    lesson_on_done: Option<bool>,
    #[serde(deserialize_with = "given")]
    blocked_pathway_on_blocked: Option<bool>,
    /// Here `null` has a meaning: nowhere.
    memory_store_path: Option<PathBuf>,
    #[serde(deserialize_with = "given")]
    default_agent_id: Option<String>,
    #[serde(deserialize_with = "given")]
    memory_tags: Option<Vec<String>>,
}

impl Layer {
    #[cfg(feature = "yaml")]
    pub(crate) fn from_yaml(text: &str) -> Result<Self, String> {
        super::yaml::parse(text)
    }

    #[cfg(not(feature = "yaml"))]
    pub(crate) fn from_yaml(_: &str) -> Result<Self, String> {
        Err("to read it, portcullis needs its feature `yaml`".into())
    }

    pub(super) fn from_file_if_there(path: &Path) -> Result<Option<Self>, ConfigError> {
        match path.try_exists() {
            Ok(false) => Ok(None),
            // That it can't be looked at, reading it will say.
            Ok(true) | Err(_) => config::task_layer(path).map(Some),
        }
    }

    pub(super) fn over_defaults(&self) -> Settings {
        let mut settings = Settings::default();
        self.apply_to(&mut settings);
        settings
    }

    /// What this layer says stands; what it leaves open stays. Lists are replaced, not merged.
    pub(super) fn apply_to(&self, settings: &mut Settings) {
        fn put<T: Clone>(place: &mut T, said: &Option<T>) {
            if let Some(said) = said {
                place.clone_from(said);
            }
        }
        if let Some(Lifecycle { max_depth, max_heap_size }) = &self.lifecycle {
            put(&mut settings.lifecycle.max_depth, max_depth);
            put(&mut settings.lifecycle.max_heap_size, max_heap_size);
        }
        if let Some(Budget { max_steps, max_depth, max_duration }) = &self.budget {
            put(&mut settings.budget.max_steps, max_steps);
            put(&mut settings.budget.max_depth, max_depth);
            put(&mut settings.budget.max_duration, max_duration);
        }
        if let Some(Paperclip { api_url }) = &self.paperclip {
            put(&mut settings.paperclip.api_url, api_url);
        }
        if let Some(memory) = &self.memory_hooks {
            let place = &mut settings.memory_hooks;
            put(&mut place.enabled, &memory.enabled);
            put(&mut place.lesson_on_done, &memory.lesson_on_done);
            put(&mut place.blocked_pathway_on_blocked, &memory.blocked_pathway_on_blocked);
            put(&mut place.memory_store_path, &memory.memory_store_path.clone().map(Some));
            put(&mut place.default_agent_id, &memory.default_agent_id);
            put(&mut place.memory_tags, &memory.memory_tags);
        }
    }

    /// Lowers limits. That is all that a file in the working directory may do.
    pub(super) fn tighten(&self, settings: &mut Settings, file: &str) -> Result<(), ConfigError> {
        self.only_limits(file)?;
        if let Some(Lifecycle { max_depth, max_heap_size: _ }) = &self.lifecycle {
            lower(&mut settings.lifecycle.max_depth, *max_depth);
        }
        self.lower(&mut settings.budget);
        Ok(())
    }

    /// Lowers what a task may use.
    pub(super) fn lower(&self, budget: &mut BudgetSettings) {
        if let Some(Budget { max_steps, max_depth, max_duration }) = &self.budget {
            lower(&mut budget.max_steps, *max_steps);
            lower(&mut budget.max_depth, *max_depth);
            lower(&mut budget.max_duration, *max_duration);
        }
    }

    fn only_limits(&self, file: &str) -> Result<(), ConfigError> {
        let Layer { lifecycle: _, budget: _, paperclip, memory_hooks } = self;
        if paperclip.clone().unwrap_or_default() == Paperclip::default()
            && memory_hooks.clone().unwrap_or_default() == Memory::default()
        {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "{file} in the working directory may only lower the limits of `lifecycle` and `budget`: whoever can write there must not \
             choose where tasks and records go; if you mean it, name the file in PORTCULLIS_CONFIG"
        )))
    }
}

fn lower<T: Ord + Copy>(place: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *place = said.min(*place);
    }
}

/// Names and values, or nothing. (What serde derives would also take a list, in the order of the fields.)
pub(crate) fn section<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Section(PhantomData))
}

struct Section<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Section<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section with names and values")
    }
    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }
}

/// There is a value: `null` is none.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(Number::<u64>(PhantomData)).map(Some)
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    from.deserialize_any(Number::<Duration>(PhantomData)).map(Some)
}

/// As a whole number, where it is one.
pub(super) fn seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    if duration.subsec_nanos() == 0 {
        to.serialize_u64(duration.as_secs())
    } else {
        to.serialize_f64(duration.as_secs_f64())
    }
}

/// A number, and never a text that looks like one.
struct Number<T>(PhantomData<T>);

impl Visitor<'_> for Number<u64> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0")
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}

impl Visitor<'_> for Number<Duration> {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds from 0")
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(number))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        Number::<u64>(PhantomData).visit_i64(number).map(Duration::from_secs)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(number).map_err(|_| E::invalid_value(de::Unexpected::Float(number), &self))
    }
}
