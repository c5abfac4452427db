//! A configuration file is read: what it says, and everything that is wrong with it, not only the first.

use std::path::Path;

use toml::de::DeTable;

use super::configuration::{self, Config};
use super::document::Document;
use super::log::{self, LogFormat};
use super::problem::{Finding, Places, Problem, Warning, line_of};
use super::recipients::{Content, Judge};
use super::{aliases, file, recipients, reference, syntax};
use crate::mail::address_table::Key;
use crate::smtp::policy::{Aliases, Listed, RecipientEntry, Recipients};

/// A longer file is no configuration.
const FILE_BYTES_MAX: usize = 16 << 20;

/// A configuration file that was read: what it says, and what is wrong with it.
#[derive(Debug)]
pub struct Reading {
    /// What it says, with defaults in place of what is wrong. `None` when it is not TOML.
    pub config: Option<Config>,
    /// The form of the log that it asks for, also where it is not TOML but for that.
    pub log_format: LogFormat,
    /// Why it cannot be used.
    pub problems: Vec<Problem>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Warning>,
    /// Where its keys stand.
    pub places: Places,
    /// Whom the files of recipients and aliases name; nobody where one of them is not good.
    pub lists: Lists,
}

impl Reading {
    /// What is served without a file.
    pub fn of_embedded_default() -> Self {
        let config = Config::embedded_default();
        Self {
            log_format: config.log.format,
            config: Some(config),
            problems: Vec::new(),
            warnings: Vec::new(),
            places: Places::embedded_default(),
            lists: Lists::default(),
        }
    }

    /// The configuration, unless there are problems.
    pub fn result(self) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
        match self.config {
            Some(config) if self.problems.is_empty() => Ok((config, self.warnings)),
            Some(_) | None => Err(self.problems),
        }
    }

    fn no_toml(file: &str, problems: Vec<Problem>, log_format: LogFormat) -> Self {
        let places = Places::new(file.to_owned(), Vec::new(), Vec::new());
        Self { config: None, log_format, problems, warnings: Vec::new(), places, lists: Lists::default() }
    }
}

/// Reads a configuration file, and the file of recipients that it names.
pub fn read(path: &Path) -> Reading {
    read_with(path, nobody_misnamed, None)
}

/// Reads a configuration file, and the file of recipients that it names. `misnamed`: who knows
/// the names of the store; `key`: that of a table in use.
pub fn read_with(path: &Path, misnamed: MisnamedBy, key: Option<Key>) -> Reading {
    let mut reading = read_alone(path);
    if let Some(config) = &reading.config {
        match read_lists(config, &reading.places, misnamed, key) {
            Ok((lists, warnings)) => {
                reading.lists = lists;
                reading.warnings.extend(warnings);
            }
            Err(problems) => reading.problems.extend(problems),
        }
    }
    reading
}

/// Reads a configuration file and no other one, to serve with it.
pub fn read_alone(path: &Path) -> Reading {
    read_file(path, true)
}

/// The same for who does not serve with it: a process that runs on other cores than the server may.
pub fn read_for_others(path: &Path) -> Reading {
    read_file(path, false)
}

fn read_file(path: &Path, serves: bool) -> Reading {
    let file = path.display().to_string();
    let unusable = |line, text| {
        let finding = Finding { file: file.clone(), line, key: String::new(), text };
        Reading::no_toml(&file, vec![Problem(finding)], LogFormat::default())
    };
    let octets = match file::read(path, FILE_BYTES_MAX) {
        Ok(octets) => octets,
        Err(error) => return unusable(None, file::unreadable(&error)),
    };
    if octets.starts_with(b"\xff\xfe") || octets.starts_with(b"\xfe\xff") {
        return unusable(Some(1), "this file is UTF-16; save it as UTF-8".to_owned());
    }
    let text = match std::str::from_utf8(&octets) {
        Ok(text) => text,
        Err(error) => {
            let before = String::from_utf8_lossy(&octets[..error.valid_up_to()]);
            let line = line_of(&before, before.len());
            return unusable(Some(line), "this is not TOML: it is not UTF-8".to_owned());
        }
    };
    read_text(text, &file, path.parent().unwrap_or(Path::new("")), serves)
}

/// Tells for a configuration what is wrong with the name that its store would give to a recipient.
pub type MisnamedBy = fn(&Config) -> Misnamed;

/// What is wrong with the name that a store would give to a recipient.
pub type Misnamed = Box<dyn Fn(&RecipientEntry) -> Option<String>>;

/// For those who open no store.
fn nobody_misnamed(_config: &Config) -> Misnamed {
    Box::new(|_| None)
}

/// Whom the files name that a configuration names.
#[derive(Debug, Default)]
pub struct Lists {
    /// None where every local-part is taken.
    pub recipients: Option<Listed>,
    /// None of them where no file is named.
    pub aliases: Aliases,
}

