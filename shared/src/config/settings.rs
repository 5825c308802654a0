//! The checked settings of one start, and where each came from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kind::{Kind, Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default.
    Default,
    /// The TOML file.
    File {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable {
        /// Its name.
        name: String,
        /// The `.env` file it stands in, if it does.
        file: Option<PathBuf>,
    },
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable { name, file: None } => write!(f, "variable {name}"),
            Self::Variable { name, file: Some(file) } => write!(f, "{} ({name})", file.display()),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) source: Source,
    pub(super) kind: Kind,
}

/// One line of `config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The dotted path.
    pub path: String,
    /// The value; secrets are masked.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

/// The checked settings of one start. Getters answer for declared settings; asking for an undeclared path, or with
/// the getter of another kind, is a fault of the program that tests find (a debug assertion).
#[derive(Clone, Debug)]
pub struct Settings(BTreeMap<String, Entry>);

impl Settings {
    pub(super) fn new(entries: BTreeMap<String, Entry>) -> Self {
        Self(entries)
    }

    /// A text, choice, secret or URL that has a default.
    #[must_use]
    pub fn text(&self, path: &str) -> String {
        self.required(path, self.optional_text(path))
    }

    /// A text, choice, secret or URL, if it is set.
    #[must_use]
    pub fn optional_text(&self, path: &str) -> Option<String> {
        match self.value(path)? {
            Value::Text(text) => Some(text.clone()),
            _ => self.wrong_kind(path),
        }
    }

