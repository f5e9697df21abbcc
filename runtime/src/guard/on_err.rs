//! What an `Err` of the body means for its claim.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::outcome::Replay;

/// What an `Err` of the body means for its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnErr {
    /// Nobody knows whether the effect happened: in doubt.
    Hold,
    /// The effect surely did not happen: the key is free again.
    Release,
    /// The error is the outcome: retries get it again. The error type must be `Serialize + DeserializeOwned`; where it is not,
    /// this is [`Hold`](OnErr::Hold), with a warning.
    Record,
}

/// `on_err = …`, for the error type `E`.
pub trait ErrorPolicy<E> {
    /// What this error means.
    fn decide(&self, error: &E) -> OnErr;
    /// What a value in `Ok` means that says by itself that the call failed.
    fn decide_value(&self) -> OnErr;
    /// The error as it is stored, if it can be.
    fn encode(&self, error: &E) -> Option<Vec<u8>>;
    /// The stored error, if it can be read.
    fn decode(&self, stored: &[u8]) -> Option<E>;
}

/// `on_err = "hold"`
#[derive(Clone, Copy, Debug)]
pub struct Hold;
/// `on_err = "release"`
#[derive(Clone, Copy, Debug)]
pub struct Release;
/// `on_err = "record"`
#[derive(Clone, Copy, Debug)]
pub struct Record;

macro_rules! fixed {
    ($($policy:ident)*) => {$(
        impl<E> ErrorPolicy<E> for $policy {
            fn decide(&self, _: &E) -> OnErr {
                OnErr::$policy
            }
            fn decide_value(&self) -> OnErr {
                OnErr::$policy
            }
            fn encode(&self, _: &E) -> Option<Vec<u8>> {
                None
            }
            // An error that an earlier version of the function had recorded can't be given again by this one.
            fn decode(&self, _: &[u8]) -> Option<E> {
                None
            }
        }
    )*};
}

fixed!(Hold Release);

/// An error that can be put on record.
#[diagnostic::on_unimplemented(
    message = "`on_err = \"record\"` can't put `{Self}` on record",
    label = "a retry must get the original error, so it has to be stored",
    note = "the error must implement `serde::Serialize` and `serde::de::DeserializeOwned`; or use `on_err = \"hold\"` (in doubt) \
            or `on_err = \"release\"` (the effect surely did not happen)"
)]
pub trait Recordable: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<E: Serialize + DeserializeOwned> Recordable for E {}

impl<E: Recordable> ErrorPolicy<E> for Record {
    fn decide(&self, _: &E) -> OnErr {
        OnErr::Record
    }
    fn decide_value(&self) -> OnErr {
        OnErr::Record
    }
    fn encode(&self, error: &E) -> Option<Vec<u8>> {
        serde_json::to_vec(error).ok()
    }
    fn decode(&self, stored: &[u8]) -> Option<E> {
        serde_json::from_slice(stored).ok()
    }
}

/// `on_err = path`: the function, and how its error type is stored (see [`Codec`]).
pub struct Classify<F, E>(pub F, pub ErrorCodec<E>);

impl<F, E> fmt::Debug for Classify<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classify").finish_non_exhaustive()
    }
}

impl<E, F: Fn(&E) -> OnErr> ErrorPolicy<E> for Classify<F, E> {
    fn decide(&self, error: &E) -> OnErr {
        (self.0)(error)
    }
    // There is no error that it could be asked about.
    fn decide_value(&self) -> OnErr {
        OnErr::Hold
    }
    fn encode(&self, error: &E) -> Option<Vec<u8>> {
        self.1.encode.and_then(|encode| encode(error))
    }
    fn decode(&self, stored: &[u8]) -> Option<E> {
        self.1.decode.and_then(|decode| decode(stored))
    }
}

/// How an error type is stored, if it can be.
pub struct ErrorCodec<E> {
    encode: Option<Encode<E>>,
    decode: Option<Decode<E>>,
}

type Encode<E> = fn(&E) -> Option<Vec<u8>>;
type Decode<E> = fn(&[u8]) -> Option<E>;

impl<E> fmt::Debug for ErrorCodec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorCodec").field("records", &self.encode.is_some()).finish()
    }
}

/// Finds the codec for the error of the return type `R`: by JSON if the error can be stored, else none. A function that only ever
/// says "hold" or "release" must not be asked for a `Serialize` error. Method resolution tries [`CodecByJson`] first, because it
/// needs one reference less.
#[derive(Debug)]
pub struct Codec<R>(PhantomData<fn() -> R>);

impl<R> Codec<R> {
    /// The question.
    pub const NEW: Codec<R> = Codec(PhantomData);
}

/// The answer for errors that can be stored.
pub trait CodecByJson<E> {
    /// The codec.
    fn codec(&self) -> ErrorCodec<E>;
}

impl<R: Replay> CodecByJson<R::Error> for &Codec<R>
where
    R::Error: Serialize + DeserializeOwned,
{
    fn codec(&self) -> ErrorCodec<R::Error> {
        ErrorCodec {
            encode: Some(|error| serde_json::to_vec(error).ok()),
            decode: Some(|stored| serde_json::from_slice(stored).ok()),
        }
    }
}

/// The answer for errors that can't.
pub trait CodecNone<E> {
    /// No codec.
    fn codec(&self) -> ErrorCodec<E>;
}

impl<R: Replay> CodecNone<R::Error> for Codec<R> {
    fn codec(&self) -> ErrorCodec<R::Error> {
        ErrorCodec { encode: None, decode: None }
    }
}

/// The codec for the error of a return type; see [`Codec`].
#[doc(hidden)]
#[macro_export]
macro_rules! __codec {
    ($ret:ty) => {{
        use $crate::__private::{CodecByJson as _, CodecNone as _};
        (&&$crate::__private::Codec::<$ret>::NEW).codec()
    }};
}
