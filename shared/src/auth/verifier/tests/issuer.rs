//! A token issuer behind a real HTTP server: its keys, its introspection, and what it was asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A key pair with a name.
pub(super) struct Pair {
    pub(super) id: &'static str,
    pair: rcgen::KeyPair,
}

impl Pair {
    pub(super) fn new(id: &'static str) -> Self {
        Self { id, pair: rcgen::KeyPair::generate().unwrap() }
    }

    fn signer(&self) -> EncodingKey {
        EncodingKey::from_ec_der(self.pair.serialized_der())
    }

    pub(super) fn pem(&self) -> String {
        self.pair.public_key_pem()
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.signer(), Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token under the name of this key.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some(self.id), claims)
    }

    pub(super) fn sign_as(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        self.sign_with(&header, claims)
    }

    pub(super) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.signer()).unwrap()
    }
}

pub(super) fn set(pairs: &[&Pair]) -> Value {
    json!({ "keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>() })
}

#[derive(Default)]
struct Inner {
    keys: Mutex<Value>,
    answer: Mutex<Value>,
    fetches: AtomicUsize,
    questions: Mutex<Vec<(String, String)>>,
    fails: AtomicBool,
    hangs: AtomicBool,
}

/// The issuer. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Issuer {
    inner: Arc<Inner>,
    pub(super) url: String,
}

impl Issuer {
    pub(super) async fn open(pairs: &[&Pair]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let this = Self { inner: Arc::default(), url };
        this.publish(pairs);
        let router = Router::new()
            .route("/jwks", get(Self::jwks))
            .route("/introspect", post(Self::introspect))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        this
    }

    async fn state(&self) -> Result<(), ::http::StatusCode> {
        if self.inner.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let fails = self.inner.fails.load(Ordering::SeqCst);
        if fails { Err(::http::StatusCode::INTERNAL_SERVER_ERROR) } else { Ok(()) }
    }

    async fn jwks(State(this): State<Self>) -> Result<String, ::http::StatusCode> {
        this.inner.fetches.fetch_add(1, Ordering::SeqCst);
        this.state().await?;
        Ok(this.inner.keys.lock().unwrap().to_string())
    }

    async fn introspect(
        State(this): State<Self>,
        headers: ::http::HeaderMap,
        body: String,
    ) -> Result<String, ::http::StatusCode> {
        let who = headers.get("authorization").map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        this.inner.questions.lock().unwrap().push((who, body));
        this.state().await?;
        Ok(this.inner.answer.lock().unwrap().to_string())
    }

    pub(super) fn publish(&self, pairs: &[&Pair]) {
        *self.inner.keys.lock().unwrap() = set(pairs);
    }

    pub(super) fn publish_value(&self, keys: Value) {
        *self.inner.keys.lock().unwrap() = keys;
    }

    pub(super) fn answers(&self, answer: Value) {
        *self.inner.answer.lock().unwrap() = answer;
    }

    pub(super) fn fails(&self, fails: bool) {
        self.inner.fails.store(fails, Ordering::SeqCst);
    }

    pub(super) fn hangs(&self, hangs: bool) {
        self.inner.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(super) fn fetches(&self) -> usize {
        self.inner.fetches.load(Ordering::SeqCst)
    }

    /// Who asked and with what, in order.
    pub(super) fn questions(&self) -> Vec<(String, String)> {
        self.inner.questions.lock().unwrap().clone()
    }
}
