//! Sizes of messages: one for all, or a distribution. A distribution is not drawn from but divided: of
//! `count` variants each stands for an equal part of all mail, so that every run has the same mail, tail and
//! all.

use std::fmt;
use std::str::FromStr;

use bytesize::ByteSize;

/// The most octets a message may have; one send takes at most 4 GiB.
pub const SIZE_MAX: u64 = 1 << 30;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// All alike, in octets.
    Fixed(u64),
    /// Log-normal.
    LogNormal {
        /// Half of the messages are smaller, in octets.
        median: u64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Mail as an MX sees it, by a table of sizes.
    Profile,
}

/// Of mail from the Internet: which part of the messages has at most so many octets. Between points the
/// logarithm is interpolated. The median lies between 50 and 75 KiB (HTML with a few small images), and the
/// tail is long: one message in a hundred has more than 5 MiB. Small mail is notifications in plain text.
const PROFILE: [(f64, f64); 9] = [
    (0.0, 1_500.0),
    (0.05, 4_000.0),
    (0.25, 22_000.0),
    (0.50, 62_000.0),
    (0.75, 125_000.0),
    (0.90, 330_000.0),
    (0.97, 1_500_000.0),
    (0.99, 5_500_000.0),
    (1.00, 24_000_000.0),
];

/// Sigma of a log-normal distribution, unless it is given.
const SIGMA_DEFAULT: f64 = 1.2;

impl Size {
    /// Size of the variant `index` of `count`, in octets.
    pub fn of_variant(self, index: u64, count: u64) -> u64 {
        let part = (index as f64 + 0.5) / count as f64;
        match self {
            Self::Fixed(octets) => octets,
            Self::LogNormal { median, sigma } => whole(median as f64 * (sigma * normal_quantile(part)).exp()),
            Self::Profile => whole(profile_quantile(part)),
        }
    }

    /// Whether messages differ in size.
    pub fn varies(self) -> bool {
        !matches!(self, Self::Fixed(_))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn whole(octets: f64) -> u64 {
    octets.clamp(1.0, SIZE_MAX as f64) as u64
}

fn profile_quantile(part: f64) -> f64 {
    let above = PROFILE.iter().position(|(at, _)| *at >= part).unwrap_or(PROFILE.len() - 1).max(1);
    let ((from, low), (to, high)) = (PROFILE[above - 1], PROFILE[above]);
    low * f64::powf(high / low, (part - from) / (to - from))
}

/// Value below which this part of a standard normal distribution lies; `0 < part < 1`. Found by bisection of
/// the distribution function, whose integral is a sum: only a few hundred values are needed, once.
fn normal_quantile(part: f64) -> f64 {
    /// Values beyond have no weight that matters.
    const FAR: f64 = 8.0;
    const STEPS: u32 = 200;
    let below = |value: f64| {
        let step = value / f64::from(STEPS);
        let density = |at: f64| (-at * at / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let sum: f64 = (0..STEPS).map(|index| density((f64::from(index) + 0.5) * step) * step).sum();
        0.5 + sum
    };
    let (mut low, mut high) = (-FAR, FAR);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if below(middle) < part { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octets = |text: &str| text.parse::<ByteSize>().map(|size| size.as_u64());
        if text == "profile" {
            return Ok(Self::Profile);
        }
        let Some(shape) = text.strip_prefix("lognormal:") else {
            return octets(text).map(Self::Fixed).map_err(|_| {
                format!("{text:?} is no size such as 4KiB, lognormal:60KiB, lognormal:60KiB:1.2 or profile")
            });
        };
        let (median, sigma) =
            shape.split_once(':').map_or((shape, None), |(median, sigma)| (median, Some(sigma)));
        let median = octets(median).map_err(|_| format!("{median:?} is no size"))?;
        let sigma = sigma.map_or(Some(SIGMA_DEFAULT), |sigma| sigma.parse().ok());
        let sigma = sigma.filter(|sigma| (0.0..=3.0).contains(sigma)).ok_or("sigma is 0 to 3")?;
        Ok(Self::LogNormal { median, sigma })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(octets) => write!(f, "{octets} octets"),
            Self::LogNormal { median, sigma } => {
                write!(f, "log-normal, median {median} octets, sigma {sigma}")
            }
            Self::Profile => f.write_str("sizes of real traffic"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_has_its_median_and_a_long_tail() {
        let sizes: Vec<u64> = (0..127).map(|index| Size::Profile.of_variant(index, 127)).collect();
        assert!(sizes.is_sorted());
        assert!((50 << 10..75 << 10).contains(&sizes[63]), "{}", sizes[63]);
        assert!(sizes[0] < 4000 && sizes[126] > 5 << 20, "{} {}", sizes[0], sizes[126]);
    }

    #[test]
    fn log_normal_sizes_have_their_median_and_sigma() {
        let size: Size = "lognormal:60KiB:1".parse().expect("a size");
        let at = |index| size.of_variant(index, 1001) as f64 / f64::from(60 << 10);
        assert!((at(500) - 1.0).abs() < 0.001, "{}", at(500));
        // One sigma above the median: 84.13 % are smaller.
        assert!((at(842) - std::f64::consts::E).abs() < 0.02, "{}", at(842));
    }

    #[test]
    fn sizes_have_units_and_what_is_none_is_told() {
        assert_eq!("64KiB".parse(), Ok(Size::Fixed(65_536)));
        assert_eq!("lognormal:1KiB".parse(), Ok(Size::LogNormal { median: 1024, sigma: 1.2 }));
        for wrong in ["", "x", "lognormal", "lognormal:1KiB:9", "lognormal::", "-1"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
