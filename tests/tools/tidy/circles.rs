//! Circles of files: files that need one another, so that none of them can be read, tested or taken away
//! alone.
//!
//! A file needs another one when it names an item that is defined there. What only hands names on (`pub use`
//! of a child, `mod`) needs nothing; a name that was handed on is followed to where it is defined. Tests
//! inside the sources do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::sources;

/// A module by its path below the crate's root, which itself is empty.
type Module = Vec<String>;

/// A module and an item of it; no item where the module itself is named.
type Place = (Module, Option<String>);

/// A path as it is written.
struct Mention {
    path: Vec<String>,
    /// In a `use`, and in one that is not private.
    is_use: bool,
    is_public: bool,
}

/// The circles below a folder with the sources of a crate of this name: the names of their files, sorted.
pub(super) fn circles(root: &Path, name: &str) -> Vec<Vec<String>> {
    let mut modules = BTreeMap::new();
    for file in sources(root) {
        let below = file.strip_prefix(root).expect("below").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("readable source");
        modules.insert(module_of(&below), (below, mentions(&text)));
    }
    let edges = Names::new(name, &modules).edges();
    let groups = strongly_connected(&edges);
    let names = |group: Vec<Module>| {
        let mut names: Vec<String> = group.iter().map(|module| modules[module].0.clone()).collect();
        names.sort();
        names
    };
    groups.into_iter().map(names).collect()
}

/// No circles but those that are allowed, whole or in part; an allowed one that is no more has to be taken
/// away.
pub(super) fn hold(root: &Path, name: &str, allowed: &[&[&str]]) {
    let found = circles(root, name);
    let is_inside = |circle: &[String], of: &[&str]| circle.iter().all(|file| of.contains(&file.as_str()));
    let mut wrong = Vec::new();
    for circle in &found {
        if allowed.iter().any(|of| is_inside(circle, of)) {
            println!("still a circle: {}", circle.join(", "));
        } else {
            wrong.push(format!("a circle: {}", circle.join(", ")));
        }
    }
    for of in allowed.iter().filter(|of| !found.iter().any(|circle| is_inside(circle, of))) {
        wrong.push(format!("no circle any more, take it away: {}", of.join(", ")));
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

/// `shard/mod.rs` is `shard`, `lib.rs` is the root, `main.rs` is a crate of its own.
fn module_of(file: &str) -> Module {
    let mut parts: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

fn is_test(module: &Module) -> bool {
    module.iter().any(|part| part == "tests" || part == "fuzzing" || part.ends_with("_tests"))
}

/// What the names of a crate stand for.
struct Names<'a> {
    name: &'a str,
    modules: &'a BTreeMap<Module, (String, Vec<Mention>)>,
    /// Names that a `pub use` hands on, and what they stand for.
    handed_on: BTreeMap<(Module, String), Place>,
    /// Modules that a module imports, by their names there.
    imported: BTreeMap<(Module, String), Module>,
}

impl<'a> Names<'a> {
    fn new(name: &'a str, modules: &'a BTreeMap<Module, (String, Vec<Mention>)>) -> Self {
        let mut names = Self { name, modules, handed_on: BTreeMap::new(), imported: BTreeMap::new() };
        for (module, (_, mentions)) in modules {
            for mention in mentions.iter().filter(|mention| mention.is_use) {
                match names.place(module, &mention.path) {
                    Some((target, Some(item))) if mention.is_public => {
                        names.handed_on.insert((module.clone(), item.clone()), (target, Some(item)));
                    }
                    Some((target, None)) => {
                        let name = target.last().cloned().unwrap_or_default();
                        names.imported.insert((module.clone(), name), target);
                    }
                    Some(_) | None => {}
                }
            }
        }
        names
    }

    /// Which modules each module needs.
    fn edges(&self) -> BTreeMap<&'a Module, BTreeSet<&'a Module>> {
        let mut edges = BTreeMap::new();
        for (module, (_, mentions)) in self.modules {
            let needed: &mut BTreeSet<&Module> = edges.entry(module).or_default();
            for mention in mentions.iter().filter(|_| !is_test(module)) {
                let Some((target, Some(item))) = self.place(module, &mention.path) else { continue };
                if mention.is_public && target.starts_with(module) {
                    continue;
                }
                let defined = self.defined(target, item);
                if defined != *module && !is_test(&defined) {
                    needed.extend(self.modules.get_key_value(&defined).map(|(known, _)| known));
                }
            }
        }
        edges
    }

    /// What a path stands for that is written in this module; none outside of the crate.
    fn place(&self, module: &Module, path: &[String]) -> Option<Place> {
        let mut parts = path.iter().peekable();
        let first = parts.peek()?.as_str();
        let target = match first {
            "self" => module.clone(),
            "super" => {
                let mut outer = module.clone();
                while parts.next_if(|part| *part == "super").is_some() {
                    outer.pop();
                }
                return Some(self.descend(outer, parts));
            }
            "crate" => Module::new(),
            first if first == self.name => Module::new(),
            name => {
                let child = [&module[..], &[name.to_owned()]].concat();
                let known = self.modules.contains_key(&child).then_some(child);
                known.or_else(|| self.imported.get(&(module.clone(), name.to_owned())).cloned())?
            }
        };
        parts.next();
        Some(self.descend(target, parts))
    }

    fn descend<'p>(&self, mut module: Module, parts: impl Iterator<Item = &'p String>) -> Place {
        for part in parts {
            module.push(part.clone());
            if !self.modules.contains_key(&module) {
                module.pop();
                return (module, Some(part.clone()));
            }
        }
        (module, None)
    }

    /// Where an item is defined.
    fn defined(&self, mut module: Module, mut item: String) -> Module {
        let mut seen = BTreeSet::new();
        while seen.insert((module.clone(), item.clone())) {
            let Some((next, Some(name))) = self.handed_on.get(&(module.clone(), item.clone())) else { break };
            (module, item) = (next.clone(), name.clone());
        }
        module
    }
}

/// Groups of more than one module of which each reaches each (Tarjan).
fn strongly_connected<'a>(edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<Module>> {
    struct Walk<'a, 'e> {
        edges: &'e BTreeMap<&'a Module, BTreeSet<&'a Module>>,
        /// The order in which modules were met, and the first one that each reaches.
        met: BTreeMap<&'a Module, (usize, usize)>,
        open: Vec<&'a Module>,
        groups: Vec<Vec<Module>>,
    }
    impl<'a> Walk<'a, '_> {
        fn visit(&mut self, module: &'a Module) -> usize {
            let order = self.met.len();
            self.met.insert(module, (order, order));
            self.open.push(module);
            let mut first = order;
            for needed in &self.edges[module] {
                match self.met.get(needed) {
                    None => first = first.min(self.visit(needed)),
                    Some((at, _)) if self.open.contains(needed) => first = first.min(*at),
                    Some(_) => {}
                }
            }
            if first == order {
                let start = self.open.iter().position(|open| *open == module).expect("it is open");
                let group: Vec<Module> = self.open.drain(start..).cloned().collect();
                if group.len() > 1 {
                    self.groups.push(group);
                }
            }
            first
        }
    }
    let mut walk = Walk { edges, met: BTreeMap::new(), open: Vec::new(), groups: Vec::new() };
    for module in edges.keys() {
        if !walk.met.contains_key(module) {
            walk.visit(module);
        }
    }
    walk.groups
}

