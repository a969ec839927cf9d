//! What one task has, and lends to others that want to use it for a while, one at a time.

use tokio::sync::{mpsc, oneshot};

/// Asks for it.
pub(crate) type Loans<T> = mpsc::Sender<oneshot::Sender<Loan<T>>>;
/// Hears who asks.
pub(crate) type Asked<T> = mpsc::Receiver<oneshot::Sender<Loan<T>>>;

/// For whoever wants to borrow, and for whoever lends.
pub(crate) fn loans<T>() -> (Loans<T>, Asked<T>) {
    mpsc::channel(1)
}

/// It, on loan: it goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Loan<T> {
    lent: Option<T>,
    back: Option<oneshot::Sender<T>>,
}

impl<T> Loan<T> {
    /// Borrows it; none: there is nothing to lend, or not any more.
    pub(crate) async fn of(loans: &Loans<T>) -> Option<Self> {
        let (lend, lent) = oneshot::channel();
        loans.send(lend).await.ok()?;
        lent.await.ok()
    }

    /// What is on loan.
    pub(crate) fn lent(&mut self) -> Option<&mut T> {
        self.lent.as_mut()
    }
}

impl<T> Drop for Loan<T> {
    fn drop(&mut self) {
        if let (Some(lent), Some(back)) = (self.lent.take(), self.back.take()) {
            // Nobody wants it back once the guest is gone.
            let _ = back.send(lent);
        }
    }
}

/// Lends it to whoever has asked, and waits until it is back; none: it is lost.
pub(crate) async fn lend<T>(thing: T, borrower: oneshot::Sender<Loan<T>>) -> Option<T> {
    let (back, returned) = oneshot::channel();
    let loan = Loan {
        lent: Some(thing),
        back: Some(back),
    };
    // A borrower that has gone drops it, which is how it comes back.
    let _ = borrower.send(loan);
    returned.await.ok()
}
