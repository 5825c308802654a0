//! Google's kinds of passes; each is a resource of its own with classes and objects.

/// A kind of pass at Google.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// From a store card.
    Loyalty,
    /// From a coupon.
    Offer,
    /// From an event ticket.
    EventTicket,
    /// From a boarding pass by air whose semantic tags say what Google requires.
    Flight,
    /// From another boarding pass.
    Transit,
    /// From everything else.
    Generic,
}

impl Resource {
    const ALL: [Self; 6] = [Self::Loyalty, Self::Offer, Self::EventTicket, Self::Flight, Self::Transit, Self::Generic];

    /// Google's word, which begins the names of its collections.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loyalty => "loyalty",
            Self::Offer => "offer",
            Self::EventTicket => "eventTicket",
            Self::Flight => "flight",
            Self::Transit => "transit",
            Self::Generic => "generic",
        }
    }

    /// The resource of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| resource.name() == name)
    }

    /// The collection of its classes in the REST API: `loyaltyClass`.
    #[must_use]
    pub fn class_path(self) -> String {
        format!("{}Class", self.name())
    }

    /// The collection of its objects: `loyaltyObject`.
    #[must_use]
    pub fn object_path(self) -> String {
        format!("{}Object", self.name())
    }
}