impl Lists {
    /// The table of them by the rules of their configuration.
    pub fn into_table(self, config: &Config) -> Recipients {
        Recipients::new(&config.recipient_rules(), self.recipients).with_aliases(self.aliases)
    }
}

/// Whom the files of recipients and aliases name that a configuration names, and what is probably not meant.
pub fn read_lists(
    config: &Config,
    places: &Places,
    misnamed: MisnamedBy,
    key: Option<Key>,
) -> Result<(Lists, Vec<Warning>), Vec<Problem>> {
    // All that is wrong is told, not only what is wrong with the first one.
    let recipients = read_recipients(config, places, misnamed, key);
    let aliases = read_aliases(config, places);
    let ((recipients, mut warnings), (aliases, of_aliases)) = match (recipients, aliases) {
        (Ok(recipients), Ok(aliases)) => (recipients, aliases),
        (recipients, aliases) => {
            let problems = [recipients.err(), aliases.err()];
            return Err(problems.into_iter().flatten().flatten().collect());
        }
    };
    let Some(file) = &config.aliases else { return Ok((Lists { recipients, aliases }, warnings)) };
    warnings.extend(of_aliases);
    warnings.extend(aliases::nobody(file, &aliases));
    let table = Lists { recipients, aliases }.into_table(config);
    warnings.extend(aliases::strangers(file, &table));
    let misnamed = misnamed(config);
    warnings.extend(aliases::misnamed(file, &table, &*misnamed));
    let (recipients, aliases) = table.into_lists();
    Ok((Lists { recipients, aliases }, warnings))
}

fn read_aliases(config: &Config, places: &Places) -> Result<(Aliases, Vec<Warning>), Vec<Problem>> {
    let rules = config.recipient_rules();
    let Some(file) = &config.aliases else {
        return Ok((Aliases::new(rules.local_part_case_sensitive), Vec::new()));
    };
    let octets = aliases::read(file).map_err(|text| {
        let text = format!("{} {text}", file.display());
        vec![Problem(places.finding("aliases", text))]
    })?;
    aliases::parse(file, &octets, &rules)
}

fn read_recipients(
    config: &Config,
    places: &Places,
    misnamed: MisnamedBy,
    key: Option<Key>,
) -> Result<(Option<Listed>, Vec<Warning>), Vec<Problem>> {
    let Some(file) = &config.recipients else { return Ok((None, Vec::new())) };
    let problem = |text| {
        let text = format!("{} {text}", file.display());
        vec![Problem(places.finding("recipients", text))]
    };
    match recipients::read(file).map_err(problem)? {
        Content::Text(octets) => {
            let misnamed = misnamed(config);
            let creates = config.sink.facts().creates_mailboxes();
            let judge = Judge { rules: config.recipient_rules(), creates, misnamed: &*misnamed };
            recipients::table(file, &octets, &judge, key).map(|(listed, warnings)| (Some(listed), warnings))
        }
        Content::Table(listed) => {
            if let Some(text) = recipients::compiled::mismatch(&listed, config.local_part_case_sensitive) {
                return Err(problem(text));
            }
            let warnings = recipients::empty(file, &listed).into_iter().collect();
            Ok((Some(listed), warnings))
        }
    }
}

/// Reads a configuration file, and the file of recipients that it names: the configuration with its warnings,
/// or its problems.
pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    read(path).result()
}

/// Reads a configuration. `file` is its name in problems; relative paths in it start at `base_dir`. Opens no
/// other file.
pub fn parse(text: &str, file: &str, base_dir: &Path) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    read_text(text, file, base_dir, true).result()
}

fn read_text(text: &str, file: &str, base_dir: &Path, serves: bool) -> Reading {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let log_format = log::format_asked_for(text);
        return Reading::no_toml(file, syntax::problems(file, text, &errors), log_format);
    }
    let mut document = Document::new(file, text, base_dir, Some(root.get_ref()), reference::unknown_key);
    document.serves = serves;
    let (config, certificates) = configuration::read(&document);
    let (problems, warnings, found) = document.into_findings();
    let places = Places::new(file.to_owned(), found, certificates);
    let log_format = config.log.format;
    Reading { config: Some(config), log_format, problems, warnings, places, lists: Lists::default() }
}

impl Config {
    /// What `ringmx` does without a configuration file: it takes mail for anyone on loopback, into one
    /// maildir below the working directory.
    pub fn embedded_default() -> Self {
        let parsed = parse(include_str!("default.toml"), "default.toml", Path::new(""));
        // The text is part of the program and is tested; nothing of the machine can make it bad.
        parsed.expect("the embedded configuration is good").0
    }
}
