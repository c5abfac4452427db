//! Names with weights, as the command line has them where something is divided or drawn.

use std::fmt;

/// Names with weights, `NAME[:WEIGHT],…`, of these values. `noun` is what a value is called in an error.
pub fn weighted<T: Copy>(
    text: &str,
    values: &[T],
    name_of: impl Fn(T) -> &'static str,
    noun: &str,
) -> Result<Vec<(T, u32)>, String> {
    const WEIGHT_MAX: u32 = 10_000;
    let part = |part: &str| {
        let (name, weight) = part.split_once(':').unwrap_or((part, "1"));
        let value = values.iter().copied().find(|value| name_of(*value) == name).ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|value| name_of(*value)).collect();
            format!("{name:?} is no {noun}; there are {}", names.join(", "))
        })?;
        let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
        Ok((value, weight.ok_or_else(|| format!("the weight of {name} is 1 to {WEIGHT_MAX}"))?))
    };
    text.split(',').map(part).collect()
}

/// The same for people: `name:weight`, divided by commas.
pub fn write_weighted<T: Copy>(
    f: &mut fmt::Formatter<'_>,
    weights: &[(T, u32)],
    name_of: impl Fn(T) -> &'static str,
) -> fmt::Result {
    for (index, (value, weight)) in weights.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(f, "{comma}{}:{weight}", name_of(*value))?;
    }
    Ok(())
}
