//! Files of /proc and /sys below a root, so that tests bring trees of their own.

use std::path::{Path, PathBuf};

/// A root directory with `proc` and `sys` below it. Only read.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// That of this machine.
    pub fn machine() -> Self {
        Self::below(Path::new("/"))
    }

    /// Another one.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A file without the white space around it; none when it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let octets = std::fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&octets).trim().to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// A file that lists cores.
    pub(super) fn cpus(&self, path: &str) -> Option<Vec<usize>> {
        self.text(path).map(|text| cpu_list(&text))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The value after `key` in lines of `key: value`, without its unit.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.trim().trim_end_matches(" kB").to_owned())
    }
}

/// Cores from the kernel's way of writing them: `0-3,8`.
pub(super) fn cpu_list(text: &str) -> Vec<usize> {
    /// Affinity can name no more.
    const CPUS_MAX: usize = 4096;
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some(first.parse().ok()?..=last.parse().ok().filter(|last| *last < CPUS_MAX)?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The same the other way round, for rising numbers.
pub(super) fn cpu_list_text(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
pub(super) mod fake {
    //! Trees for tests.

    use super::Tree;

    /// A tree, and the directory that it lives in.
    pub(in crate::doctor) fn tree(files: &[(&str, &str)]) -> (Tree, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            std::fs::write(path, text).expect("a file");
        }
        (Tree::below(directory.path()), directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_and_written_as_the_kernel_does() {
        for (text, cpus) in [("0-3,8", vec![0, 1, 2, 3, 8]), ("5", vec![5]), ("", vec![])] {
            assert_eq!(cpu_list(text), cpus);
            assert_eq!(cpu_list_text(&cpus), text);
        }
        assert_eq!(cpu_list("nonsense,1-x,2-99999999999,7\n"), [7]);
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let (tree, _directory) = fake::tree(&[("proc/a", " 7\n"), ("proc/b", "Mem:  5 kB\nOther: x\n")]);
        assert_eq!(tree.number("proc/a"), Some(7));
        assert_eq!(tree.number("proc/b"), None);
        assert_eq!(tree.field("proc/b", "Mem").as_deref(), Some("5"));
        assert_eq!(tree.field("proc/b", "Me"), None);
        assert_eq!(tree.text("proc/c"), None);
    }
}
