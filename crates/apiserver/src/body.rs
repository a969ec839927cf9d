//! The body of every response: bytes at once, or a stream (watches, logs).

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body::{Frame, SizeHint};
use tokio_util::sync::CancellationToken;

type BytesStream = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

enum Inner {
    Full(Option<Bytes>),
    Stream(BytesStream),
}

/// A response body. Implements [`http_body::Body`].
pub struct Body(Inner);

impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Full(bytes) => {
                write!(
                    formatter,
                    "Body({} bytes)",
                    bytes.as_ref().map_or(0, Bytes::len)
                )
            }
            Inner::Stream(_) => formatter.write_str("Body(stream)"),
        }
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Body {
        Body(Inner::Full(None))
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Body {
        Body(Inner::Full(Some(bytes.into())))
    }

    /// Whatever the stream yields, each item sent at once. An error ends the connection.
    pub fn stream<S>(stream: S) -> Body
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        Body(Inner::Stream(Box::pin(stream)))
    }

    /// The same; if it is a stream, it ends when `end` is cancelled.
    #[must_use]
    pub fn until(self, end: CancellationToken) -> Body {
        match self.0 {
            Inner::Stream(stream) => Body::stream(stream.take_until(end.cancelled_owned())),
            full @ Inner::Full(_) => Body(full),
        }
    }

    /// The bytes, when they are all there already.
    pub fn bytes(&self) -> Option<Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes.clone().unwrap_or_default()),
            Inner::Stream(_) => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Stream(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|item| item.map(|item| item.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}
