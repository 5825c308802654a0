//! How far a push has come when its time is over: one that still waits for an access token or for a free stream is
//! certainly not with its provider, and another attempt repeats nothing.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    static CURRENT: Handover;
}

/// Of one push. Whoever says nothing may have handed it over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover(Arc<AtomicBool>);

impl Handover {
    /// Learns what `sending` says with [`waiting`] and [`begins`].
    pub(crate) fn watch<F: Future>(&self, sending: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), sending)
    }

    /// Whether the push waits to be handed over.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The push waits for something that it needs before it can be handed over; no attempt before may have taken it.
pub(crate) fn waiting() {
    // Outside of the send path nobody wants to know.
    let _ = CURRENT.try_with(|handover| handover.0.store(true, Ordering::Relaxed));
}

/// From here on the provider may take the push.
pub(crate) fn begins() {
    let _ = CURRENT.try_with(|handover| handover.0.store(false, Ordering::Relaxed));
}
