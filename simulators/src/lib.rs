//! Simulators of what surrounds Tidings: APNs, FCM, a browser's push service, Google Wallet, phones, Wallet devices, and an app's token issuer. They are used
//! by `cargo run`, by the tests, and by anybody without provider accounts. Nothing of production runs here.
//!
//! [`Simulators`] is the state of the servers, for those who start them in their own process; [`run`] serves it.

pub mod apns;
pub mod config;
pub mod control;
pub mod fcm;
pub mod googlewallet;
pub mod inbox;
mod metrics;
pub mod phone;
pub mod push_source;
pub mod script;
mod tls;
pub mod wallet;
pub mod webpush;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tidings_shared::clock::Clock;
use tidings_shared::health::Health;
use tidings_shared::http::operations_router;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::service::bind;
use tidings_shared::tls::DevAuthority;
use tokio::net::TcpListener;

pub use config::{Config, SETTINGS, TlsSource};
pub use tls::ServerIdentity;

use apns::{ApnsSimulator, DevelopmentKey, Environment, ProviderKey};
use control::Issuer;
use fcm::{FcmSimulator, ServiceAccount};
use googlewallet::GoogleWalletSimulator;
use inbox::Inbox;
use webpush::WebPushSimulator;

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// APNs.
    pub apns: TcpListener,
    /// APNs' sandbox, if apart.
    pub apns_sandbox: Option<TcpListener>,
    /// FCM.
    pub fcm: TcpListener,
    /// Control and token issuer.
    pub control: TcpListener,
}

impl Listeners {
    /// Binds every address of the configuration.
    ///
    /// # Errors
    /// When one is taken; the text names the setting.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let apns_sandbox = match config.apns_sandbox_listen {
            Some(address) => Some(bind(address, "simulators.apns.sandbox_listen").await?),
            None => None,
        };
        Ok(Self {
            apns: bind(config.apns_listen, "simulators.apns.listen").await?,
            apns_sandbox,
            fcm: bind(config.fcm_listen, "simulators.fcm.listen").await?,
            control: bind(config.control_listen, "simulators.control.listen").await?,
        })
    }
}

/// What others need to know to use the simulators.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate to trust, when the development authority made the simulators' own.
    pub ca_file: Option<PathBuf>,
    /// `https://…` of APNs.
    pub apns_url: String,
    /// The same of the sandbox; equal to `apns_url` unless it listens apart.
    pub apns_sandbox_url: String,
    /// A key whose tokens APNs accepts.
    pub apns_key: DevelopmentKey,
    /// `https://…` of FCM.
    pub fcm_url: String,
    /// A service account whose assertions FCM accepts.
    pub fcm_account: ServiceAccount,
    /// Its key file.
    pub fcm_account_file: PathBuf,
    /// A private key (PEM) for the pushes to simulated browsers; they take any.
    pub webpush_key_file: PathBuf,
    /// `http://…` of the control; also the `iss` of development tokens.
    pub control_url: String,
    /// Where the keys of development tokens are.
    pub jwks_url: String,
}

/// The simulators' state. Cheap to clone; clones are the same simulators.
#[derive(Clone)]
pub struct Simulators(Arc<Inner>);

struct Inner {
    apns: ApnsSimulator,
    fcm: FcmSimulator,
    webpush: WebPushSimulator,
    googlewallet: GoogleWalletSimulator,
    inbox: Inbox,
    issuer: Issuer,
    identity: ServerIdentity,
    credentials: Credentials,
    shutdown: Shutdown,
}

impl Simulators {
    /// Makes or loads the keys and certificates. `listeners` tells the ports; [`Simulators::serve`] serves them.
    ///
    /// # Errors
    /// When the folders cannot be used, or a configured key cannot.
    pub fn new(config: &Config, listeners: &Listeners, clock: &Clock, shutdown: Shutdown) -> anyhow::Result<Self> {
        tidings_shared::tls::install_provider();
        let (identity, ca_file) = server_identity(&config.tls)?;
        let inbox = Inbox::new(config.inbox);

        let apns = ApnsSimulator::new(config.apns.clone(), inbox.clone(), clock.clone());
        let apns_key = DevelopmentKey::load_or_create(&config.folder.join("apns"))?;
        apns.register_key(&apns_key.provider_key())?;
        for key in &config.apns_keys {
            let pem = std::fs::read_to_string(&key.file).with_context(|| {
                format!("simulators.apns.keys.{}.file: cannot read {}", key.key_id, key.file.display())
            })?;
            apns.register_key(&ProviderKey {
                key_id: key.key_id.clone(),
                team_id: key.team_id.clone(),
                pem,
                environment: None,
                topics: Vec::new(),
            })?;
        }
        let apns_url = local_url("https", &listeners.apns)?;
        let apns_sandbox_url = match &listeners.apns_sandbox {
            Some(listener) => local_url("https", listener)?,
            None => apns_url.clone(),
        };

        let fcm_url = match &config.fcm_url {
            Some(url) => url.clone(),
            None => local_url("https", &listeners.fcm)?,
        };
        let fcm = FcmSimulator::new(config.fcm.clone(), &fcm_url, inbox.clone(), clock.clone());
        let googlewallet = GoogleWalletSimulator::new(fcm.clone(), clock.clone());
        let webpush = WebPushSimulator::new(&fcm_url, inbox.clone(), clock.clone());
        let webpush_key = DevelopmentKey::load_or_create(&config.folder.join("webpush"))?;
        let fcm_folder = config.folder.join("fcm");
        let fcm_account = fcm.load_or_create_service_account(&fcm_folder)?;

        let control_url = match &config.control_url {
            Some(url) => url.clone(),
            None => local_url("http", &listeners.control)?,
        };
        let issuer = Issuer::load_or_create(&config.folder.join("issuer"), &control_url, clock.clone())?;
        let credentials = Credentials {
            ca_file,
            apns_url,
            apns_sandbox_url,
            apns_key,
            fcm_url,
            fcm_account,
            fcm_account_file: fcm_folder.join(fcm::ACCOUNT_FILE),
            webpush_key_file: webpush_key.file,
            jwks_url: format!("{control_url}/.well-known/jwks.json"),
            control_url,
        };
        Ok(Self(Arc::new(Inner { apns, fcm, webpush, googlewallet, inbox, issuer, identity, credentials, shutdown })))
    }

