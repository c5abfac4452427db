//! Interrupts of devices: how many each core took since the start of the machine.

use super::tree::Tree;

/// One interrupt line of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number below /proc/irq.
    pub number: u32,
    /// The device and its queue, as the driver names them.
    pub device: String,
    /// How often each core took it.
    pub counts: Vec<(usize, u64)>,
}

impl Interrupt {
    /// How often this core took it.
    pub(super) fn count_on(&self, cpu: usize) -> u64 {
        self.counts.iter().find(|(number, _)| *number == cpu).map_or(0, |(_, count)| *count)
    }
}

/// Those of /proc/interrupts that have a number; the others (timers, calls between cores) cannot be moved.
pub(super) fn read(tree: &Tree) -> Vec<Interrupt> {
    let text = tree.text("proc/interrupts").unwrap_or_default();
    let mut lines = text.lines();
    // Cores that are off have no column.
    let cpus: Vec<usize> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|name| name.strip_prefix("CPU")?.parse().ok())
        .collect();
    lines.filter_map(|line| interrupt(line, &cpus)).collect()
}

fn interrupt(line: &str, cpus: &[usize]) -> Option<Interrupt> {
    let (number, rest) = line.trim().split_once(':')?;
    let number = number.parse().ok()?;
    let mut words = rest.split_whitespace();
    let counts = cpus.iter().map(|cpu| Some((*cpu, words.next()?.parse().ok()?)));
    let counts = counts.collect::<Option<Vec<_>>>()?;
    // After them come the controller, its own number and the way of triggering, which may be any number of
    // words.
    let device = words.last().unwrap_or("a device without a name").to_owned();
    Some(Interrupt { number, device, counts })
}

#[cfg(test)]
mod tests {
    use super::super::tree::fake;
    use super::*;

    #[test]
    fn interrupts_of_devices_are_read() {
        let text = "           CPU0       CPU2\n 24:          1          0  IO-APIC   5-edge      ACPI:Ged\n\
                     36:          0    5015037 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0\n\
                    NMI:          0          0   Non-maskable interrupts\nERR:          0\n";
        let (tree, _directory) = fake::tree(&[("proc/interrupts", text)]);
        let found = read(&tree);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].device, "virtio1-req.0");
        assert_eq!((found[1].number, found[1].count_on(2), found[1].count_on(1)), (36, 5_015_037, 0));
    }
}
