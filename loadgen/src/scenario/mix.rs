//! Scenarios with weights, as the command line names them, and how they divide the connections of a run.

use std::fmt;
use std::str::FromStr;

use super::act::{Row, TABLE};
use crate::weights::weighted;

/// Scenarios with the weights that divide the connections among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(pub Vec<(&'static Row, u32)>);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        weighted(text, &TABLE.each_ref(), |row| row.name, "scenario").map(Self)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |(row, weight): &(&Row, u32)| match self.0.len() {
            1 => row.name.to_owned(),
            _ => format!("{}:{weight}", row.name),
        };
        f.write_str(&self.0.iter().map(part).collect::<Vec<_>>().join(","))
    }
}

impl Mix {
    /// Which scenario each of so many connections has, spread evenly: at every step the one that is most
    /// behind its share. Each has one connection at least, if there are enough.
    pub fn divide(&self, connections: usize) -> Vec<usize> {
        let mut counts = vec![0_u64; self.0.len()];
        let next = |_| {
            let behind = |index: &usize| {
                let weight = f64::from(self.0[*index].1);
                counts[*index] as f64 / weight - if counts[*index] == 0 { 1.0 } else { 0.0 }
            };
            let chosen =
                (0..counts.len()).min_by(|one, two| behind(one).total_cmp(&behind(two))).unwrap_or(0);
            counts[chosen] += 1;
            chosen
        };
        (0..connections).map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_divide_the_connections_and_nobody_is_left_out() {
        let mix: Mix = "steady:8,churn:1,abort".parse().expect("a mix");
        assert_eq!(mix.to_string(), "steady:8,churn:1,abort:1");
        let count = |connections, index| mix.divide(connections).iter().filter(|at| **at == index).count();
        assert_eq!([count(100, 0), count(100, 1), count(100, 2)], [80, 10, 10]);
        assert_eq!([count(3, 0), count(3, 1), count(3, 2)], [1, 1, 1]);
        for wrong in ["", "study", "steady:0", "steady:x", "steady,,abort"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
