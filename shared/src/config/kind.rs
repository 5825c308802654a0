//! What a setting may hold, and how its text is read.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The kinds of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
    /// A list of texts that are never shown.
    Secrets,
    /// A file or folder.
    Path,
    /// `IP:PORT`, or `HOST:PORT` where HOST is `localhost`.
    Address,
    /// One or more of [`Kind::Address`]: a list, or separated by commas.
    Addresses,
    /// An `http://` or `https://` (or `mqtt://`, `mqtts://`, `sqlite://`, `postgres://`) address.
    Url,
    /// `true` or `false`.
    Flag,
    /// A whole number in a range, both ends included.
    Count {
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// A time such as `500ms`, `3s`, `10m`, `12h`, `7d`.
    Duration,
    /// A size such as `4096`, `64KiB`, `1MiB`.
    Bytes,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
}

/// A value that was checked against its [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Text`], [`Kind::Secret`], [`Kind::Url`] and [`Kind::Choice`].
    Text(String),
    /// Of [`Kind::Texts`] and [`Kind::Secrets`].
    Texts(Vec<String>),
    /// Of [`Kind::Path`].
    Path(PathBuf),
    /// Of [`Kind::Address`].
    Address(SocketAddr),
    /// Of [`Kind::Addresses`]; at least one.
    Addresses(Vec<SocketAddr>),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Count`], [`Kind::Bytes`] (bytes) and [`Kind::Duration`] (milliseconds).
    Number(u64),
}

/// What stood in the file or the variable, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    One(String),
    Many(Vec<String>),
}

const SCHEMES: [&str; 7] = ["http://", "https://", "mqtt://", "mqtts://", "sqlite://", "postgres://", "postgresql://"];

impl Kind {
    /// Whether the value must never be shown.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets)
    }

    /// What is allowed, for people.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Texts | Self::Secrets => "a list of texts (in a variable: separated by commas)".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Address => "an address such as 127.0.0.1:1883 or [::]:8883".to_owned(),
            Self::Addresses => {
                "one or more addresses such as 127.0.0.1:1883 or [::]:8883 (in a variable: separated by commas)"
                    .to_owned()
            }
            Self::Url => {
                "an address such as https://host:port, mqtt://host, postgres://user@host/name or sqlite://file"
                    .to_owned()
            }
            Self::Flag => "true or false".to_owned(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration => "a time such as 500ms, 3s, 10m, 12h or 7d".to_owned(),
            Self::Bytes => "a size such as 4096, 64KiB or 1MiB".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Reads a raw value; `None` when it is not of this kind.
    pub(super) fn read(self, raw: &Raw) -> Option<Value> {
        match (self, raw) {
            (Self::Texts | Self::Secrets, Raw::Many(items)) => Some(Value::Texts(items.clone())),
            (Self::Texts | Self::Secrets, Raw::One(text)) => Some(Value::Texts(split_list(text))),
            (Self::Addresses, Raw::Many(items)) => addresses(items),
            (Self::Addresses, Raw::One(text)) => addresses(&split_list(text)),
            (_, Raw::Many(_)) => None,
            (_, Raw::One(text)) => self.read_one(text.trim()),
        }
    }

    fn read_one(self, text: &str) -> Option<Value> {
        match self {
            Self::Texts | Self::Secrets | Self::Addresses => None,
            Self::Text | Self::Secret => (!text.is_empty()).then(|| Value::Text(text.to_owned())),
            Self::Path => (!text.is_empty()).then(|| Value::Path(PathBuf::from(text))),
            Self::Address => address(text).map(Value::Address),
            Self::Url => {
                let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme))?;
                (!rest.is_empty()).then(|| Value::Text(text.trim_end_matches('/').to_owned()))
            }
            Self::Flag => text.parse().ok().map(Value::Flag),
            Self::Count { min, max } => {
                let number = text.replace('_', "").parse().ok()?;
                (min..=max).contains(&number).then_some(Value::Number(number))
            }
            Self::Duration => {
                let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
                with_unit(text, &units).map(Value::Number)
            }
            Self::Bytes => {
                let units = [
                    ("", 1),
                    ("B", 1),
                    ("KiB", 1 << 10),
                    ("MiB", 1 << 20),
                    ("GiB", 1 << 30),
                    ("kB", 1_000),
                    ("MB", 1_000_000),
                    ("GB", 1_000_000_000),
                ];
                with_unit(text, &units).map(Value::Number)
            }
            Self::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        }
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    text.replace("localhost:", "127.0.0.1:").parse().ok()
}

/// All of them, or none when one is no address or one is there twice.
fn addresses(texts: &[String]) -> Option<Value> {
    let list: Vec<SocketAddr> = texts.iter().map(|text| address(text.trim())).collect::<Option<_>>()?;
    let distinct: std::collections::HashSet<&SocketAddr> = list.iter().filter(|address| address.port() != 0).collect();
    let fixed = list.iter().filter(|address| address.port() != 0).count();
    (!list.is_empty() && distinct.len() == fixed).then_some(Value::Addresses(list))
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.checked_mul(*factor)
}
