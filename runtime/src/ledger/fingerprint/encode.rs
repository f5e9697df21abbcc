//! A serde serializer that streams type-tagged, self-delimiting data into a [`Sink`].

use std::fmt;

use serde::Serialize;
use serde::ser;

/// Where encoded bytes go: a hasher, or a buffer for the keys of a map.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    /// Length first, so that neighbours can't run together.
    fn bytes(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_be_bytes());
        self.put(bytes);
    }
}

impl Sink for blake3::Hasher {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Why a value has no encoding.
#[doc(hidden)]
#[derive(Debug)]
pub struct Unencodable(String);

impl Unencodable {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Unencodable(why.into())
    }
}

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unencodable {}

impl ser::Error for Unencodable {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        Unencodable(msg.to_string())
    }
}

/// Are floats part of this value? A key has none: 0.1 + 0.2 is not 0.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    Allowed,
    Refused,
}

/// What was encoded. A struct leaves its absent fields out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Shape {
    Absent,
    Present,
}

impl Shape {
    pub(crate) fn is_present(self) -> bool {
        match self {
            Shape::Absent => false,
            Shape::Present => true,
        }
    }
}

/// One byte before every piece.
mod tag {
    pub(super) const NONE: u8 = 1;
    pub(super) const UNIT: u8 = 2;
    pub(super) const FALSE: u8 = 3;
    pub(super) const TRUE: u8 = 4;
    pub(super) const NEGATIVE: u8 = 5;
    pub(super) const INTEGER: u8 = 6;
    pub(super) const FLOAT: u8 = 7;
    pub(super) const TEXT: u8 = 8;
    pub(super) const BYTES: u8 = 9;
    pub(super) const SOME_NONE: u8 = 10;
    pub(super) const SEQUENCE: u8 = 11;
    pub(super) const ELEMENT: u8 = 12;
    pub(super) const END: u8 = 13;
    pub(super) const MAP: u8 = 14;
    pub(super) const VARIANT: u8 = 15;
}

/// Encodes `value` into `sink`.
pub(crate) fn encode<T: Serialize + ?Sized, S: Sink>(
    value: &T,
    sink: &mut S,
    floats: Floats,
) -> Result<Shape, Unencodable> {
    value.serialize(Encoder { sink, floats })
}

struct Encoder<'a, S> {
    sink: &'a mut S,
    floats: Floats,
}

type Encoded = Result<Shape, Unencodable>;

impl<S: Sink> Encoder<'_, S> {
    fn tagged(self, tag: u8) -> Encoded {
        self.sink.put(&[tag]);
        Ok(Shape::Present)
    }

    fn magnitude(self, tag: u8, magnitude: u128) -> Encoded {
        self.sink.put(&[tag]);
        self.sink.put(&magnitude.to_be_bytes());
        Ok(Shape::Present)
    }

    fn variant(&mut self, name: &str) {
        self.sink.put(&[tag::VARIANT]);
        self.sink.bytes(name.as_bytes());
    }
}

impl<'a, S: Sink> ser::Serializer for Encoder<'a, S> {
    type Ok = Shape;
    type Error = Unencodable;
    type SerializeSeq = Sequence<'a, S>;
    type SerializeTuple = Sequence<'a, S>;
    type SerializeTupleStruct = Sequence<'a, S>;
    type SerializeTupleVariant = Sequence<'a, S>;
    type SerializeMap = Entries<'a, S>;
    type SerializeStruct = Entries<'a, S>;
    type SerializeStructVariant = Entries<'a, S>;

