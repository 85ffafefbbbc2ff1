//! `Private<T>`: a raw personal value that cannot be printed, serialised or compared by accident.

use std::fmt;

use zeroize::Zeroize;

/// Holds a raw personal value or a secret. There is no `Display` and no `Serialize`; `Debug` shows kind and length
/// only, so a raw value cannot reach a log line, an error or a test name through this type (invariant P-1).
#[derive(Clone)]
pub struct Private<T: Zeroize + AsRef<[u8]>>(T);

impl<T: Zeroize + AsRef<[u8]>> Private<T> {
    /// Wraps a raw value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Gives the raw value to code that needs it: every call is a place to review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + AsRef<[u8]>> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Private({} bytes)", self.0.as_ref().len())
    }
}

impl<T: Zeroize + AsRef<[u8]>> Drop for Private<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_and_nothing_else() {
        let secret = Private::new(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "Private(7 bytes)");
        assert_eq!(secret.expose(), "hunter2");
    }
}
