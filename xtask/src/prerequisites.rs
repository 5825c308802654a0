//! What the tests need from the machine: found, installed on a Debian as root, or named exactly.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{postgres, python, shell, workspace};

/// One thing that the tests use, and how each system calls it.
struct Need {
    what: &'static str,
    why: &'static str,
    present: fn() -> bool,
    debian: &'static str,
    homebrew: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        what: "PostgreSQL's server (initdb, postgres)",
        why: "every storage test runs on SQLite and on PostgreSQL",
        present: || postgres::programs().is_some(),
        debian: "postgresql",
        homebrew: "postgresql@15",
    },
    Need {
        what: "mosquitto_pub and mosquitto_sub",
        why: "MQTT clients that nobody here wrote speak to the broker",
        present: || workspace::on_path("mosquitto_pub").is_some() && workspace::on_path("mosquitto_sub").is_some(),
        debian: "mosquitto-clients",
        homebrew: "mosquitto",
    },
    Need {
        what: "mosquitto (the broker) and mosquitto_passwd",
        why: "the handlers' framework and the simulated phone are tested against a broker that nobody here wrote",
        present: || {
            let server = |folder: &str| Path::new(folder).join("mosquitto").exists();
            let found = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"].into_iter().any(server);
            found && workspace::on_path("mosquitto_passwd").is_some()
        },
        debian: "mosquitto",
        homebrew: "mosquitto",
    },
    Need {
        what: "stdbuf",
        why: "mosquitto_sub's lines are read as they come",
        present: || workspace::on_path("stdbuf").is_some(),
        debian: "coreutils",
        homebrew: "coreutils",
    },
    Need {
        what: "openssl",
        why: "it verifies the signatures of Wallet passes",
        present: || workspace::on_path("openssl").is_some(),
        debian: "openssl",
        homebrew: "openssl",
    },
    Need {
        what: "curl",
        why: "it speaks to the HTTP doors",
        present: || workspace::on_path("curl").is_some(),
        debian: "curl",
        homebrew: "curl",
    },
    Need {
        what: "unzip",
        why: "it opens Wallet passes the way a stranger would",
        present: || workspace::on_path("unzip").is_some(),
        debian: "unzip",
        homebrew: "unzip",
    },
    Need {
        what: "Python 3 with venv",
        why: "paho-mqtt, aioapns and google-auth are Python's",
        present: || python::interpreter().is_some(),
        debian: "python3 python3-venv",
        homebrew: "python",
    },
];

/// The names of what is not here.
fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.present)()).collect()
}

/// Each thing the tests need, why, and whether it is here.
pub(crate) fn report() -> Vec<(&'static str, &'static str, bool)> {
    NEEDS.iter().map(|need| (need.what, need.why, (need.present)())).collect()
}

/// Makes sure that everything is here; on a Debian as root, installs what is not.
pub(crate) fn ensure() -> Result<()> {
    let absent = missing();
    if absent.is_empty() {
        return Ok(());
    }
    if !can_install() {
        bail!("{}", how_to_get(&absent));
    }
    let packages: Vec<&str> = absent.iter().flat_map(|need| need.debian.split(' ')).collect();
    println!("installing by apt: {}", packages.join(" "));
    apt(&["update", "--quiet"])?;
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(&packages);
    let _quiet = NoServices::begin()?;
    apt(&install)?;
    let still = missing();
    if !still.is_empty() {
        bail!("after the installation {}", how_to_get(&still));
    }
    Ok(())
}

/// While this lives, packages start no services: mosquitto's would take port 1883, which Tidings wants, and PostgreSQL's
/// is not the one the tests use (`invoke-rc.d(8)`, policy-rc.d).
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;

        if Path::new(POLICY).exists() {
            return Ok(Self(false));
        }
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("{POLICY} cannot be written"))?;
        std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self(true))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("{POLICY} could not be removed ({error}); remove it, or packages will start no services");
        }
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = shell::command("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    shell::output(command)
        .map(drop)
        .context("apt could not install what the tests need; the network or a package source may be away")
}

fn can_install() -> bool {
    is_root() && Path::new("/etc/debian_version").exists() && workspace::on_path("apt-get").is_some()
}

/// Whether this process may do everything on this machine.
pub(crate) fn is_root() -> bool {
    let mut command = shell::command("id");
    command.arg("-u");
    shell::output(command).is_ok_and(|id| id.trim() == "0")
}

fn how_to_get(absent: &[&Need]) -> String {
    let mut text = String::from("these are missing, and the tests need them:\n");
    for need in absent {
        text.push_str(&format!("  - {}: {}\n", need.what, need.why));
    }
    let list = |name: fn(&Need) -> &'static str| absent.iter().map(|need| name(need)).collect::<Vec<_>>().join(" ");
    text.push_str(&format!("Debian, Ubuntu:  sudo apt-get install {}\n", list(|need| need.debian)));
    text.push_str(&format!("macOS:           brew install {}\n", list(|need| need.homebrew)));
    text.push_str("Then run `cargo xtask test` again. (On Debian as root it installs them itself.)");
    text
}

/// A scratch folder that other users of the machine may pass through.
pub(crate) fn scratch() -> PathBuf {
    env::temp_dir()
}
