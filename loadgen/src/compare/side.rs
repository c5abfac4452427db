//! One side of a comparison: the reports of one or more runs.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// With so many runs, or more, a side is judged by its runs alone.
pub const RUNS_MIN: usize = 3;

/// A number of a report, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a> {
    /// For people.
    pub name: &'a str,
    /// In the result of a run.
    pub path: &'a [&'a str],
    /// In each part of a run, if parts have it.
    pub part: Option<&'a [&'a str]>,
}

/// A number of a side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Of the runs.
    pub median: f64,
    /// The lowest and the highest, if more than one value is known.
    pub range: Option<(f64, f64)>,
}

/// Reports with a result. There is at least one.
#[derive(Debug)]
pub struct Side {
    names: Vec<String>,
    reports: Vec<Value>,
}

impl Side {
    /// Reads the reports. The error has all that is wrong with them.
    pub fn read(paths: &[PathBuf]) -> Result<Self, String> {
        let (mut reports, mut errors) = (Vec::new(), Vec::new());
        for path in paths {
            match read(path) {
                Ok(report) => reports.push(report),
                Err(error) => errors.push(error),
            }
        }
        let names = paths.iter().map(|path| path.display().to_string()).collect();
        if errors.is_empty() { Ok(Self { names, reports }) } else { Err(errors.join("\nloadgen: ")) }
    }

    #[cfg(test)]
    pub fn of(reports: Vec<Value>) -> Self {
        Self { names: reports.iter().map(|_| "x".to_owned()).collect(), reports }
    }

    /// How many runs it has.
    pub fn runs(&self) -> usize {
        self.reports.len()
    }

    /// Its files.
    pub fn describe(&self) -> String {
        match &self.names[..] {
            [only] => only.clone(),
            several => format!("{} (medians of {})", several.join(", "), several.len()),
        }
    }

    /// The values of a key that its runs have, each once. `None` if a report of an older loadgen lacks it.
    pub fn configuration(&self, key: &str) -> Option<Vec<String>> {
        let mut values = Vec::new();
        for report in &self.reports {
            let value = report.get(key)?.to_string();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        Some(values)
    }

    /// A number of this side. `None` if a run lacks it.
    pub fn value(&self, number: Number<'_>) -> Option<Measured> {
        let results = self.reports.iter().map(|report| &report["result"]);
        let mut values =
            results.clone().map(|result| at(result, number.path)).collect::<Option<Vec<f64>>>()?;
        values.sort_unstable_by(f64::total_cmp);
        let median = f64::midpoint(*values.get((values.len() - 1) / 2)?, *values.get(values.len() / 2)?);
        if self.reports.len() < RUNS_MIN {
            for result in results {
                let parts = result["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
                values.extend(
                    number.part.iter().flat_map(|path| parts.iter().filter_map(|part| at(part, path))),
                );
            }
        }
        let only = values.len() == 1;
        let lowest = values.iter().copied().reduce(f64::min)?;
        let highest = values.iter().copied().reduce(f64::max)?;
        Some(Measured { median, range: (!only).then_some((lowest, highest)) })
    }
}

fn at(value: &Value, path: &[&str]) -> Option<f64> {
    path.iter().try_fold(value, |value, key| value.get(key))?.as_f64()
}

fn read(path: &Path) -> Result<Value, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("reading {}: {what}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    match report.get("result") {
        Some(Value::Object(_)) => Ok(report),
        Some(_) => Err(wrong(&"the run has no result, and nothing to compare")),
        None => Err(wrong(&"it is no report of loadgen --json")),
    }
}