/// Every path that a source names outside of its tests.
fn mentions(text: &str) -> Vec<Mention> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let tokens = tokens(code);
    let mut mentions = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let is_public = at > 0 && matches!(tokens[at - 1], "pub" | ")");
            let end = at + tokens[at..].iter().position(|token| *token == ";").unwrap_or(tokens.len() - at);
            let mut paths = Vec::new();
            expand(&mut Vec::new(), &mut tokens[at + 1..end].iter(), &mut paths);
            mentions.extend(paths.into_iter().map(|path| Mention { path, is_use: true, is_public }));
            at = end;
        } else if is_name(tokens[at]) {
            let mut path = vec![tokens[at].to_owned()];
            while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|next| is_name(next)) {
                path.push(tokens[at + 2].to_owned());
                at += 2;
            }
            if path.len() > 1 {
                mentions.push(Mention { path, is_use: false, is_public: false });
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    mentions
}

/// The paths of a tree of imports, up to the end of its group.
fn expand<'t>(
    prefix: &mut Vec<String>,
    rest: &mut impl Iterator<Item = &'t &'t str>,
    out: &mut Vec<Vec<String>>,
) {
    let depth = prefix.len();
    let mut is_open = false;
    while let Some(token) = rest.next() {
        match *token {
            "{" => {
                expand(prefix, rest, out);
                is_open = false;
                prefix.truncate(depth);
            }
            "," | "}" => {
                if is_open {
                    out.push(prefix.clone());
                }
                is_open = false;
                prefix.truncate(depth);
                if *token == "}" {
                    return;
                }
            }
            // Its name here does not matter.
            "as" => {
                rest.next();
            }
            "::" => {}
            name => {
                prefix.push(name.to_owned());
                is_open = true;
            }
        }
    }
    if is_open {
        out.push(prefix.clone());
    }
    prefix.truncate(depth);
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single characters, without comments and texts.
pub(super) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            text_length(rest)
        } else {
            let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let length = if rest.starts_with("::") { 2 } else { name.max(first.len_utf8()) };
            // A quotation mark as a character.
            let length = if rest.starts_with("'\"'") { 3 } else { length };
            if !first.is_whitespace() {
                tokens.push(&rest[..length]);
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// Octets of a text with its quotation marks.
fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => return at + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    rest.len()
}

#[test]
fn a_circle_is_found_whatever_way_it_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a source");
    };
    write("lib.rs", "pub mod a; pub mod b; pub mod room; pub mod plain;\npub use room::inner::Moved;\n");
    write(
        "a.rs",
        "use crate::{plain::Value, b::{self, Second}};\n// use crate::room::Other;\npub struct First(Second);",
    );
    write("b.rs", "pub struct Second; fn f() { let _ = super::a::First; }");
    write(
        "plain.rs",
        "pub struct Value; const TEXT: &str = \"crate::a::First\";\n#[cfg(test)]\nmod tests { use crate::a::First; }",
    );
    write("room/mod.rs", "pub mod inner; pub mod outer;\npub use inner::Moved;\npub struct Shared;");
    write("room/inner.rs", "pub struct Moved(super::Shared);");
    write("room/outer.rs", "use crate::Moved as Other; pub struct Outer;");
    let found = circles(folder.path(), "toy");
    assert_eq!(found, [vec!["a.rs", "b.rs"]]);
    write(
        "room/mod.rs",
        "pub mod inner; pub mod outer;\npub use inner::Moved;\npub struct Shared(outer::Outer);",
    );
    let found = circles(folder.path(), "toy");
    assert_eq!(found, [vec!["a.rs", "b.rs"], vec!["room/inner.rs", "room/mod.rs", "room/outer.rs"]]);
}
