//! The disk of the forwarder, seen to go on: what the office asks of it may take long in all (a compaction, a
//! snapshot of a million messages, many messages from a slow disk), and only one step of it that takes long
//! is a disk that hangs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::keep::{Files, Opened};
use crate::metrics::ForwardMetrics;
use crate::sink::executor::Executor;
use crate::sink::plan::{Plan, Results};

/// An executor or files, with which the office's pulse advances at each step.
pub(super) struct Watched<D> {
    pub(super) disk: D,
    pub(super) metrics: Arc<ForwardMetrics>,
}

impl<D> Watched<D> {
    fn advance<T>(&self, done: T) -> T {
        self.metrics.office.pulse.advance();
        done
    }
}

impl<E: Executor> Executor for Watched<E> {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        let results = self.disk.run(plan);
        self.advance(results)
    }
}

impl<F: Files> Files for Watched<F> {
    fn names(&self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        self.advance(self.disk.names(directory))
    }

    fn open(&self, directory: &str, name: &str) -> io::Result<Opened> {
        self.advance(self.disk.open(directory, name))
    }

    fn root(&self) -> PathBuf {
        self.disk.root()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::keep::{Change, Folder, Keeper, Notice, Settings, Wait};
    use super::*;
    use crate::sink::executor::blocking::Blocking;
    use crate::sink::{Report, Site};

    struct Silent;

    impl Report for Silent {
        fn machine_error(&self, _: &str, _: Site<'_>, _: &io::Error) {}
        fn note(&self, _: &str) {}
    }

    /// Notes what the pulse says at the begin of each plan.
    struct Noted(Blocking, Arc<ForwardMetrics>, Rc<RefCell<Vec<u64>>>);

    impl Executor for Noted {
        fn run(&mut self, plan: &Plan<'_>) -> Results {
            self.2.borrow_mut().push(self.1.office.pulse.steps());
            self.0.run(plan)
        }
    }

    #[test]
    fn the_pulse_moves_within_one_commit_and_stays_odd() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = std::fs::File::open(folder.path()).expect("the root");
        let metrics = Arc::new(ForwardMetrics::new("mx.test", []));
        let noted = Rc::<RefCell<Vec<u64>>>::default();
        let executor = Noted(Blocking::new(root.into()), Arc::clone(&metrics), Rc::clone(&noted));
        let executor = Box::new(Watched { disk: executor, metrics: Arc::clone(&metrics) });
        let files = Folder(folder.path().to_owned());
        let files = Box::new(Watched { disk: files, metrics: Arc::clone(&metrics) });
        let keeper = Keeper::open(executor, files, Settings::default(), Arc::new(Silent));
        let mut keeper = keeper.expect("it opens");
        noted.borrow_mut().clear();
        let notice = Notice { envelope: vec![1; 100], content: vec![2; 100], wait: Wait::default() };
        metrics.office.pulse.begin();
        let kept = keeper.commit(&[Change::Noticed { changes: Vec::new(), notice: Arc::new(notice) }]);
        assert!(kept[0].is_ok(), "{kept:?}");
        let seen = noted.borrow().clone();
        assert!(seen.len() > 2, "a segment, a record and the journal: {seen:?}");
        assert!(seen.iter().all(|steps| steps % 2 == 1), "something is on its way: {seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "each step is seen: {seen:?}");
        let before = metrics.office.pulse.steps();
        let _ = keeper.fetch(keeper.state().waiting().next().expect("it waits").place);
        assert!(metrics.office.pulse.steps() > before, "what is read is seen, too");
    }
}
