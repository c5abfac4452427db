//! The checks, by what they look at.

pub(super) mod confinement;
pub(super) mod cores;
pub(super) mod limits;
pub(super) mod memory;
pub(super) mod network;
pub(super) mod rings;
pub(super) mod storage;

/// Octets as MiB, rounded up.
fn mib(octets: u64) -> String {
    format!("{} MiB", octets.div_ceil(1 << 20))
}

/// A line that sets something of the unit for good.
fn unit_line(setting: &str) -> String {
    let name = setting.split('=').next().unwrap_or_default();
    let place = "/etc/systemd/system/ringmx.service.d";
    format!(
        "mkdir -p {place} && printf '[Service]\\n{setting}\\n' > {place}/{name}.conf && systemctl daemon-reload"
    )
}

/// A line that sets a sysctl until the next start.
fn sysctl_line(name: &str, value: impl std::fmt::Display) -> String {
    format!("sysctl -w {name}={value}  # for good: a line in /etc/sysctl.d/99-ringmx.conf")
}
