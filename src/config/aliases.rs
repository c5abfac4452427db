//! The file of aliases: `from: to, to` a line. Aliases that stand for aliases are resolved here, so that at
//! RCPT each stands for mailboxes.

use std::collections::HashMap;
use std::path::Path;

use super::problem::{Finding, Problem, Warning};
use super::recipients::{Noted, Reach};
use super::{file, invisible, names};
use crate::limits::ALIAS_TARGETS_MAX;
use crate::mail::caseless::comparable;
use crate::smtp::policy::{Aliases, Policy, RecipientEntry, RecipientRules, Recipients, Verdict};

/// A longer file is no file of aliases: one of this length has half a million.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// Mailboxes that all aliases may stand for together, each counted as often as it is named, when aliases that
/// stand for aliases are resolved.
const RESOLVED_MAX: usize = 4 << 20;

/// So often an alias may stand for an alias that stands for an alias.
const DEPTH_MAX: usize = 50;

/// One line.
struct Line {
    number: usize,
    /// The alias, whole.
    name: String,
    /// What it stands for, whole.
    targets: Vec<String>,
}

/// The octets of a file, which is no device without an end. The text of an error is without its name.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    file::read(path, FILE_BYTES_MAX).map_err(|error| file::unreadable(&error))
}

/// The aliases of a file with these octets, and those that get no mail; or every line that is wrong. `path`
/// is its name in findings.
pub fn parse(
    path: &Path,
    octets: &[u8],
    rules: &RecipientRules<'_>,
) -> Result<(Aliases, Vec<Warning>), Vec<Problem>> {
    let mut bad = Noted::default();
    let lines = lines(octets, &mut bad);
    let mut resolver = Resolver::new(&lines, rules, &mut bad);
    let mut aliases = Aliases::new(rules.local_part_case_sensitive);
    if bad.is_empty() {
        match resolver.resolve_all() {
            Ok(resolved) => resolver.write(&resolved, &mut aliases),
            Err((line, why)) => bad.note(line, Some(why)),
        }
    }
    if bad.is_empty() {
        return Ok((aliases, unreached(path, &lines, rules)));
    }
    Err(bad.into_findings(path, "more lines are not aliases").into_iter().map(Problem).collect())
}

/// Aliases for whom RCPT is refused before anybody asks what they stand for.
fn unreached(path: &Path, lines: &[Line], rules: &RecipientRules<'_>) -> Vec<Warning> {
    let (reach, mut odd) = (Reach::new(rules, true), Noted::default());
    for line in lines {
        let (local_part, domain) = line.name.rsplit_once('@').unwrap_or_default();
        let entry = RecipientEntry::Mailbox { local_part: local_part.into(), domain: domain.into() };
        odd.note(line.number, reach.fault(&entry));
    }
    odd.into_warnings(path)
}

/// That a file holds no alias, if so.
pub(super) fn nobody(path: &Path, aliases: &Aliases) -> Option<Warning> {
    let text = "this file holds no alias; write `from: to, to` a line, or leave `aliases` out";
    let file = path.display().to_string();
    (aliases.count() == 0)
        .then(|| Warning(Finding { file, line: None, key: String::new(), text: text.into() }))
}

/// Mailboxes that aliases stand for and that get no mail of their own: the sink has to know what to do with
/// them.
pub(super) fn strangers(path: &Path, table: &Recipients) -> Vec<Warning> {
    let mut found = Noted::default();
    for mailbox in table.aliases().mailboxes() {
        let why = match table.recipient(mailbox) {
            Verdict::Accept => continue,
            Verdict::ForeignDomain => "`domains` does not accept its domain",
            Verdict::DomainWithoutMail => "`domains_without_mail` has its domain",
            Verdict::DeniedLocalPart => "`local_part_deny` or `local_part_leading_dot` denies it",
            Verdict::UnknownRecipient
            | Verdict::Unstorable
            | Verdict::MailboxFull
            | Verdict::TryAgain
            | Verdict::Denied(_) => "`recipients` does not list it",
        };
        let whole = String::from_utf8_lossy(mailbox.whole);
        found.note(
            0,
            Some(format!(
                "aliases stand for {whole:?}, which is no recipient of ours ({why}): the sink gets its mail all the same; correct the \
                 address, or list it"
            )),
        );
    }
    let unnumbered = |finding: Finding| Warning(Finding { line: None, ..finding });
    found.into_findings(path, "more of them are no recipients of ours").into_iter().map(unnumbered).collect()
}

