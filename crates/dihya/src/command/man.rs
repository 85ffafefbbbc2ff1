//! `dihya man`: one man page per command.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use disk::{Disk as _, OsDisk};

use crate::cli::Cli;
use crate::failure::DONE;
use crate::terminal;

/// Writes the pages into `dir`.
pub(super) fn run(dir: &Path) -> anyhow::Result<u8> {
    let disk = OsDisk;
    disk.create_dir_all(dir)?;
    let mut root = Cli::command();
    root.build();
    let mut pages = 0_usize;
    let mut queue = vec![(root, String::from("dihya"))];
    while let Some((command, name)) = queue.pop() {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            queue.push((sub.clone(), format!("{name}-{}", sub.get_name())));
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).title(&name).section("1").render(&mut page).context("could not write a page")?;
        disk::write_atomic(&disk, &dir.join(format!("{name}.1")), &page)?;
        pages += 1;
    }
    terminal::out(&format!("wrote {pages} pages into {}\n", dir.display()));
    Ok(DONE)
}