    /// A list of texts or secrets.
    #[must_use]
    pub fn texts(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            None => Vec::new(),
            Some(Value::Texts(texts)) => texts.clone(),
            Some(_) => self.wrong_kind(path).unwrap_or_default(),
        }
    }

    /// A path that has a default.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.required(path, self.optional_path(path))
    }

    /// A path, if it is set.
    #[must_use]
    pub fn optional_path(&self, path: &str) -> Option<PathBuf> {
        match self.value(path)? {
            Value::Path(file) => Some(file.clone()),
            _ => self.wrong_kind(path),
        }
    }

    /// A path if it is set, else `name` in the data folder.
    #[must_use]
    pub fn path_or_data(&self, path: &str, name: impl AsRef<Path>) -> PathBuf {
        self.optional_path(path).unwrap_or_else(|| self.path("data").join(name))
    }

    /// A database URL if it is set, else the SQLite file `name` in the data folder.
    #[must_use]
    pub fn database_or_data(&self, path: &str, name: &str) -> String {
        self.optional_text(path).unwrap_or_else(|| format!("sqlite://{}", self.path("data").join(name).display()))
    }

    /// A socket address that has a default; of several the first.
    #[must_use]
    pub fn address(&self, path: &str) -> SocketAddr {
        self.optional_address(path).unwrap_or_else(|| {
            debug_assert!(false, "{path} is not declared with a default");
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// A socket address, if it is set.
    #[must_use]
    pub fn optional_address(&self, path: &str) -> Option<SocketAddr> {
        match self.value(path)? {
            Value::Address(address) => Some(*address),
            Value::Addresses(addresses) => addresses.first().copied(),
            _ => self.wrong_kind(path),
        }
    }

    /// The socket addresses of a list that has a default: at least one.
    #[must_use]
    pub fn addresses(&self, path: &str) -> Vec<SocketAddr> {
        match self.value(path) {
            Some(Value::Addresses(addresses)) => addresses.clone(),
            _ => self.wrong_kind(path).unwrap_or_default(),
        }
    }

    /// A flag.
    #[must_use]
    pub fn flag(&self, path: &str) -> bool {
        match self.value(path) {
            Some(Value::Flag(flag)) => *flag,
            _ => self.wrong_kind(path).unwrap_or_default(),
        }
    }

    /// A count, a size in bytes, or a time in milliseconds.
    #[must_use]
    pub fn count(&self, path: &str) -> u64 {
        self.required(path, self.optional_count(path))
    }

    /// A count, a size in bytes, or a time in milliseconds, if it is set.
    #[must_use]
    pub fn optional_count(&self, path: &str) -> Option<u64> {
        match self.value(path)? {
            Value::Number(number) => Some(*number),
            _ => self.wrong_kind(path),
        }
    }

    /// A size in bytes.
    #[must_use]
    pub fn bytes(&self, path: &str) -> usize {
        usize::try_from(self.count(path)).unwrap_or(usize::MAX)
    }

    /// A time.
    #[must_use]
    pub fn duration(&self, path: &str) -> Duration {
        Duration::from_millis(self.count(path))
    }

    /// A time in milliseconds.
    #[must_use]
    pub fn duration_ms(&self, path: &str) -> i64 {
        i64::try_from(self.count(path)).unwrap_or(i64::MAX)
    }

    /// The names that the operator chose below a path: the `*` of `push.apps.*.apns.topic` for `push.apps`.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let depth = segments(path).count();
        let mut names: Vec<String> = self
            .0
            .keys()
            .filter(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
            .filter_map(|key| segments(key).nth(depth).map(|name| name.trim_matches('"').to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The path of a setting of a named table: `named("push.apps", "a.b", "apns.topic")` is
    /// `push.apps."a.b".apns.topic`.
    #[must_use]
    pub fn named(table: &str, name: &str, setting: &str) -> String {
        format!("{}.{setting}", super::toml_file::join(table, name))
    }

    /// Where a value came from; `None` when it is unset.
    #[must_use]
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.0.get(path).map(|entry| &entry.source)
    }

    /// Every setting with its value (secrets masked) and source.
    #[must_use]
    pub fn show(&self) -> Vec<Shown> {
        self.0
            .iter()
            .map(|(path, entry)| Shown {
                path: path.clone(),
                value: if entry.kind.is_secret() { masked(&entry.value) } else { shown(&entry.value, entry.kind) },
                source: entry.source.to_string(),
            })
            .collect()
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.0.get(path).map(|entry| &entry.value)
    }

    fn required<T: Default>(&self, path: &str, value: Option<T>) -> T {
        debug_assert!(value.is_some(), "{path} is not declared with a default");
        value.unwrap_or_default()
    }

    fn wrong_kind<T>(&self, path: &str) -> Option<T> {
        debug_assert!(false, "{path} is not declared, or is of another kind: {:?}", self.0.get(path));
        None
    }
}

fn masked(value: &Value) -> String {
    match value {
        Value::Texts(items) if items.is_empty() => "(none)".to_owned(),
        Value::Texts(items) => format!("(secret) x{}", items.len()),
        _ => "(secret)".to_owned(),
    }
}

/// As it could stand in the file.
fn shown(value: &Value, kind: Kind) -> String {
    match value {
        Value::Number(number) if kind == Kind::Duration => {
            with_unit(*number, &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)])
        }
        Value::Number(number) if kind == Kind::Bytes => {
            with_unit(*number, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)])
        }
        Value::Text(text) => mask_url_password(text),
        Value::Texts(items) => format!("[{}]", items.join(", ")),
        Value::Path(path) => path.display().to_string(),
        Value::Address(address) => address.to_string(),
        Value::Addresses(addresses) => addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", "),
        Value::Flag(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
    }
}

/// In the largest unit that it is a whole number of.
fn with_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().find(|(_, factor)| number > 0 && number.is_multiple_of(*factor)).or(units.last());
    fitting.map_or_else(|| number.to_string(), |(unit, factor)| format!("{}{unit}", number / factor))
}

/// `postgres://user:password@host?password=…` without its passwords.
pub(super) fn mask_url_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let place = match place.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:(secret)@{host}"),
            None => place.to_owned(),
        },
        None => place.to_owned(),
    };
    let Some(query) = query else { return format!("{scheme}://{place}") };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=(secret)"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{place}?{}", query.join("&"))
}

/// The segments of a dotted path; a segment in double quotes may hold dots.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = match text.strip_prefix('"').and_then(|inner| inner.find('"')) {
            Some(quote) => quote + 2,
            None => text.find('.').unwrap_or(text.len()),
        };
        let (segment, after) = text.split_at(end.min(text.len()));
        rest = after.strip_prefix('.');
        Some(segment)
    })
}

/// Whether a declared path (with `*` for names) is the one of `path`.
pub(super) fn path_matches(declared: &str, path: &str) -> bool {
    let mut left = segments(declared);
    let mut right = segments(path);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == "*" || a == b => {}
            _ => return false,
        }
    }
}
