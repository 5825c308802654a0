//! `request_contact`: a user asks another to become their contact.

use tidings_shared::topic::names;

use super::refusal::{Refusal, other_user};
use super::store::{self, Relation};
use super::{About, Contacts};
use crate::runtime::{HandlerError, Publisher, Request, Sender, State, Transaction};

pub(super) async fn request_contact(
    Sender { user, .. }: Sender,
    request: Request,
    State(contacts): State<Contacts>,
    mut transaction: Transaction,
    publisher: Publisher,
) -> Result<(), HandlerError> {
    let target = other_user(&request, &user)?;
    if target == user {
        publisher.send(Refusal::Oneself.tell(&user, Some(&target), &request)?);
        return Ok(());
    }
    if let Some(limit) = over_limit(&mut transaction, &contacts, &user).await? {
        publisher.send(limit.tell(&user, Some(&target), &request)?);
        return Ok(());
    }
    let now = contacts.clock.now_ms();
    match store::ask(&mut transaction, &user, &target, now).await? {
        Relation::Contacts { since, .. } => {
            publisher.to_user(&user, names::CONTACT_APPROVED, &About { user: &target, at: since })
        }
        Relation::Asked { at, asked_back: false } => {
            publisher.to_user(&target, names::CONTACT_REQUESTED, &About { user: &user, at })
        }
        Relation::Asked { asked_back: true, .. } => {
            store::become_contacts(&mut transaction, &user, &target, now).await?;
            publisher.to_user(&user, names::CONTACT_APPROVED, &About { user: &target, at: now })?;
            publisher.to_user(&target, names::CONTACT_APPROVED, &About { user: &user, at: now })
        }
    }
}

async fn over_limit(
    transaction: &mut Transaction,
    contacts: &Contacts,
    user: &tidings_shared::identity::UserId,
) -> Result<Option<Refusal>, HandlerError> {
    let counts = store::count(transaction, user).await?;
    Ok(if counts.contacts >= contacts.limits.contacts {
        Some(Refusal::Limit("you have as many contacts as is allowed"))
    } else if counts.requests >= contacts.limits.requests {
        Some(Refusal::Limit("you have as many open contact requests as is allowed"))
    } else {
        None
    })
}