/// Mailboxes that aliases stand for and that the store cannot name.
pub(super) fn misnamed(
    path: &Path,
    table: &Recipients,
    misnamed: &dyn Fn(&RecipientEntry) -> Option<String>,
) -> Vec<Warning> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut found = Noted::default();
    for mailbox in table.aliases().mailboxes() {
        let (local_part, domain) = (text(mailbox.local_part), text(mailbox.domain));
        let why = misnamed(&RecipientEntry::Mailbox { local_part, domain });
        found.note(0, why.map(|why| format!("{:?}: {why}", text(mailbox.whole))));
    }
    let unnumbered = |finding: Finding| Warning(Finding { line: None, ..finding });
    found.into_findings(path, "more like these").into_iter().map(unnumbered).collect()
}

fn lines(octets: &[u8], bad: &mut Noted) -> Vec<Line> {
    // Editors of Windows write a byte order mark in front of the first line, and no editor shows it.
    let octets = octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets);
    let mut lines = Vec::new();
    for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        let number = index + 1;
        match entry(line) {
            Ok(Some((name, targets))) => lines.push(Line { number, name, targets }),
            Ok(None) => {}
            Err(why) => bad.note(number, Some(why)),
        }
    }
    lines
}

/// One line; none for a blank one and a comment.
fn entry(line: &[u8]) -> Result<Option<(String, Vec<String>)>, String> {
    let text = std::str::from_utf8(line)
        .map_err(|_| "this line is not UTF-8; save the file as UTF-8".to_owned())?
        .trim_matches(|c: char| c.is_ascii_whitespace());
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    if let Some((before, odd)) = invisible::find(text).filter(|(_, odd)| *odd != '\t') {
        return Err(format!("character {}: {}", before + 1, invisible::fault(odd)));
    }
    let mut parts = split(text, ':');
    let name = parts.next().unwrap_or_default();
    let targets = parts.next().ok_or("this is no alias; write `from: to, to`")?;
    if parts.next().is_some() {
        return Err(
            "it has more than one `:`; write `from: to, to`, and what holds a `:` in quotes".to_owned()
        );
    }
    if name.starts_with('@') {
        return Err(format!("{name:?} is no address; a whole domain cannot be an alias"));
    }
    let mailbox = |text: &str| names::mailbox(text).map(|(local, domain)| format!("{local}@{domain}"));
    let named: Vec<&str> = split(targets, ',').filter(|target| !target.is_empty()).collect();
    if named.is_empty() {
        return Err(format!("{name:?} stands for nobody; write whom after the `:`"));
    }
    if named.len() > ALIAS_TARGETS_MAX {
        return Err(format!(
            "{name:?} stands for {} mailboxes; {ALIAS_TARGETS_MAX} may be named",
            named.len()
        ));
    }
    let targets = named.into_iter().map(mailbox).collect::<Result<_, _>>()?;
    if names::is_pattern(name.rsplit_once('@').map_or("", |(local_part, _)| local_part)) {
        return Err(format!(
            "{name:?} is a pattern, and aliases are compared as they are; a mailbox of this very name is written in quotes"
        ));
    }
    Ok(Some((mailbox(name)?, targets)))
}

/// The parts of a text between these characters, outside of quotes.
fn split(text: &str, between: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let is_end = move |c: char| {
        let ends = c == between && !quoted;
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && quoted && !escaped;
        ends
    };
    text.split(is_end).map(|part| part.trim_matches(|c: char| c.is_ascii_whitespace()))
}

/// How far an alias is resolved.
#[derive(Clone)]
enum Progress {
    Untouched,
    UnderWay,
    /// The numbers of its mailboxes.
    Done(Vec<u32>),
}

/// Follows aliases to mailboxes.
struct Resolver<'a> {
    lines: &'a [Line],
    rules: &'a RecipientRules<'a>,
    /// The line of an alias, by its comparable spelling.
    by_name: HashMap<Vec<u8>, usize>,
    progress: Vec<Progress>,
    /// Numbers of mailboxes, by their comparable spelling.
    numbers: HashMap<Vec<u8>, u32>,
    mailboxes: Vec<&'a str>,
    resolved: usize,
}

