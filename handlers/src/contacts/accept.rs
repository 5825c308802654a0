//! `accept_contact`: the user who was asked agrees, and both are contacts of each other.

use tidings_shared::topic::names;

use super::refusal::{Refusal, other_user};
use super::store::{self, Relation};
use super::{About, Contacts};
use crate::runtime::{HandlerError, Publisher, Request, Sender, State, Transaction};

pub(super) async fn accept_contact(
    Sender { user, .. }: Sender,
    request: Request,
    State(contacts): State<Contacts>,
    mut transaction: Transaction,
    publisher: Publisher,
) -> Result<(), HandlerError> {
    let requester = other_user(&request, &user)?;
    let since = match store::relation(&mut transaction, &requester, &user).await? {
        // Accepted before: said again, with the same time.
        Some(Relation::Contacts { since, asked: true }) => since,
        Some(Relation::Asked { .. }) => {
            if store::count(&mut transaction, &user).await?.contacts >= contacts.limits.contacts {
                let limit = Refusal::Limit("you have as many contacts as is allowed");
                publisher.send(limit.tell(&user, Some(&requester), &request)?);
                return Ok(());
            }
            let now = contacts.clock.now_ms();
            store::become_contacts(&mut transaction, &requester, &user, now).await?;
            now
        }
        Some(Relation::Contacts { asked: false, .. }) | None => {
            publisher.send(Refusal::RequestMissing.tell(&user, Some(&requester), &request)?);
            return Ok(());
        }
    };
    publisher.to_user(&requester, names::CONTACT_APPROVED, &About { user: &user, at: since })
}
