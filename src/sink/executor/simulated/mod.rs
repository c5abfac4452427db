//! An executor in memory that remembers what the disk was told and what was synced, for tests that cut the
//! power.
//!
//! Every effect (a sector written, a name entered or removed) is an event. A later sync of the same file or
//! directory pins it; until then a power cut may keep it or lose it, each effect for itself and in any order,
//! which is more than real file systems do. After a failed sync the effects before it are not pinned by the
//! next one: the kernel may have dropped them, and says so once. What was written into a file never is; names
//! are by a sync of a newer change in the same directory, because a journal commits in order. By the same
//! order a name made after its file was written back is never kept without what was written back, though
//! nothing was synced. A journal may be given up: then syncs say that all is well, pin nothing but data in
//! files that need no journal to be found, and new changes fail. The mode and the group of a file are an
//! effect of their own, which a sync of its data alone does not pin.

mod disk;
mod fault;
mod history;

use std::cell::RefCell;
use std::rc::Rc;

use self::disk::{Disk, to_usize};
pub use self::fault::Fault;
pub use self::history::{Image, Permissions};
use super::Executor;
use crate::sink::plan::{Action, Plan, Results};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Simulated {
    disk: Rc<RefCell<Disk>>,
}

impl Simulated {
    /// An empty disk that orders the chains of a stage by this seed.
    pub fn new(seed: u64) -> Self {
        let simulated = Self::default();
        simulated.disk.borrow_mut().random = seed;
        simulated
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: impl FnMut(usize, &Action<'_>) -> Option<Fault> + 'static) {
        self.disk.borrow_mut().faults = Some(Box::new(faults));
    }

    /// Operations performed so far.
    pub fn performed(&self) -> usize {
        self.disk.borrow().performed
    }

    /// Events so far: a point in time for [`Self::image`].
    pub fn now(&self) -> usize {
        self.disk.borrow().history.len()
    }

    /// The most files that were open at a time.
    pub fn most_open(&self) -> usize {
        self.disk.borrow().most_open
    }

    /// What a running process sees.
    pub fn seen(&self) -> Image {
        self.image(self.now(), || true)
    }

    /// What a running process reads in a file; none where there is no such file.
    pub fn read(&self, directory: &str, name: &str) -> Option<Vec<u8>> {
        self.disk.borrow().read(directory, name)
    }

    /// The files of a directory as a running process sees them, with their octets.
    pub fn names(&self, directory: &str) -> Vec<(String, u64)> {
        self.disk.borrow().files_of(directory)
    }

    /// Effects before `now` that a power cut may lose.
    pub fn pending(&self, now: usize) -> usize {
        self.disk.borrow().history.pending(now)
    }

    /// What the disk holds after the power was cut at `now`: `keep` is asked for each effect that no sync
    /// pinned.
    pub fn image(&self, now: usize, keep: impl FnMut() -> bool) -> Image {
        self.cut(now, keep).0
    }

    /// As [`Self::image`], with the permissions of what is there.
    pub fn cut(&self, now: usize, keep: impl FnMut() -> bool) -> (Image, Permissions) {
        self.disk.borrow().history.cut(now, keep)
    }
}

impl Executor for Simulated {
    fn run(&mut self, plan: &Plan<'_>) -> Results {
        let mut disk = self.disk.borrow_mut();
        let mut results = Results::new(plan);
        for stage in plan.stages() {
            let mut chains = plan.chains(stage);
            while !chains.is_empty() {
                let next = to_usize(disk.random() % chains.len() as u64);
                for index in chains.swap_remove(next) {
                    let action = &plan.operations()[index].action;
                    if results.is_wanted(plan, index) {
                        let result = disk.perform(action);
                        results.finish(plan, index, result);
                    } else if let Action::Close(file) = action {
                        disk.open.remove(file);
                    }
                }
            }
        }
        results
    }
}
