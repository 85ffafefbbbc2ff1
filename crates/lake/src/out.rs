//! Rows as bytes: NDJSON for people and scripts, Arrow IPC for data frames, Parquet for keeps.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;

use crate::error::Error;
use crate::file::exported;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowsOut {
    /// One JSON object a line; a null has no name in it. Times are RFC 3339, maps are objects.
    #[default]
    Ndjson,
    /// Arrow's streaming format, `application/vnd.apache.arrow.stream`.
    ArrowIpc,
}

impl RowsOut {
    /// Returns the media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::ArrowIpc => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Makes bytes of batches.
pub(crate) enum Encoder {
    Ndjson,
    Ipc(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl Encoder {
    pub(crate) fn new(out: RowsOut, schema: &Schema) -> Result<Self, Error> {
        Ok(match out {
            RowsOut::Ndjson => Self::Ndjson,
            RowsOut::ArrowIpc => {
                let writer = StreamWriter::try_new(Vec::new(), schema).map_err(Error::arrow("encode rows"))?;
                Self::Ipc(Box::new(writer))
            }
        })
    }

    pub(crate) fn parquet(schema: &SchemaRef) -> Result<Self, Error> {
        let properties = Some(exported());
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), properties);
        Ok(Self::Parquet(Box::new(writer.map_err(Error::parquet("encode rows"))?)))
    }

    /// Encodes a batch; where that compresses, on a thread that may block.
    pub(crate) async fn encode(self, batch: RecordBatch) -> Result<(Self, Bytes), Error> {
        self.work(move |mut encoder| encoder.write(&batch).map(|bytes| (encoder, bytes))).await
    }

    /// Returns what comes after the last batch.
    pub(crate) async fn finish(self) -> Result<Bytes, Error> {
        self.work(Self::end).await
    }

    async fn work<T: Send + 'static>(
        self,
        work: impl FnOnce(Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if !matches!(self, Self::Parquet(_)) {
            return work(self);
        }
        let worked = tokio::task::spawn_blocking(move || work(self)).await;
        worked.map_err(|_| Error::Rows { doing: "encode rows" })?
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        match self {
            Self::Ndjson => {
                let mut writer = LineDelimitedWriter::new(Vec::new());
                writer.write(batch).map_err(Error::arrow("encode rows"))?;
                writer.finish().map_err(Error::arrow("encode rows"))?;
                Ok(writer.into_inner().into())
            }
            Self::Ipc(writer) => {
                writer.write(batch).map_err(Error::arrow("encode rows"))?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Self::Parquet(writer) => {
                writer.write(batch).map_err(Error::parquet("encode rows"))?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
        }
    }

    fn end(self) -> Result<Bytes, Error> {
        match self {
            Self::Ndjson => Ok(Bytes::new()),
            Self::Ipc(mut writer) => {
                writer.finish().map_err(Error::arrow("encode rows"))?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Self::Parquet(writer) => Ok(writer.into_inner().map_err(Error::parquet("encode rows"))?.into()),
        }
    }
}
