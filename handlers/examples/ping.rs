//! A handler of your own: a device publishes to `ping`, and gets its text back on `<user>_pong`.
//!
//! ```text
//! TIDINGS_KEYS__HANDLER=the-handler-key cargo run -p tidings-handlers --example ping
//! ```

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use tidings_handlers::runtime::{Jitter, Json, Metrics, Reply, Router, Runtime, Sender};
use tidings_handlers::{Config, SETTINGS};
use tidings_shared::health::Health;
use tidings_shared::storage::Database;
use tidings_shared::{config, service};

#[derive(Deserialize)]
struct Ping {
    text: String,
}

#[derive(Serialize)]
struct Pong {
    from: String,
    text: String,
}

async fn ping(Sender { user, .. }: Sender, Json(ping): Json<Ping>) -> Reply {
    Reply::json("pong", &Pong { from: user.to_string(), text: ping.text })
}

fn main() -> ExitCode {
    let check = |settings: &_| Config::from_settings(settings).map(drop);
    service::main("ping", &[config::SETTINGS, SETTINGS], check, |settings, shutdown, clock| async move {
        let mut config = Config::from_settings(&settings)?;
        // A group of its own: its messages are not shared with the built-in handlers.
        config.runtime.group = "ping".to_owned();
        config.runtime.broker.client_id = "ping-1".to_owned();
        let database = Database::connect(&config.database, config.database_connections).await?;
        let routes = Router::new().topic("ping", ping).build()?;
        let (health, metrics) = (Health::default(), Metrics::default());
        Runtime::new(routes, database, config.runtime, &health, &metrics, clock, Jitter::from_machine())
            .run(shutdown)
            .await;
        Ok(())
    })
}
