//! The two calls that need unsafe code.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{FromRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::health::Space;

/// Space of the file system that holds `path`, from statvfs(3); available is what an unprivileged user can still use.
///
/// # Errors
/// Those of statvfs(3), and `InvalidInput` for a path with a NUL byte.
pub fn file_system_space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is NUL-terminated, and `found` is large enough for what statvfs writes.
    if unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs has succeeded, so it has filled the structure.
    let found = unsafe { found.assume_init() };
    let kb = |blocks| (u128::from(blocks) * u128::from(found.f_frsize) / 1024) as u64;
    Ok(Space { total_kb: kb(found.f_blocks), available_kb: kb(found.f_bavail) })
}

/// Takes over a listening Unix socket that this process has inherited. The descriptor given is closed; the listener's
/// own is not inherited by the programs this process starts.
///
/// To be called once for a descriptor that nothing else in the process uses.
///
/// # Errors
/// Where the descriptor is not open, or is no Unix socket.
pub fn adopt_listener(descriptor: RawFd) -> io::Result<UnixListener> {
    // SAFETY: by the contract above nothing else owns the descriptor; one that is not open fails in try_clone.
    let inherited = unsafe { UnixListener::from_raw_fd(descriptor) };
    let listener = inherited.try_clone()?;
    listener.local_addr()?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::io::IntoRawFd;

    #[test]
    fn the_temporary_directory_has_space() {
        let space = file_system_space(&std::env::temp_dir()).unwrap();
        assert!(space.total_kb > 0);
        assert!(space.available_kb <= space.total_kb);
    }

    #[test]
    fn a_missing_path_is_an_error() {
        let error = file_system_space(Path::new("/nonexistent/path")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_path_with_nul_is_an_error() {
        let error = file_system_space(Path::new("a\0b")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_socket_of_the_internet_is_no_listener_here() {
        let internet = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(adopt_listener(internet.into_raw_fd()).is_err());
    }

    #[test]
    fn a_closed_descriptor_is_no_listener() {
        assert!(adopt_listener(1_000_000).is_err());
    }
}
