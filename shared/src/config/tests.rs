//! Promises of the configuration: precedence, every fault at once, nothing secret shown.

use std::io::Write;

use super::*;

const TABLE: &[Setting] = &[
    Setting::new("broker.mqtt.listen", Kind::Address, "127.0.0.1:1883", "Where."),
    Setting::new("broker.wake.grace", Kind::Duration, "3s", "How long."),
    Setting::new("broker.limits.packet", Kind::Bytes, "1MiB", "How big."),
    Setting::new("broker.limits.inflight", Kind::Count { min: 1, max: 100 }, "10", "How many."),
    Setting::optional("broker.secret", Kind::Secret, "Hush."),
    Setting::new("broker.mode", Kind::Choice(&["fast", "safe"]), "safe", "Which."),
    Setting::optional("push.apps.*.apns.topic", Kind::Text, "Topic."),
    Setting::optional("broker.database", Kind::Url, "Where to."),
];

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn later_sources_win_and_each_value_knows_its_source() {
    let toml = file("[broker.wake]\ngrace = \"5s\"\n[broker.limits]\ninflight = 20\npacket = 4096\n");
    let env = file("TIDINGS_BROKER__LIMITS__INFLIGHT=30\nTIDINGS_BROKER__MODE=fast\n");
    let settings = Loader::new(&[TABLE])
        .file(toml.path())
        .env_file(env.path())
        .environment(variables(&[("TIDINGS_BROKER__LIMITS__INFLIGHT", "40"), ("PATH", "/bin")]))
        .flag("--grace", "broker.wake.grace", "7s")
        .load()
        .unwrap();
    assert_eq!(settings.duration_ms("broker.wake.grace"), 7_000);
    assert_eq!(settings.count("broker.limits.inflight"), 40);
    assert_eq!(settings.bytes("broker.limits.packet"), 4096);
    assert_eq!(settings.text("broker.mode"), "fast");
    assert_eq!(settings.address("broker.mqtt.listen").port(), 1883);
    let sources: Vec<String> = settings.show().into_iter().map(|shown| shown.source).collect();
    assert!(sources.iter().any(|source| source.ends_with(":5")), "{sources:?}");
    assert!(sources.contains(&"variable TIDINGS_BROKER__LIMITS__INFLIGHT".to_owned()));
    assert!(sources.contains(&"flag --grace".to_owned()));
}

#[test]
fn all_faults_are_told_at_once_with_place_finding_and_remedy() {
    let toml = file("[broker]\nmodee = \"fast\"\nmode = \"slow\"\n[broker.limits]\ninflight = 1000\n[brokr]\nx = 1\n");
    let faults = Loader::new(&[TABLE])
        .file(toml.path())
        .environment(variables(&[("TIDINGS_BROKER__MQTT__LISTEN", "here")]))
        .load()
        .unwrap_err()
        .to_string();
    for part in [
        ":2: there is no setting `broker.modee`; did you mean `broker.mode`?",
        ":3: `broker.mode` is `slow`; allowed is one of fast, safe",
        ":5: `broker.limits.inflight` is `1000`; allowed is a whole number from 1 to 100",
        ":7: there is no setting `brokr.x`",
        "variable TIDINGS_BROKER__MQTT__LISTEN: `broker.mqtt.listen` is `here`; allowed is an address",
        "5 faults",
    ] {
        assert!(faults.contains(part), "{part} is not in:\n{faults}");
    }
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let toml = file("a = 1\n[broker\n");
    let faults = Loader::new(&[TABLE]).file(toml.path()).load().unwrap_err().to_string();
    assert!(faults.contains(":2: this is not TOML"), "{faults}");
}

#[test]
fn secrets_are_never_shown_not_even_in_faults() {
    let settings = Loader::new(&[TABLE])
        .flag("--secret", "broker.secret", "hunter2")
        .flag("--database", "broker.database", "postgres://tidings:hunter2@db/tidings")
        .load()
        .unwrap();
    assert_eq!(settings.optional_text("broker.secret").as_deref(), Some("hunter2"));
    assert!(!format!("{:?}", settings.show()).contains("hunter2"));
    let settings =
        Loader::new(&[TABLE]).flag("--database", "broker.database", "postgres://db/x?user=u&password=hunter2");
    let shown = format!("{:?}", settings.load().unwrap().show());
    assert!(shown.contains("postgres://db/x?user=u&password=(secret)"), "{shown}");
    let env = file("TIDINGS_BROKER__MODE=fast\nSECRET=hun'ter2\nX=1\n");
    let faults = Loader::new(&[TABLE])
        .flag("--database", "broker.database", "postgress://tidings:hunter2@db/tidings")
        .env_file(env.path())
        .load()
        .unwrap_err()
        .to_string();
    assert!(faults.contains("2 faults") && faults.contains("postgress://tidings:(secret)@db/tidings"), "{faults}");
    assert!(faults.contains(":2: this line cannot be read") && !faults.contains("ter2"), "{faults}");
}

