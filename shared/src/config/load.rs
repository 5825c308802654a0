//! Puts the sources of configuration over each other and checks every value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::kind::Raw;
use super::settings::{Entry, Settings, Source, mask_url_password, path_matches, segments};
use super::{Setting, toml_file};

/// One thing that is wrong with the configuration: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// File and line, variable or flag.
    pub place: String,
    /// What was found and what is allowed.
    pub problem: String,
}

impl ConfigFault {
    /// A fault at a place.
    #[must_use]
    pub fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

/// Everything that is wrong with the configuration, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} {}:", if count == 1 { "fault" } else { "faults" })?;
        for fault in &self.0 {
            writeln!(f, "  {}: {}", fault.place, fault.problem)?;
        }
        f.write_str("nothing was started")
    }
}

/// Sections of the services: a file may serve several, so a service passes over those of the others.
const SECTIONS: [&str; 5] = ["broker", "handlers", "push", "wallet", "simulators"];

/// Variables that are understood under their own names.
const PLAIN_VARIABLES: [(&str, &str); 3] = [
    ("SECRET", "auth.secret"),
    ("LOGGLY_TOKEN", "telemetry.loggly.token"),
    ("LOGGLY_SUBDOMAIN", "telemetry.loggly.subdomain"),
];

/// `TIDINGS_…` variables that are no settings.
const OTHER_VARIABLES: [&str; 2] = ["TIDINGS_CONFIG", "TIDINGS_TEST_"];

/// Collects the sources of one start.
#[derive(Debug)]
pub struct Loader {
    settings: Vec<Setting>,
    entries: BTreeMap<String, (Raw, Source)>,
    faults: Vec<ConfigFault>,
}

impl Loader {
    /// A loader for the settings of these tables, with their defaults.
    #[must_use]
    pub fn new(tables: &[&[Setting]]) -> Self {
        let settings: Vec<Setting> = tables.iter().flat_map(|table| table.iter().copied()).collect();
        let mut loader = Self { settings: settings.clone(), entries: BTreeMap::new(), faults: Vec::new() };
        for setting in &settings {
            if let Some(default) = setting.default
                && !setting.path.contains('*')
            {
                let raw = Raw::One(default.to_owned());
                loader.entries.insert(setting.path.to_owned(), (raw, Source::Default));
            }
        }
        loader
    }

    /// Replaces a default before any other source is read (the one-process mode wires its parts this way).
    #[must_use]
    pub fn default_value(mut self, path: &str, value: impl Into<String>) -> Self {
        self.put(path.to_owned(), Raw::One(value.into()), Source::Default);
        self
    }

    /// Reads a TOML file.
    #[must_use]
    pub fn file(mut self, file: &Path) -> Self {
        let (entries, faults) = toml_file::read(file);
        self.faults.extend(faults);
        for entry in entries {
            let source = Source::File { file: file.to_owned(), line: entry.line };
            self.put(entry.path, entry.raw, source);
        }
        self
    }

    /// Reads a `.env` file if there is one.
    #[must_use]
    pub fn env_file(mut self, file: &Path) -> Self {
        if !file.is_file() {
            return self;
        }
        match dotenvy::from_path_iter(file) {
            Ok(lines) => {
                let mut variables = Vec::new();
                for line in lines {
                    match line {
                        Ok(variable) => variables.push(variable),
                        Err(error) => self.faults.push(env_fault(file, &error)),
                    }
                }
                self.variables(variables, Some(file));
            }
            Err(error) => self.faults.push(env_fault(file, &error)),
        }
        self
    }

