//! Where a process may die: named points between the steps of the alert path, for tests to die at.

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Records were read and are not folded.
    Read,
    /// Records were folded in memory and are not in the control state.
    Folded,
    /// Records are in the control state.
    Applied,
    /// Something was decided and is not admitted.
    Decided,
    /// What was decided is in the ledger and is not folded.
    Admitted,
    /// A notification was taken from the outbox and no attempt was made.
    Taken,
    /// An attempt was made and its outcome is nowhere.
    Sent,
    /// Outcomes were collected and are not admitted.
    Collected,
    /// Outcomes are in the ledger and are not folded.
    Recorded,
}

impl Point {
    /// All points, in the order of a notification's life.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Folded,
        Self::Applied,
        Self::Decided,
        Self::Admitted,
        Self::Taken,
        Self::Sent,
        Self::Collected,
        Self::Recorded,
    ];
}

/// Says where to die.
pub trait Fault: Send + Sync {
    /// Tells whether whoever passes `point` goes no further, as if the process had ended there.
    fn dies_at(&self, point: Point) -> bool;
}

/// Dies nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFault;

impl Fault for NoFault {
    fn dies_at(&self, _point: Point) -> bool {
        false
    }
}
