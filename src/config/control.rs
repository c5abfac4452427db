//! `[control]`: the socket by which `ringmx reload` and `ringmx status` reach a running receiver.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::document::Fallback;
use super::section::Section;

/// Where the units and packages of the project have it.
pub const CONTROL_SOCKET_DEFAULT: &str = "/run/ringmx/control.sock";

/// The longest path that a Unix socket has (`sun_path`, with the NUL at its end).
const PATH_BYTES_MAX: usize = 107;

/// Reads the table: the path of the socket. `None` when the file does not have the table.
pub(super) fn read(root: &mut Section<'_>) -> Option<PathBuf> {
    let is_given = root.given("control");
    let mut section = root.table(
        "control",
        "A Unix socket for `ringmx reload` and `ringmx status`, for root and the user of the server; off when this table is absent.",
    );
    section.needs_restart_but(&[]);
    section.fix_presence();
    let socket =
        section.path("socket", Fallback::Value(format!("\"{CONTROL_SOCKET_DEFAULT}\"")), "Where it is.");
    let socket = socket.unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET_DEFAULT));
    let bytes = socket.as_os_str().as_bytes().len();
    if bytes > PATH_BYTES_MAX {
        let path = socket.display();
        section.problem(
            "socket",
            format!("{path} has {bytes} octets, and the path of a Unix socket at most {PATH_BYTES_MAX}"),
        );
    }
    section.finish();
    is_given.then_some(socket)
}
