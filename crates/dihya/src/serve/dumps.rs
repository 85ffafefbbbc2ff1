//! No dump of this program's memory is ever written: events before privacy, keys and tokens are in it.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Forbids core dumps, for this process and those that it starts. Debuggers of the same user may not attach then either.
///
/// # Errors
/// When the system refuses.
pub(crate) fn forbid() -> io::Result<()> {
    // A dump that goes to another program is written whatever the limit says, so both are needed.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn the_system_keeps_no_dump() {
        forbid().expect("is allowed to anybody");
        assert_eq!(dumpable_behavior().expect("says so"), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
