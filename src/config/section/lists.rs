//! Keys whose values are lists.

use toml::de::DeValue;

use super::Section;
use crate::config::document::Fallback;
use crate::config::values::{whole, wrong_type};
use crate::mail::network::Network;

/// What a list of networks has in it, for [`Section::texts`].
pub(in crate::config) const NETWORKS: &str = "networks such as \"10.0.0.0/8\" or \"2001:db8::/32\"";

impl Section<'_> {
    /// Texts that `parse` makes values of, with the line of each. `None` when it is not given.
    pub(in crate::config) fn texts<T>(
        &mut self,
        key: &'static str,
        allowed: &'static str,
        default: Fallback,
        doc: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<(usize, T)>> {
        let wanted = format!("a list of strings: {allowed}");
        let default_text = default.text();
        self.describe(key, doc, format!("list of {allowed}"), default);
        self.fix(key, || self.given_text(key).unwrap_or(default_text));
        let value = self.ask(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.problem(key, wrong_type(&wanted, value.get_ref()));
            return None;
        };
        let mut values = Vec::new();
        for element in array {
            let line = self.document.line_of(element.span().start);
            let text = element
                .get_ref()
                .as_str()
                .ok_or_else(|| wrong_type("a string in this list", element.get_ref()));
            match text.and_then(&parse) {
                Ok(value) => values.push((line, value)),
                Err(why) => self.problem_at(line, key, why),
            }
        }
        Some(values)
    }

    /// Networks; no network when it is not given.
    pub(in crate::config) fn networks(
        &mut self,
        key: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Vec<Network> {
        let default = Fallback::Computed { example, default: "[], nobody" };
        let networks = self.texts(key, NETWORKS, default, doc, Network::parse).unwrap_or_default();
        networks.into_iter().map(|(_, network)| network).collect()
    }

    /// Networks; none where all are meant.
    pub(in crate::config) fn networks_or_all(
        &mut self,
        key: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Vec<Network> {
        let default = Fallback::Computed { example, default: "all" };
        let networks = self.texts(key, NETWORKS, default, doc, Network::parse);
        if networks.as_ref().is_some_and(Vec::is_empty) && !self.faulty(key) {
            self.problem(key, "nobody could connect; name networks, or remove the key for all".to_owned());
        }
        networks.unwrap_or_default().into_iter().map(|(_, network)| network).collect()
    }

    /// `"all"`, which is `None`, or a list of numbers with the line of each.
    pub(in crate::config) fn all_or_list(
        &mut self,
        key: &'static str,
        doc: &'static str,
    ) -> Option<Vec<(usize, usize)>> {
        const WANTED: &str = "\"all\" or a list of numbers such as [0, 1]";
        self.describe(key, doc, WANTED.to_owned(), Fallback::Value("\"all\"".to_owned()));
        self.fix(key, || self.given_text(key).unwrap_or_else(|| "\"all\"".to_owned()));
        let value = self.ask(key)?;
        if value.get_ref().as_str() == Some("all") {
            return None;
        }
        let Some(array) = value.get_ref().as_array() else {
            self.problem(key, wrong_type(WANTED, value.get_ref()));
            return None;
        };
        let mut numbers = Vec::new();
        for element in array {
            let line = self.document.line_of(element.span().start);
            let number = match element.get_ref() {
                DeValue::Integer(integer) => whole(integer),
                other => Err(wrong_type("a number in this list", other)),
            };
            match number.map(usize::try_from) {
                Ok(Ok(number)) => numbers.push((line, number)),
                Ok(Err(_)) => self.problem_at(line, key, "this number is too large".to_owned()),
                Err(why) => self.problem_at(line, key, why),
            }
        }
        Some(numbers)
    }
}
