//! Findings as a text for the operator, or as a shell script of their cures.

use std::fmt::Write;

use super::finding::{Finding, Severity};

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Fails => "FAILS",
            Self::Limits => "limits",
            Self::Hint => "hint",
            Self::Note => "note",
        }
    }
}

/// Every finding: how bad, what, the value, why it matters, and what cures it.
pub fn text(subject: &str, findings: &[(&str, Finding)]) -> String {
    let mut text = format!("ringmx doctor: {}\n", one_line(subject));
    text.push_str(
        "Limits and control groups are those of this process: run it as the user and in the unit that ringmx runs in.\n",
    );
    for (name, Finding { severity, value, why, cure }) in findings {
        // Writing to a String does not fail.
        let _ =
            write!(text, "\n{:<7} {name}: {}\n        {}\n", severity.word(), one_line(value), one_line(why));
        for line in cure {
            let mark = if line.starts_with('#') { "" } else { "$ " };
            let _ = writeln!(text, "        {mark}{line}");
        }
    }
    let count = |severity| findings.iter().filter(|(_, finding)| finding.severity == severity).count();
    let counts = [Severity::Fails, Severity::Limits, Severity::Hint, Severity::Note]
        .map(|severity| format!("{} {}", severity.word(), count(severity)));
    let _ = writeln!(text, "\n{}", counts.join(", "));
    text
}

/// The cures only, each below what it cures.
pub fn script(subject: &str, findings: &[(&str, Finding)]) -> String {
    let mut text = format!(
        "#!/bin/sh\n# What `ringmx doctor` would change here, worst first: {}\n# Nothing was changed yet. Read it, \
         take what fits, run it as root.\n",
        one_line(subject)
    );
    for (name, finding) in findings.iter().filter(|(_, finding)| !finding.cure.is_empty()) {
        let (word, value, why) = (finding.severity.word(), one_line(&finding.value), one_line(&finding.why));
        let _ = writeln!(text, "\n# {word} {name}: {value}\n# {why}");
        for line in &finding.cure {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// A path may hold anything; what follows a line end in a comment would be a command.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// A word of a shell script, whatever it holds. For paths: these must not end a line that may be a comment.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", one_line(word).replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<(&'static str, Finding)> {
        vec![
            (
                "open files",
                Finding::new(Severity::Fails, "5\nrm -rf x", "too few").cure("# or so").cure("ulimit -n 9"),
            ),
            ("huge pages", Finding::new(Severity::Note, "always", "is well")),
        ]
    }

    #[test]
    fn a_report_says_it_all() {
        let text = text("here", &findings());
        assert!(
            text.contains(
                "FAILS   open files: 5?rm -rf x\n        too few\n        # or so\n        $ ulimit -n 9\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("\nFAILS 1, limits 0, hint 0, note 1\n"), "{text}");
    }

    #[test]
    fn a_script_holds_cures_and_comments_only() {
        let script = script("here\nreboot", &findings());
        let commands: Vec<&str> =
            script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert_eq!(commands, ["ulimit -n 9"], "{script}");
        assert!(!script.contains("huge pages"));
    }

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quoted("/a b'c\nd"), "'/a b'\\''c?d'");
    }
}
