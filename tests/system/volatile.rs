//! What a 250 is worth where the store is in memory, however many layers above it: the start says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::image::{self, Mounted};
use support::server::Server;

/// What keeps its files where, and how the start names it; none for a disk.
enum Layer {
    Folder,
    Mount(&'static [&'static str]),
    Overlay(&'static str),
    Image(&'static str),
}

/// Mounts that are unmounted by drop, the last one first.
#[derive(Default)]
struct Mounts {
    at: Vec<PathBuf>,
    images: Vec<Mounted>,
}

impl Drop for Mounts {
    fn drop(&mut self) {
        self.images.clear();
        self.at.iter().rev().for_each(|at| image::unmount(at));
    }
}

impl Mounts {
    /// Puts a layer on the folder and gives the folder to go on with.
    fn add(&mut self, layer: &Layer, below: &Path, number: usize) -> PathBuf {
        let at = below.join(format!("layer{number}"));
        fs::create_dir(&at).expect("a folder");
        match layer {
            Layer::Folder => {}
            Layer::Mount(arguments) => {
                image::run(Command::new("mount").args(*arguments).arg(&at));
                self.at.push(at.clone());
            }
            Layer::Overlay(options) => {
                let path = |name: &str| below.join(name);
                for name in ["lower", "upper", "work"] {
                    fs::create_dir(path(name)).expect("a folder");
                }
                let options = format!(
                    "lowerdir={},upperdir={},workdir={}{options}",
                    path("lower").display(),
                    path("upper").display(),
                    path("work").display()
                );
                image::run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&at));
                self.at.push(at.clone());
            }
            Layer::Image(kind) => {
                let image = below.join("image");
                image::make(kind, &image, 128 << 20);
                self.images.push(Mounted::new(kind, &image, &at, false));
            }
        }
        at
    }
}

#[test]
fn a_store_in_memory_says_at_start_that_it_is_gone_with_the_machine() {
    if image::unavailable(&["mkfs.ext4", "mkfs.btrfs", "losetup"]).is_some() {
        return;
    }
    const TMPFS: Layer = Layer::Mount(&["-t", "tmpfs", "tmpfs"]);
    let cases: [(&[Layer], Option<&str>); 9] = [
        (&[Layer::Folder], None),
        (&[TMPFS], Some("(tmpfs)")),
        (&[Layer::Mount(&["-t", "ramfs", "ramfs"])], Some("(ramfs)")),
        (&[TMPFS, Layer::Overlay("")], Some("(an overlay on tmpfs)")),
        (&[Layer::Overlay("")], None),
        (&[Layer::Overlay(",volatile")], Some("mounted `volatile`")),
        (&[Layer::Image("ext4")], None),
        (&[TMPFS, Layer::Image("ext4")], Some("(an image on tmpfs)")),
        (&[TMPFS, Layer::Image("btrfs"), Layer::Folder], Some("(an image on tmpfs)")),
    ];
    for (layers, expected) in cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut mounts = Mounts::default();
        let mut place = folder.path().to_owned();
        for (number, layer) in layers.iter().enumerate() {
            place = mounts.add(layer, &place, number);
        }
        for kind in ["maildir", "spool"] {
            let store = place.join(kind);
            let config = format!(
                "hostname = \"mx.example.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"{kind}\"\n\
                 path = \"{}\"\n",
                store.display()
            );
            let file = folder.path().join("check.toml");
            fs::write(&file, &config).expect("the configuration");
            let check = Command::new(env!("CARGO_BIN_EXE_ringmx")).arg("check").arg(&file).output();
            let warned = String::from_utf8(check.expect("it runs").stderr).expect("text");
            let segments = if kind == "spool" { "segment_size = \"1MiB\"\n" } else { "" };
            let server = Server::start_whole(&format!("{config}{segments}"));
            let log = server.log();
            let said = |text: &str| log.iter().any(|line| line.contains(text));
            match expected {
                None => assert!(said("250 means: on disk") && !warned.contains("memory"), "{kind}: {log:?}"),
                Some(why) => {
                    assert!(
                        said("250 means: in memory, gone when the machine stops"),
                        "{kind}, {why}: {log:?}"
                    );
                    assert!(said(why) && !said("250 means: on disk"), "{kind}, {why}: {log:?}");
                    assert!(warned.contains(why), "{kind}, {why}: {warned}");
                }
            }
        }
    }
}
