//! `kind: file`: JSON lines in a file that is put aside when it is full. Taken means synced.

use std::sync::Arc;

use disk::{Disk, Rotating};

use crate::config::FileConfig;
use crate::output::{Batch, Failure, Taken};

/// Writes lines.
pub(crate) struct File(Arc<Rotating>);

impl File {
    pub(crate) fn new(config: &FileConfig, disk: &Arc<dyn Disk>, directory: &std::path::Path) -> Self {
        let path = directory.join(&config.path);
        Self(Arc::new(Rotating::new(Arc::clone(disk), path, config.rotate_size, config.rotate_count)))
    }

    pub(crate) async fn hand_over(&self, batch: &mut Batch) -> Result<Taken, Failure> {
        let (file, lines) = (Arc::clone(&self.0), batch.lines());
        let bytes = lines.len();
        let written = tokio::task::spawn_blocking(move || file.append(&lines)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_full() => return Err(Failure::later("the disk is full")),
            Ok(Err(error)) => return Err(Failure::later(format!("could not {} the file", error.doing))),
            Err(_) => return Err(Failure::later("the write was interrupted")),
        }
        let sent = batch.take_all();
        Ok(Taken { sent, bytes, ..Taken::default() })
    }
}
