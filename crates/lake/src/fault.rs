//! Where the lake may die: named points between the steps of a flush, for tests to die at.

/// A place between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Data files are durable and no log entry names them.
    Written,
    /// The log entry is durable and the rows are still in the hot buffer.
    Committed,
    /// Files were rewritten and no log entry says so.
    Rewritten,
    /// The log no longer names files that are still there.
    Removed,
}

impl Point {
    /// All points, in the order of a row's life.
    pub const ALL: [Self; 4] = [Self::Written, Self::Committed, Self::Rewritten, Self::Removed];
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
