//! The machine's users and groups, by name and by number (nsswitch.conf(5)).
//!
//! What is written as a number is that number, and nobody is asked: a process that has given up the files of
//! the database can still be told of it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Octets of an entry, at most. A group of thousands of members has a long one.
const ENTRY_BYTES_MAX: usize = 16 << 20;

/// What the database says of a user.
pub struct User {
    /// Its number.
    pub number: u32,
    /// Its group. None where it has no entry.
    pub group: Option<u32>,
    /// Its name there. None where it has no entry.
    pub name: Option<CString>,
}

/// A user by number or name; a number needs no entry. None where there is none: also for the number that the
/// kernel takes for "leave it as it is". The error is one of the database.
pub fn user_of(name: &str) -> io::Result<Option<User>> {
    let Ok(number) = name.parse::<u32>() else { return user_by_name(name) };
    if number == u32::MAX {
        return Ok(None);
    }
    // Without the database the number is enough.
    let entry = user_by_number(number).ok().flatten();
    Ok(Some(entry.unwrap_or(User { number, group: None, name: None })))
}

/// A group by number or name, as [`user_of`].
pub fn group_of(name: &str) -> io::Result<Option<u32>> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok((number != u32::MAX).then_some(number));
    }
    let Ok(name) = CString::new(name) else { return Ok(None) };
    ask(
        // SAFETY: the name ends with a NUL, and `ask` gives the other pointers as getgrnam_r wants them.
        |entry, buffer, length, found| unsafe {
            libc::getgrnam_r(name.as_ptr(), entry, buffer, length, found)
        },
        |entry: &libc::group| entry.gr_gid,
    )
}

/// Every group that a user is in, with this one.
pub fn groups_of(name: &CStr, group: u32) -> Vec<u32> {
    let mut groups = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the name ends with a NUL, and there is room for as many groups as `count` says.
        let result = unsafe { libc::getgrouplist(name.as_ptr(), group, groups.as_mut_ptr(), &raw mut count) };
        let wanted = usize::try_from(count).unwrap_or_default();
        if result >= 0 {
            groups.truncate(wanted);
            return groups;
        }
        // Linux has no user in more groups than this (NGROUPS_MAX).
        if groups.len() >= 65536 {
            return vec![group];
        }
        groups.resize(wanted.max(groups.len() * 2), 0);
    }
}

fn user_by_name(name: &str) -> io::Result<Option<User>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    // SAFETY: as in `group_of`.
    ask(
        |entry, buffer, length, found| unsafe {
            libc::getpwnam_r(name.as_ptr(), entry, buffer, length, found)
        },
        of_user,
    )
}

fn user_by_number(number: u32) -> io::Result<Option<User>> {
    // SAFETY: as above; a number can be any.
    ask(
        |entry, buffer, length, found| unsafe { libc::getpwuid_r(number, entry, buffer, length, found) },
        of_user,
    )
}

fn of_user(entry: &libc::passwd) -> User {
    // SAFETY: an entry that was found has a name that ends with a NUL.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    User { number: entry.pw_uid, group: Some(entry.pw_gid), name: Some(name.to_owned()) }
}

/// Asks the database with a buffer that grows until the answer fits.
fn ask<E, T>(
    call: impl Fn(*mut E, *mut libc::c_char, usize, *mut *mut E) -> libc::c_int,
    read: impl FnOnce(&E) -> T,
) -> io::Result<Option<T>> {
    let mut entry = MaybeUninit::<E>::uninit();
    let mut buffer = vec![0_u8; 4096];
    loop {
        let mut found = ptr::null_mut();
        match call(entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), &raw mut found) {
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            libc::EINTR => {}
            // SAFETY: not null, it points to `entry`, which was filled then, and whose strings are in
            // `buffer`; both live until after `read`.
            0 if !found.is_null() => return Ok(Some(read(unsafe { &*found }))),
            // What getgrnam(3) says of "not found".
            0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found_and_the_number_that_means_leave_it_is_none() {
        let group = |name| group_of(name).expect("a database");
        let user = |name| user_of(name).expect("a database").map(|user| user.number);
        for (name, number) in [
            ("root", Some(0)),
            ("54321", Some(54321)),
            ("4294967294", Some(4_294_967_294)),
            ("4294967295", None),
            ("4294967296", None),
            ("-1", None),
            ("", None),
            ("no-such-name-here", None),
            ("with\0nul", None),
        ] {
            assert_eq!((group(name), user(name)), (number, number), "{name:?}");
        }
    }
}
