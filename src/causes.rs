//! The causes of an error, from the error itself to the innermost one.

use std::error::Error;
use std::io;
use std::iter;

/// Finds an error of this type among the causes.
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The text of the innermost cause.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        // An I/O error that wraps another one does not call that its source.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_within_others() {
        let tls = || rustls::Error::HandshakeNotComplete;
        let nested = io::Error::other(io::Error::other(tls()));
        assert_eq!(find::<rustls::Error>(&nested), Some(&tls()));
        assert_eq!(innermost(&nested), tls().to_string());
        let plain = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(find::<rustls::Error>(&plain), None);
    }
}