#[test]
fn times_and_sizes_are_shown_as_they_are_written() {
    let settings = Loader::new(&[TABLE]).flag("--set", "broker.limits.packet", "1500").load().unwrap();
    let shown: Vec<String> =
        settings.show().into_iter().map(|shown| format!("{}={}", shown.path, shown.value)).collect();
    assert!(shown.contains(&"broker.wake.grace=3s".to_owned()), "{shown:?}");
    assert!(shown.contains(&"broker.limits.packet=1500".to_owned()), "{shown:?}");
    let settings = Loader::new(&[TABLE]).flag("--set", "broker.wake.grace", "0s").load().unwrap();
    assert!(settings.show().iter().any(|shown| shown.value == "0ms"));
    assert!(settings.show().iter().any(|shown| shown.value == "1MiB"));
}

#[test]
fn named_tables_may_have_dots_in_their_names() {
    let toml = file("[push.apps.default.apns]\ntopic = \"a\"\n[push.apps.\"pass.dev.x\".apns]\ntopic = \"b\"\n");
    let settings = Loader::new(&[TABLE]).file(toml.path()).load().unwrap();
    assert_eq!(settings.names("push.apps"), ["default", "pass.dev.x"]);
    let path = Settings::named("push.apps", "pass.dev.x", "apns.topic");
    assert_eq!(settings.optional_text(&path).as_deref(), Some("b"));
}

#[test]
fn a_file_may_hold_the_sections_of_other_services() {
    let toml = file("[wallet]\nanything = 1\n");
    assert!(Loader::new(&[TABLE]).file(toml.path()).load().is_ok());
}

#[test]
fn secret_and_loggly_are_understood_as_they_are() {
    let variables = variables(&[("SECRET", "s"), ("LOGGLY_TOKEN", "t"), ("LOGGLY_SUBDOMAIN", "")]);
    let settings = Loader::new(&[SETTINGS]).environment(variables).load().unwrap();
    assert_eq!(settings.optional_text("auth.secret").as_deref(), Some("s"));
    assert_eq!(settings.optional_text("telemetry.loggly.token").as_deref(), Some("t"));
    assert_eq!(settings.optional_text("telemetry.loggly.subdomain"), None);
}

#[test]
fn the_default_file_is_toml_and_says_every_setting() {
    const SCATTERED: &[Setting] = &[
        Setting::new("broker.http.listen", Kind::Address, "127.0.0.1:8080", "Where."),
        Setting::new("broker.wake.grace", Kind::Duration, "3s", "How long."),
        Setting::new("broker.http.wait", Kind::Duration, "25s", "How long."),
    ];
    let text = default_file(&[SETTINGS, SCATTERED]);
    let uncommented: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .filter(|line| line.starts_with('[') || line.split(" = ").next().is_some_and(|key| !key.contains(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    toml::from_str::<toml::Table>(&uncommented).unwrap();
    for setting in SETTINGS {
        assert!(reference_page(&[SETTINGS]).contains(setting.path));
    }
}

#[test]
fn an_address_may_be_a_list_of_addresses() {
    const TABLE: &[Setting] = &[Setting::new("broker.mqtt.listen", Kind::Addresses, "127.0.0.1:1883", "Where.")];
    let read = |text: &str| Loader::new(&[TABLE]).flag("--set", "broker.mqtt.listen", text).load();
    let settings = read("localhost:1, 0.0.0.0:2,[::]:3").unwrap();
    let addresses: Vec<String> = settings.addresses("broker.mqtt.listen").iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:1", "0.0.0.0:2", "[::]:3"]);
    assert_eq!(settings.address("broker.mqtt.listen").port(), 1, "who wants one gets the first");
    assert_eq!(settings.show()[0].value, "127.0.0.1:1, 0.0.0.0:2, [::]:3");
    for wrong in [",", "127.0.0.1:1,here", "127.0.0.1:1,127.0.0.1:1", "127.0.0.1"] {
        assert!(read(wrong).unwrap_err().to_string().contains("one or more addresses"), "{wrong}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    std::fs::write(&file, "[broker.mqtt]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]\n").unwrap();
    let settings = Loader::new(&[TABLE]).file(&file).load().unwrap();
    assert_eq!(settings.addresses("broker.mqtt.listen").len(), 2);
}
