//! The whole service: settings, health, and its end.

use tidings_handlers::{Config, Listeners, SETTINGS, run};
use tidings_shared::clock::Clock;
use tidings_shared::config::{self, Loader};
use tidings_shared::lifecycle::Shutdown;

use crate::support::{Mosquitto, PATIENCE, Phone, until};

#[tokio::test]
async fn the_service_says_what_it_waits_for_works_and_ends() {
    let mut broker = Mosquitto::start().await;
    broker.pause().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = Loader::new(&[config::SETTINGS, SETTINGS])
        .flag("--set", "data", folder.path().display().to_string())
        .flag("--set", "keys.handler", "key")
        .flag("--set", "keys.service", "key")
        .flag("--set", "handlers.broker", format!("mqtt://127.0.0.1:{}", broker.port()))
        .flag("--set", "handlers.listen", "127.0.0.1:0")
        .load()
        .unwrap();
    let config = Config::from_settings(&settings).unwrap();
    let listeners = Listeners::bind(&config).await.unwrap();
    let url = format!("http://{}", listeners.http.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let service = tokio::spawn(run(config, listeners, shutdown.clone(), Clock::system()));
    let http = tidings_shared::http::client(None).unwrap();
    let get = async |path: &str| {
        let answer = http.get(format!("{url}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    until("/readyz names the broker", async || {
        let (status, text) = get("/readyz").await;
        status == 503 && text.contains("broker: no connection to the broker at mqtt://127.0.0.1:")
    })
    .await;
    broker.resume().await;
    until("/readyz is content", async || get("/readyz").await.0 == 200).await;
    let mut phone = Phone::connect(&broker, "1", &["1_contact_list"]).await;
    phone.send("get_contact_list", "", "m1").await;
    phone.next().await;
    until("it is counted", async || {
        get("/metrics")
            .await
            .1
            .contains(r#"tidings_handlers_messages_total{route="get_contact_list",outcome="handled"} 1"#)
    })
    .await;
    shutdown.begin();
    tokio::time::timeout(PATIENCE, service).await.expect("it ends").unwrap().unwrap();
}
