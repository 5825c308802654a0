//! Who issues passes: one [`Issuer`] for each type identifier, and all of them together, each with its builder.

use std::collections::HashMap;
use std::sync::Arc;

use super::builder::Builder;
use super::template::Template;
use super::validate::Rules;

/// What a type identifier names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Passes: `pass.json`, Apple's routes `/v1/passes/…`.
    Pass,
    /// Orders of Apple's order tracking: `order.json`, Apple's routes `/v1/orders/…`.
    Order,
}

impl Kind {
    /// The kind of a type identifier: Apple gives out `pass.…` and `order.…`.
    #[must_use]
    pub fn of(type_identifier: &str) -> Self {
        if type_identifier.starts_with("order.") { Self::Order } else { Self::Pass }
    }
}

/// Who issues passes, and where their devices ask for updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Passes or orders.
    pub kind: Kind,
    /// `passTypeIdentifier` (or `orderTypeIdentifier`), the UID of the signing certificate.
    pub pass_type: String,
    /// `teamIdentifier`, the OU of the signing certificate.
    pub team: String,
    /// `webServiceURL`, without a slash at its end.
    pub web_service_url: String,
    /// Rules that depend on the installation.
    pub rules: Rules,
}

/// Every type that this service signs, each with its builder. Cheap to clone.
#[derive(Clone)]
pub struct Issuers(Arc<Served>);

struct Served {
    /// As configured.
    order: Vec<Arc<Builder>>,
    by_type: HashMap<String, Arc<Builder>>,
    first: Arc<Builder>,
}

impl Issuers {
    /// `first` is of the type that a pass has when nobody says another.
    #[must_use]
    pub fn new(first: Builder, others: Vec<Builder>) -> Self {
        let first = Arc::new(first);
        let order: Vec<_> = std::iter::once(first.clone()).chain(others.into_iter().map(Arc::new)).collect();
        let by_type = order
            .iter()
            .map(|builder| (builder.issuer().pass_type.clone(), builder.clone()))
            .collect::<HashMap<_, _>>();
        Self(Arc::new(Served { order, by_type, first }))
    }

    /// The builder of a type; `None`: this service has no certificate for it.
    #[must_use]
    pub fn get(&self, type_identifier: &str) -> Option<&Arc<Builder>> {
        self.0.by_type.get(type_identifier)
    }

    /// The first configured type: what a pass gets when neither the caller nor its template names another.
    #[must_use]
    pub fn default_type(&self) -> &str {
        &self.0.first.issuer().pass_type
    }

    /// The builder of [`Issuers::default_type`].
    #[must_use]
    pub fn default_builder(&self) -> &Arc<Builder> {
        &self.0.first
    }

    /// All builders, the first configured first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Builder>> {
        self.0.order.iter()
    }

    /// The builders of pass types, without orders.
    pub fn passes(&self) -> impl Iterator<Item = &Arc<Builder>> {
        self.iter().filter(|builder| builder.issuer().kind == Kind::Pass)
    }

    /// The builder for a new pass of a template: the template's `passTypeIdentifier` if that type is served, else the
    /// first.
    #[must_use]
    pub fn of_template(&self, template: &Template) -> &Arc<Builder> {
        template.pass_type().and_then(|pinned| self.get(pinned)).unwrap_or_else(|| self.default_builder())
    }

    /// The types as a list for people.
    #[must_use]
    pub fn types(&self) -> String {
        self.iter().map(|builder| builder.issuer().pass_type.as_str()).collect::<Vec<_>>().join(", ")
    }
}
