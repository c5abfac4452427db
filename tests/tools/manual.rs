//! What the program says of itself for others: manual pages and completions.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn ringmx(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmx")).args(arguments).output().expect("it runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Whether this program is there. Without it the test is skipped, and under CI it fails.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdin(Stdio::null()).output().is_ok();
    if !found {
        println!("skipped: no {program} (Debian package of that name)");
        assert!(std::env::var_os("CI").is_none(), "it could have been installed");
    }
    found
}

/// Every command with its subcommands, as the help texts name them.
fn commands() -> Vec<String> {
    let below = |command: &[&str]| -> Vec<String> {
        let help = text(&ringmx(&[command, &["--help"]].concat()).stdout);
        let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
        let list = list.split("\n\n").next().unwrap_or_default();
        let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
        list.lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(first)
            .collect()
    };
    let mut all = vec!["ringmx".to_owned()];
    for name in below(&[]).into_iter().filter(|name| name != "help") {
        all.push(format!("ringmx-{name}"));
        for inner in below(&[&name]).into_iter().filter(|inner| inner != "help") {
            all.push(format!("ringmx-{name}-{inner}"));
        }
    }
    all
}

#[test]
fn every_subcommand_and_every_key_has_its_place_in_the_manual() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("man");
    let dir = dir.to_str().expect("UTF-8");
    assert!(ringmx(&["man", dir]).status.success());
    let commands = commands();
    assert!(commands.len() > 12, "{commands:?}");
    for name in &commands {
        let page =
            fs::read_to_string(format!("{dir}/{name}.8")).unwrap_or_else(|_| panic!("no page {name}.8"));
        for heading in
            [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH \"EXIT STATUS\"", ".SH \"SEE ALSO\""]
        {
            assert!(page.contains(heading), "{name}: {heading}");
        }
    }
    let page = fs::read_to_string(format!("{dir}/ringmx.toml.5")).expect("the page of the configuration");
    for (key, _) in ringmx::config::keys() {
        let name = key.rsplit('.').next().unwrap_or_default();
        assert!(page.contains(&format!("\\fB{name}\\fR = ")), "{key} is not in ringmx.toml(5)");
    }
}

#[test]
fn mandoc_finds_no_fault_with_the_manual() {
    // It knows no --version, and ends with an error that says so.
    if !has("mandoc") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("UTF-8");
    assert!(ringmx(&["man", dir]).status.success());
    let pages = fs::read_dir(dir).expect("pages").map(|page| page.expect("a page").path());
    let output = Command::new("mandoc").arg("-Tlint").args(pages).output().expect("it runs");
    let found = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && found.is_empty(), "{found}");
}

/// What a shell says when it is given this on standard input.
fn shell(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("standard input").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn completion(shell: &str) -> String {
    let output = ringmx(&["completion", shell]);
    assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn bash_completes_subcommands_and_options() {
    let script = completion("bash")
        + "\nCOMP_WORDS=(ringmx spool e) COMP_CWORD=2\n_ringmx ringmx e spool\necho \"${COMPREPLY[@]}\"\n\
           COMP_WORDS=(ringmx doctor --s) COMP_CWORD=2\n_ringmx ringmx --s doctor\necho \"${COMPREPLY[@]}\"\n";
    let (done, said) = shell("bash", &["--norc", "-u"], &script);
    assert!(done && said == "export\n--script\n", "{said}");
}

#[test]
fn zsh_takes_the_completion() {
    if !has("zsh") {
        return;
    }
    let script = "autoload -Uz compinit && compinit -u -D\n".to_owned()
        + &completion("zsh")
        + "\nprint -- ${+functions[_ringmx]} $_comps[ringmx]\n";
    let (done, said) = shell("zsh", &["-f"], &script);
    assert!(done && said == "1 _ringmx\n", "{said}");
}

#[test]
fn fish_completes_subcommands_and_options() {
    if !has("fish") {
        return;
    }
    let script = completion("fish")
        + "\ncomplete -C 'ringmx spool e' | string split -f 1 \\t\n\
         complete -C 'ringmx doctor --sc' | string split -f 1 \\t\n";
    let (done, said) = shell("fish", &["--no-config"], &script);
    assert!(done && said == "export\n--script\n", "{said}");
}

#[test]
fn a_shell_that_is_unknown_is_told_which_are_known() {
    let output = ringmx(&["completion", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("bash"), "{}", text(&output.stderr));
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let below = file.join("man");
    let output = ringmx(&["man", below.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(below.to_str().expect("UTF-8")), "{}", text(&output.stderr));
}

#[test]
fn the_tlsa_record_is_that_of_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(env!("CARGO_BIN_EXE_ringmx"))
        .args(["cert", "self-signed", "mx1.example.org", "*.example.org"])
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    assert!(made.status.success());
    let chain = folder.path().join("mx1.example.org.pem");
    let chain = chain.to_str().expect("UTF-8");
    let record = text(&ringmx(&["cert", "tlsa", chain]).stdout);
    let (head, digest) = record.trim_end().rsplit_once(' ').expect("a record");
    assert_eq!(head, "_25._tcp.mx1.example.org. IN TLSA 3 1 1", "a wildcard is no host");
    let other = text(&ringmx(&["cert", "tlsa", chain, "--host", "MX2.example.org.", "--port", "465"]).stdout);
    assert_eq!(other.trim_end(), format!("_465._tcp.mx2.example.org. IN TLSA 3 1 1 {digest}"));
    if has("openssl") {
        let said = format!(
            "openssl x509 -in '{chain}' -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"
        );
        let output = Command::new("sh").args(["-c", &said]).output().expect("it runs");
        assert_eq!(text(&output.stdout).split_whitespace().next(), Some(digest));
    }
    let key = chain.replace(".pem", ".key");
    let refused = ringmx(&["cert", "tlsa", &key]);
    assert!(!refused.status.success() && text(&refused.stderr).contains(&key), "{}", text(&refused.stderr));
}
