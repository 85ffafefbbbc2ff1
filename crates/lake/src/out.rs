//! Rows as bytes: NDJSON for people and scripts, Arrow IPC for data frames.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;

use crate::error::Error;

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

    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
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
        }
    }

    pub(crate) fn finish(self) -> Result<Bytes, Error> {
        match self {
            Self::Ndjson => Ok(Bytes::new()),
            Self::Ipc(mut writer) => {
                writer.finish().map_err(Error::arrow("encode rows"))?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
        }
    }
}