    /// The APNs simulator.
    #[must_use]
    pub fn apns(&self) -> &ApnsSimulator {
        &self.0.apns
    }

    /// The FCM simulator.
    #[must_use]
    pub fn fcm(&self) -> &FcmSimulator {
        &self.0.fcm
    }

    /// The push service of simulated browsers, at FCM's door.
    #[must_use]
    pub fn webpush(&self) -> &WebPushSimulator {
        &self.0.webpush
    }

    /// Google Wallet, at FCM's door.
    #[must_use]
    pub fn googlewallet(&self) -> &GoogleWalletSimulator {
        &self.0.googlewallet
    }

    /// What all have delivered.
    #[must_use]
    pub fn inbox(&self) -> &Inbox {
        &self.0.inbox
    }

    /// The development token issuer.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.0.issuer
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// What others need to know to use the simulators.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Forgets scripts, device tokens, pushes and counters.
    pub fn reset(&self) {
        self.0.apns.reset();
        self.0.fcm.reset();
        self.0.webpush.reset();
        self.0.googlewallet.reset();
        self.0.inbox.clear();
    }

    /// Serves until the shutdown.
    ///
    /// # Errors
    /// When a server fails for good.
    pub async fn serve(self, listeners: Listeners) -> anyhow::Result<()> {
        let shutdown = self.0.shutdown.clone();
        let identity = self.0.identity.clone();
        let environment = listeners.apns_sandbox.as_ref().map(|_| Environment::Production);
        let apns = self.0.apns.clone().serve(listeners.apns, &identity, environment, shutdown.clone());
        let sandbox = async {
            match listeners.apns_sandbox {
                Some(listener) => {
                    let environment = Some(Environment::Sandbox);
                    self.0.apns.clone().serve(listener, &identity, environment, shutdown.clone()).await
                }
                None => Ok(()),
            }
        };
        let neighbours = self.0.webpush.router().merge(self.0.googlewallet.router());
        let fcm = self.0.fcm.clone().serve(listeners.fcm, &identity, neighbours, shutdown.clone());
        let registry = Arc::new(metrics::registry(&self));
        let router = control::router(self.clone()).merge(operations_router(Health::default(), registry));
        let control = async {
            tidings_shared::http::serve(listeners.control, router, shutdown.clone()).await;
            Ok(())
        };
        tokio::try_join!(apns, sandbox, fcm, control)?;
        Ok(())
    }
}

/// Serves the simulators until the shutdown.
///
/// # Errors
/// When the keys or certificates cannot be used, or a server fails for good.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown, clock: Clock) -> anyhow::Result<()> {
    let simulators = Simulators::new(&config, &listeners, &clock, shutdown)?;
    let credentials = simulators.credentials();
    tracing::info!(
        apns = credentials.apns_url,
        fcm = credentials.fcm_url,
        control = credentials.control_url,
        "the simulators are ready"
    );
    simulators.serve(listeners).await
}

fn server_identity(source: &TlsSource) -> anyhow::Result<(ServerIdentity, Option<PathBuf>)> {
    match source {
        TlsSource::Files { certificate, key } => Ok((ServerIdentity::from_files(certificate, key)?, None)),
        TlsSource::Authority { folder, names } => {
            let authority = DevAuthority::load_or_create(folder)?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let issued = authority.issue_server("simulators", &names)?;
            let identity = ServerIdentity::from_files(&issued.certificate, &issued.key)?;
            Ok((identity, Some(authority.certificate())))
        }
    }
}

/// Where a client on this machine reaches the listener.
fn local_url(scheme: &str, listener: &TcpListener) -> anyhow::Result<String> {
    let address = listener.local_addr().context("a bound socket has no address")?;
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    Ok(format!("{scheme}://{}", SocketAddr::new(ip, address.port())))
}