impl<'a> Resolver<'a> {
    fn new(lines: &'a [Line], rules: &'a RecipientRules<'a>, bad: &mut Noted) -> Self {
        let mut by_name: HashMap<Vec<u8>, usize> = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            let first = *by_name.entry(compared(&line.name, rules)).or_insert(index);
            if let Some(first) = lines.get(first).filter(|_| first != index) {
                let (name, number) = (&line.name, first.number);
                bad.note(
                    line.number,
                    Some(format!("{name:?} is an alias already, in line {number}; write all in one line")),
                );
            }
        }
        let progress = vec![Progress::Untouched; lines.len()];
        Self { lines, rules, by_name, progress, numbers: HashMap::new(), mailboxes: Vec::new(), resolved: 0 }
    }

    /// What each alias stands for; or the line that is wrong, and why.
    fn resolve_all(&mut self) -> Result<Vec<Vec<u32>>, (usize, String)> {
        (0..self.lines.len()).map(|index| self.resolve(index, &mut Vec::new())).collect()
    }

    /// `through`: the aliases on the way here.
    fn resolve(&mut self, index: usize, through: &mut Vec<usize>) -> Result<Vec<u32>, (usize, String)> {
        let lines = self.lines;
        let Some((line, progress)) = lines.get(index).zip(self.progress.get_mut(index)) else {
            return Ok(Vec::new());
        };
        match progress {
            Progress::Done(numbers) => return Ok(numbers.clone()),
            Progress::UnderWay => {
                let begin = through.iter().position(|passed| *passed == index).unwrap_or_default();
                let circle = through.iter().skip(begin).chain([&index]).filter_map(|index| lines.get(*index));
                let names: Vec<_> = circle.map(|line| line.name.as_str()).collect();
                let why = "an alias that stands for itself this way never ends; take one of them out";
                return Err((line.number, format!("{}: {why}", names.join(" -> "))));
            }
            Progress::Untouched => *progress = Progress::UnderWay,
        }
        if through.len() > DEPTH_MAX {
            return Err((
                line.number,
                format!("aliases stand for aliases {DEPTH_MAX} deep; name the mailboxes"),
            ));
        }
        through.push(index);
        let mut numbers = Vec::new();
        for target in &line.targets {
            let found = match self.by_name.get(&compared(target, self.rules)) {
                // Who stands for itself, and others, keeps a copy.
                Some(own) if *own == index => vec![self.number(target)],
                Some(other) => self.resolve(*other, through)?,
                None => vec![self.number(target)],
            };
            numbers.extend(found);
        }
        through.pop();
        let mut seen = std::collections::HashSet::new();
        numbers.retain(|number| seen.insert(*number));
        if numbers.len() > ALIAS_TARGETS_MAX {
            let (name, count) = (&line.name, numbers.len());
            return Err((
                line.number,
                format!("{name:?} stands for {count} mailboxes, through others; {ALIAS_TARGETS_MAX} it may"),
            ));
        }
        self.resolved += numbers.len();
        if self.resolved > RESOLVED_MAX {
            let why =
                format!("up to here aliases stand for {RESOLVED_MAX} mailboxes, more than there is room for");
            return Err((line.number, why));
        }
        if let Some(progress) = self.progress.get_mut(index) {
            *progress = Progress::Done(numbers.clone());
        }
        Ok(numbers)
    }

    fn number(&mut self, mailbox: &'a str) -> u32 {
        let next = u32::try_from(self.mailboxes.len()).expect("the file is bounded");
        let number = *self.numbers.entry(compared(mailbox, self.rules)).or_insert(next);
        if number == next {
            self.mailboxes.push(mailbox);
        }
        number
    }

    fn write(&self, resolved: &[Vec<u32>], aliases: &mut Aliases) {
        for mailbox in &self.mailboxes {
            aliases.add_mailbox(mailbox.as_bytes(), self.rules.delimiters);
        }
        for (line, numbers) in self.lines.iter().zip(resolved) {
            aliases.add(line.name.as_bytes(), numbers);
        }
    }
}

