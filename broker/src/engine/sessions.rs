//! All sessions, found by their place, by their names, and by user.

use std::collections::BTreeMap;
use std::sync::Arc;

use slab::Slab;
use tidings_shared::identity::UserId;

use super::hash::{Map, Seeded};
use super::session::{Owner, Session, SessionId};

/// The sessions of one user: nearly always one.
#[derive(Debug)]
enum OfUser {
    One(SessionId),
    /// By client id.
    #[expect(
        clippy::box_collection,
        reason = "few users have several, and each entry costs what the largest kind does"
    )]
    Many(Box<BTreeMap<Arc<str>, SessionId>>),
}

/// The table of sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: Slab<(u32, Session)>,
    users: Map<UserId, OfUser>,
    /// By client id.
    handlers: Map<Arc<str>, SessionId>,
    serial: u32,
}

impl Sessions {
    pub(crate) fn new(seed: Seeded) -> Self {
        Self { slots: Slab::new(), users: Map::with_hasher(seed), handlers: Map::with_hasher(seed), serial: 0 }
    }

    pub(crate) fn find(&self, owner: &Owner, client: &str) -> Option<SessionId> {
        let Owner::User(user) = owner else { return self.handlers.get(client).copied() };
        match self.users.get(user)? {
            OfUser::One(id) => Some(*id).filter(|id| self.get(*id).is_some_and(|session| *session.client == *client)),
            OfUser::Many(many) => many.get(client).copied(),
        }
    }

    /// Takes a session under a name that no other one has.
    pub(crate) fn insert(&mut self, session: Session) -> SessionId {
        self.serial = self.serial.wrapping_add(1);
        let (owner, client) = (session.owner.clone(), session.client.clone());
        let key = self.slots.insert((self.serial, session));
        let id = SessionId { key: u32::try_from(key).unwrap_or(u32::MAX), serial: self.serial };
        let Owner::User(user) = owner else {
            self.handlers.insert(client, id);
            return id;
        };
        let of_user = match self.users.remove(&user) {
            None => OfUser::One(id),
            Some(OfUser::One(other)) => {
                let name = self.get(other).map(|session| session.client.clone());
                OfUser::Many(Box::new(name.map(|name| (name, other)).into_iter().chain([(client, id)]).collect()))
            }
            Some(OfUser::Many(mut many)) => {
                many.insert(client, id);
                OfUser::Many(many)
            }
        };
        self.users.insert(user, of_user);
        id
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.slots.get(id.key as usize).filter(|(serial, _)| *serial == id.serial).map(|(_, session)| session)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slots.get_mut(id.key as usize).filter(|(serial, _)| *serial == id.serial).map(|(_, session)| session)
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get(id)?;
        let (_, session) = self.slots.remove(id.key as usize);
        match &session.owner {
            Owner::Handlers => drop(self.handlers.remove(&session.client)),
            Owner::User(user) => match self.users.get_mut(user) {
                Some(OfUser::Many(many)) if many.len() > 1 => {
                    many.remove(&session.client);
                    if let (1, Some(last)) = (many.len(), many.values().next().copied()) {
                        self.users.insert(user.clone(), OfUser::One(last));
                    }
                }
                _ => drop(self.users.remove(user)),
            },
        }
        Some(session)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The sessions of a user, connected or not, in the order of their client ids.
    pub(crate) fn of_user(&self, user: &UserId) -> impl Iterator<Item = (SessionId, &Session)> {
        let (one, many) = match self.users.get(user) {
            None => (None, None),
            Some(OfUser::One(id)) => (Some(*id), None),
            Some(OfUser::Many(many)) => (None, Some(many.values().copied())),
        };
        let ids = one.into_iter().chain(many.into_iter().flatten());
        ids.filter_map(|id| Some((id, self.get(id)?)))
    }

    pub(crate) fn count_of_user(&self, user: &UserId) -> usize {
        self.users.get(user).map_or(0, |of_user| match of_user {
            OfUser::One(_) => 1,
            OfUser::Many(many) => many.len(),
        })
    }

    /// Every session, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.slots.iter().map(|(key, (serial, session))| {
            (SessionId { key: u32::try_from(key).unwrap_or(u32::MAX), serial: *serial }, session)
        })
    }

    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.iter().map(|(id, _)| id).collect()
    }
}
