//! The settings of one start: the services' defaults, shifted ports, what development adds, then what the operator says.

use tidings_shared::config::{ConfigFault, ConfigFaults, Kind, Loader, Settings, default_config_file};
use tidings_shared::service::environment;

use crate::cli::{Common, UpArgs};
use crate::services::TABLES;

/// Defaults that replace those of the tables; anything the operator sets wins over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults(pub(crate) Vec<(String, String)>);

impl Defaults {
    /// Adds one.
    pub(crate) fn set(&mut self, path: impl Into<String>, value: impl std::fmt::Display) {
        self.0.push((path.into(), value.to_string()));
    }
}

/// Reads every source.
///
/// # Errors
/// All faults at once.
pub(crate) fn load(common: &Common, up: &UpArgs, defaults: &Defaults) -> Result<Settings, ConfigFaults> {
    let mut loader = Loader::new(&TABLES);
    let mut faults = Vec::new();
    for setting in TABLES.iter().flat_map(|table| table.iter()) {
        let Some(default) = setting.default else { continue };
        if let Some(shifted) = shifted(setting.kind, default, up.port_offset) {
            match shifted {
                Some(shifted) => loader = loader.default_value(setting.path, shifted),
                None => faults.push(ConfigFault::new(
                    "flag --port-offset",
                    format!("{} plus {} is above the last port, 65535", default, up.port_offset),
                )),
            }
        }
    }
    for (path, value) in &defaults.0 {
        loader = loader.default_value(path, value);
    }
    let variables = environment();
    if let Some(file) = common.config.clone().or_else(|| default_config_file(&variables)) {
        loader = loader.file(&file);
    }
    loader = loader.env_file(".env".as_ref()).environment(variables);
    for pair in &common.set {
        match pair.split_once('=') {
            Some((key, value)) => loader = loader.flag("--set", key, value),
            None => faults.push(ConfigFault::new("flag --set", format!("found `{pair}`; allowed is KEY=VALUE"))),
        }
    }
    if let Some(folder) = &up.data {
        loader = loader.flag("--data", "data", folder.display().to_string());
    }
    match loader.load() {
        Ok(settings) if faults.is_empty() => Ok(settings),
        Ok(_) => Err(ConfigFaults(faults)),
        Err(ConfigFaults(more)) => Err(ConfigFaults(faults.into_iter().chain(more).collect())),
    }
}

/// A default address or local URL with the offset added; `None` when the default has no port of ours, `Some(None)` when
/// there is no such port.
fn shifted(kind: Kind, default: &str, offset: u16) -> Option<Option<String>> {
    let ours = match kind {
        Kind::Address | Kind::Addresses => true,
        Kind::Url => default.contains("://127.0.0.1:"),
        _ => false,
    };
    if !ours || offset == 0 {
        return None;
    }
    let (head, port) = default.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    Some(port.checked_add(offset).map(|port| format!("{head}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_shifted_in_addresses_and_in_local_urls_alone() {
        let shift = |kind, default| shifted(kind, default, 1000);
        assert_eq!(shift(Kind::Address, "127.0.0.1:1883"), Some(Some("127.0.0.1:2883".into())));
        assert_eq!(shift(Kind::Url, "mqtt://127.0.0.1:1883"), Some(Some("mqtt://127.0.0.1:2883".into())));
        assert_eq!(shift(Kind::Url, "https://logs-01.loggly.com"), None);
        assert_eq!(shifted(Kind::Address, "127.0.0.1:8883", 60_000), Some(None));
    }
}