    fn serialize_bool(self, v: bool) -> Encoded {
        self.tagged(if v { tag::TRUE } else { tag::FALSE })
    }
    fn serialize_i8(self, v: i8) -> Encoded {
        self.serialize_i128(v.into())
    }
    fn serialize_i16(self, v: i16) -> Encoded {
        self.serialize_i128(v.into())
    }
    fn serialize_i32(self, v: i32) -> Encoded {
        self.serialize_i128(v.into())
    }
    fn serialize_i64(self, v: i64) -> Encoded {
        self.serialize_i128(v.into())
    }
    fn serialize_i128(self, v: i128) -> Encoded {
        let tag = if v < 0 { tag::NEGATIVE } else { tag::INTEGER };
        self.magnitude(tag, v.unsigned_abs())
    }
    fn serialize_u8(self, v: u8) -> Encoded {
        self.serialize_u128(v.into())
    }
    fn serialize_u16(self, v: u16) -> Encoded {
        self.serialize_u128(v.into())
    }
    fn serialize_u32(self, v: u32) -> Encoded {
        self.serialize_u128(v.into())
    }
    fn serialize_u64(self, v: u64) -> Encoded {
        self.serialize_u128(v.into())
    }
    fn serialize_u128(self, v: u128) -> Encoded {
        self.magnitude(tag::INTEGER, v)
    }
    fn serialize_f32(self, v: f32) -> Encoded {
        // Exact: every f32 is an f64.
        self.serialize_f64(v.into())
    }
    fn serialize_f64(self, v: f64) -> Encoded {
        if self.floats == Floats::Refused {
            return Err(Unencodable::new("it holds a floating-point number, and two that look equal may differ"));
        }
        if v.is_nan() {
            return Err(Unencodable::new("it holds NaN, which is not even equal to itself"));
        }
        let v = if v == 0.0 { 0.0 } else { v };
        self.sink.put(&[tag::FLOAT]);
        self.sink.put(&v.to_bits().to_be_bytes());
        Ok(Shape::Present)
    }
    fn serialize_char(self, v: char) -> Encoded {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Encoded {
        self.sink.put(&[tag::TEXT]);
        self.sink.bytes(v.as_bytes());
        Ok(Shape::Present)
    }
    fn serialize_bytes(self, v: &[u8]) -> Encoded {
        self.sink.put(&[tag::BYTES]);
        self.sink.bytes(v);
        Ok(Shape::Present)
    }
    fn serialize_none(self) -> Encoded {
        self.sink.put(&[tag::NONE]);
        Ok(Shape::Absent)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        // `Some(x)` is x, so that a parameter may become optional. `Some(None)` is not `None`.
        match encode(value, self.sink, self.floats)? {
            Shape::Present => Ok(Shape::Present),
            Shape::Absent => {
                self.sink.put(&[tag::SOME_NONE]);
                Ok(Shape::Present)
            }
        }
    }
    fn serialize_unit(self) -> Encoded {
        self.tagged(tag::UNIT)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Encoded {
        self.serialize_unit()
    }
    fn serialize_unit_variant(mut self, _name: &'static str, _index: u32, variant: &'static str) -> Encoded {
        self.variant(variant);
        self.serialize_unit()
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Encoded {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Encoded {
        self.variant(variant);
        value.serialize(self).map(|_| Shape::Present)
    }
    fn serialize_seq(self, _len: Option<usize>) -> Result<Sequence<'a, S>, Unencodable> {
        self.sink.put(&[tag::SEQUENCE]);
        Ok(Sequence(self))
    }
    fn serialize_tuple(self, len: usize) -> Result<Sequence<'a, S>, Unencodable> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Sequence<'a, S>, Unencodable> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Sequence<'a, S>, Unencodable> {
        self.variant(variant);
        self.serialize_seq(Some(len))
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Entries<'a, S>, Unencodable> {
        Ok(Entries { encoder: self, entries: Vec::new(), key: None })
    }
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Entries<'a, S>, Unencodable> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        mut self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Entries<'a, S>, Unencodable> {
        self.variant(variant);
        self.serialize_map(Some(len))
    }
}

/// Elements in their order, each announced, so that no length need be known beforehand.
struct Sequence<'a, S>(Encoder<'a, S>);

impl<S: Sink> Sequence<'_, S> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
        self.0.sink.put(&[tag::ELEMENT]);
        encode(value, self.0.sink, self.0.floats).map(|_| ())
    }
}

macro_rules! sequence {
    ($($trait:ident::$method:ident)*) => {$(
        impl<S: Sink> ser::$trait for Sequence<'_, S> {
            type Ok = Shape;
            type Error = Unencodable;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
                self.element(value)
            }
            fn end(self) -> Encoded {
                self.0.tagged(tag::END)
            }
        }
    )*};
}

sequence!(SerializeSeq::serialize_element SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field);

/// Entries of a map or fields of a struct: their order must not matter, so they are collected (each value as its own
/// digest, which bounds the memory) and sorted by encoded key.
struct Entries<'a, S> {
    encoder: Encoder<'a, S>,
    entries: Vec<(Vec<u8>, [u8; 32])>,
    key: Option<Vec<u8>>,
}

impl<S: Sink> Entries<'_, S> {
    fn digest<T: Serialize + ?Sized>(&self, value: &T) -> Result<(Shape, [u8; 32]), Unencodable> {
        let mut hasher = blake3::Hasher::new();
        let shape = encode(value, &mut hasher, self.encoder.floats)?;
        Ok((shape, *hasher.finalize().as_bytes()))
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unencodable> {
        let (shape, digest) = self.digest(value)?;
        if shape.is_present() {
            let mut key = Vec::with_capacity(9 + name.len());
            encode(name, &mut key, self.encoder.floats).map(|_| ())?;
            self.entries.push((key, digest));
        }
        Ok(())
    }

    fn finish(mut self) -> Encoded {
        self.entries.sort_unstable();
        let sink = self.encoder.sink;
        sink.put(&[tag::MAP]);
        sink.put(&(self.entries.len() as u64).to_be_bytes());
        for (key, digest) in self.entries {
            sink.bytes(&key);
            sink.put(&digest);
        }
        Ok(Shape::Present)
    }
}

impl<S: Sink> ser::SerializeMap for Entries<'_, S> {
    type Ok = Shape;
    type Error = Unencodable;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unencodable> {
        let mut bytes = Vec::new();
        encode(key, &mut bytes, self.encoder.floats).map(|_| ())?;
        self.key = Some(bytes);
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
        let key =
            self.key.take().ok_or_else(|| Unencodable::new("its `Serialize` gave a map's value without a key"))?;
        let (_, digest) = self.digest(value)?;
        self.entries.push((key, digest));
        Ok(())
    }
    fn end(self) -> Encoded {
        self.finish()
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl<S: Sink> ser::$trait for Entries<'_, S> {
            type Ok = Shape;
            type Error = Unencodable;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Unencodable> {
                self.field(key, value)
            }
            fn end(self) -> Encoded {
                self.finish()
            }
        }
    )*};
}

fields!(SerializeStruct SerializeStructVariant);