fn compared(whole: &str, rules: &RecipientRules<'_>) -> Vec<u8> {
    if rules.local_part_case_sensitive {
        whole.as_bytes().to_vec()
    } else {
        comparable(whole.as_bytes()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::mail::envelope::Mailbox;

    fn parsed(text: &str) -> Result<Aliases, Vec<String>> {
        let config = Config::embedded_default();
        let parsed = parse(Path::new("a"), text.as_bytes(), &config.recipient_rules());
        parsed
            .map(|(aliases, _)| aliases)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// Whom mail for somebody goes to.
    fn targets(text: &str, name: &str) -> Option<Vec<String>> {
        let config = Config::embedded_default();
        let table =
            Recipients::new(&config.recipient_rules(), None).with_aliases(parsed(text).expect("good"));
        let targets = table.aliased(Mailbox::of_whole(name.as_bytes()))?;
        Some(targets.map(|mailbox| String::from_utf8_lossy(mailbox.whole).into_owned()).collect())
    }

    #[test]
    fn an_alias_stands_for_mailboxes_whatever_it_goes_through() {
        let text = "# ours\r\n\r\nAll@x.test: team@x.test ,Boss@X.test,team@x.test\r\nteam@x.test:anna@x.test, berta@x.test\r\n\
                    \"a: b\"@x.test: \"c, d\"@x.test\nanna@x.test: anna@x.test, copy@x.test\n";
        let all = ["anna@x.test", "copy@x.test", "berta@x.test", "Boss@x.test"];
        assert_eq!(targets(text, "ALL@x.test").expect("an alias"), all);
        assert_eq!(targets(text, "team@x.test").expect("an alias"), all[..3]);
        assert_eq!(targets(text, "anna@x.test").expect("an alias"), all[..2], "it keeps a copy");
        assert_eq!(targets(text, "\"a: b\"@x.test").expect("an alias"), ["\"c, d\"@x.test"]);
        assert_eq!(targets(text, "berta@x.test"), None);
    }

    #[test]
    fn an_alias_that_no_rcpt_reaches_is_told_with_its_line() {
        let domains = [crate::mail::domain::DomainPattern::Exact("x.test".into())];
        let config = Config::embedded_default();
        let rules = RecipientRules { domains: &domains, local_part_deny: "%", ..config.recipient_rules() };
        let text =
            "a@x.test: b@x.test\na@y.test: b@x.test\n\"a%b\"@x.test: b@x.test\n\".a\"@x.test: b@x.test\n";
        let (_, warnings) = parse(Path::new("a"), text.as_bytes(), &rules).expect("good");
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for (told, why) in
            told.iter().zip(["a:2: `domains` does", "a:3: `local_part_deny` holds", "a:4: `local_part_l"])
        {
            assert!(told.starts_with(why), "{told}");
        }
    }

    #[test]
    fn a_line_that_is_no_alias_is_told_with_its_number() {
        for (text, told) in [
            ("a@x.test b@x.test", "a:1: this is no alias; write `from: to, to`"),
            ("a@x.test:", "a:1: \"a@x.test\" stands for nobody; write whom after the `:`"),
            ("#\na@x.test: b", "a:2: \"b\" is not an address: it has no `@domain`"),
            (
                "info-*@x.test: b@x.test",
                "a:1: \"info-*@x.test\" is a pattern, and aliases are compared as they are; a mailbox of this very name is written in \
                 quotes",
            ),
            ("@x.test: b@x.test", "a:1: \"@x.test\" is no address; a whole domain cannot be an alias"),
            (
                "a@x.test: b@x.test: c@x.test",
                "a:1: it has more than one `:`; write `from: to, to`, and what holds a `:` in quotes",
            ),
            (
                "a@x.test: b@x.test\nA@x.test: c@x.test",
                "a:2: \"A@x.test\" is an alias already, in line 1; write all in one line",
            ),
        ] {
            assert_eq!(parsed(text).expect_err("a problem"), [told]);
        }
        let many = (0..101).map(|number| format!("m{number}@x.test")).collect::<Vec<_>>().join(",");
        let told = parsed(&format!("a@x.test: {many}")).expect_err("too many");
        assert_eq!(told, ["a:1: \"a@x.test\" stands for 101 mailboxes; 100 may be named"]);
    }

    #[test]
    fn aliases_that_go_in_a_circle_are_told_with_the_line_and_the_way() {
        let told = parsed("z@x.test: a@x.test\na@x.test: b@x.test\nb@x.test: c@x.test, a@x.test")
            .expect_err("a circle");
        let way = "a@x.test -> b@x.test -> a@x.test";
        assert_eq!(
            told,
            [format!(
                "a:2: {way}: an alias that stands for itself this way never ends; take one of them out"
            )]
        );
    }

    #[test]
    fn what_aliases_stand_for_is_bounded_whatever_they_go_through() {
        // Each stands for the next one twice: followed anew each time, this would not end.
        let line = |number: usize| {
            format!(
                "a{number}@x.test: a{0}@x.test, b{number}@x.test, c{number}@x.test\nb{number}@x.test: a{0}@x.test\n",
                number + 1
            )
        };
        let chain: String = (0..40).map(line).collect();
        assert_eq!(targets(&chain, "a0@x.test").map(|targets| targets.len()), Some(41));
        let deep: String = (0..60)
            .map(|number| format!("a{number}@x.test: a{}@x.test", number + 1))
            .collect::<Vec<_>>()
            .join("\n");
        assert!(parsed(&deep).expect_err("too deep")[0].contains("50 deep"));
        let wide = |from: usize| {
            (from..from + 60).map(|number| format!("m{number}@x.test")).collect::<Vec<_>>().join(",")
        };
        let text = format!("a@x.test: b@x.test, c@x.test\nb@x.test: {}\nc@x.test: {}", wide(0), wide(50));
        let told = parsed(&text).expect_err("too many");
        assert_eq!(told, ["a:1: \"a@x.test\" stands for 110 mailboxes, through others; 100 it may"]);
    }
}