    /// Reads environment variables: `TIDINGS_BROKER__TLS__CERT`, and `SECRET`, `LOGGLY_TOKEN`, `LOGGLY_SUBDOMAIN`.
    /// A variable that is set but empty counts as unset.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables(variables, None);
        self
    }

    /// Sets a value by a flag of the command line.
    #[must_use]
    pub fn flag(mut self, flag: &str, path: &str, value: impl Into<String>) -> Self {
        self.put(path.to_owned(), Raw::One(value.into()), Source::Flag(flag.to_owned()));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// All faults of all sources at once.
    pub fn load(mut self) -> Result<Settings, ConfigFaults> {
        let mut values = BTreeMap::new();
        for (path, (raw, source)) in std::mem::take(&mut self.entries) {
            let Some(setting) = self.settings.iter().find(|setting| path_matches(setting.path, &path)) else {
                continue;
            };
            match setting.kind.read(&raw) {
                Some(value) => {
                    let entry = Entry { value, source, kind: setting.kind };
                    values.insert(path, entry);
                }
                None => {
                    let found =
                        if setting.kind.is_secret() { "a value that cannot be used".to_owned() } else { show(&raw) };
                    let problem = format!("`{path}` is {found}; allowed is {}", setting.kind.allowed());
                    self.faults.push(ConfigFault::new(source.to_string(), problem));
                }
            }
        }
        if self.faults.is_empty() { Ok(Settings::new(values)) } else { Err(ConfigFaults(self.faults)) }
    }

    fn variables(&mut self, variables: impl IntoIterator<Item = (String, String)>, file: Option<&Path>) {
        let mut variables: Vec<_> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        variables.sort();
        for (name, value) in variables {
            let path = match PLAIN_VARIABLES.iter().find(|(plain, _)| *plain == name) {
                Some((_, path)) => (*path).to_owned(),
                None => match name.strip_prefix("TIDINGS_") {
                    Some(rest) if !OTHER_VARIABLES.iter().any(|other| name.starts_with(other)) => {
                        rest.split("__").fold(String::new(), |path, key| toml_file::join(&path, &key.to_lowercase()))
                    }
                    _ => continue,
                },
            };
            let source = Source::Variable { name, file: file.map(Path::to_owned) };
            self.put(path, Raw::One(value), source);
        }
    }

    fn put(&mut self, path: String, raw: Raw, source: Source) {
        if self.settings.iter().any(|setting| path_matches(setting.path, &path)) {
            self.entries.insert(path, (raw, source));
            return;
        }
        let section = segments(&path).next().unwrap_or_default().to_owned();
        let ours = self.settings.iter().any(|setting| segments(setting.path).next() == Some(&section));
        if !ours && SECTIONS.contains(&section.as_str()) {
            return;
        }
        let problem = format!("there is no setting `{path}`; {}", self.suggest(&path, &section));
        self.faults.push(ConfigFault::new(source.to_string(), problem));
    }

    fn suggest(&self, path: &str, section: &str) -> String {
        let nearest = self
            .settings
            .iter()
            .map(|setting| (strsim::damerau_levenshtein(setting.path, path), setting.path))
            .min()
            .filter(|(distance, _)| *distance <= 1 + path.len() / 4);
        if let Some((_, nearest)) = nearest {
            return format!("did you mean `{nearest}`?");
        }
        let mut known: Vec<&str> = self
            .settings
            .iter()
            .map(|setting| setting.path)
            .filter(|path| segments(path).next() == Some(section))
            .collect();
        if known.is_empty() {
            known = self.settings.iter().filter_map(|setting| segments(setting.path).next()).collect();
            known.dedup();
            return format!("the sections are {}", known.join(", "));
        }
        format!("this section has {}", known.join(", "))
    }
}

fn show(raw: &Raw) -> String {
    match raw {
        Raw::One(text) => format!("`{}`", mask_url_password(text)),
        Raw::Many(items) => format!("the list [{}]", items.join(", ")),
    }
}

/// What is wrong with a `.env` file; the line itself may hold a secret and is not shown.
fn env_fault(file: &Path, error: &dotenvy::Error) -> ConfigFault {
    let place = file.display().to_string();
    let dotenvy::Error::LineParse(line, _) = error else {
        return ConfigFault::new(place, format!("the file cannot be read: {error}"));
    };
    // A quote that is not closed takes the rest of the file with it: its first line is where to look.
    let first = line.trim().lines().next().unwrap_or_default().trim();
    let number = std::fs::read_to_string(file)
        .ok()
        .and_then(|text| text.lines().position(|candidate| candidate.trim() == first));
    let place = number.map_or(place.clone(), |number| format!("{place}:{}", number + 1));
    ConfigFault::new(place, "this line cannot be read; allowed is NAME=VALUE, a value with spaces or signs in 'quotes'")
}

/// The file that a start without `--config` reads: `TIDINGS_CONFIG`, else `tidings.toml` here if there is one.
#[must_use]
pub fn default_config_file(variables: &[(String, String)]) -> Option<PathBuf> {
    let named = variables.iter().find(|(name, value)| name == "TIDINGS_CONFIG" && !value.is_empty());
    named
        .map(|(_, file)| PathBuf::from(file))
        .or_else(|| Some(PathBuf::from("tidings.toml")).filter(|file| file.is_file()))
}
