//! A serde serializer from a key to its text.

use std::fmt::Write;

use serde::Serialize;
use serde::ser::{self, Impossible};

use super::super::fingerprint::{Floats, Unencodable, digest_of};
use super::hex;

/// The text of `value`: a scalar as it is printed, a sequence as length-prefixed parts, anything else as its fingerprint.
pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<String, Unencodable> {
    match value.serialize(Text) {
        Ok(text) => Ok(text),
        Err(Shape::Refused(why)) => Err(why),
        Err(Shape::Structured) => Ok(format!("fp:{}", hex(&digest_of(value, Floats::Refused)?))),
    }
}

/// Why a value is no plain text.
#[derive(Debug)]
enum Shape {
    /// It can't be (part of) a key.
    Refused(Unencodable),
    /// It goes by its fingerprint.
    Structured,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Refused(why) => why.fmt(f),
            Shape::Structured => f.write_str("not a scalar"),
        }
    }
}

impl std::error::Error for Shape {}

impl ser::Error for Shape {
    fn custom<T: std::fmt::Display>(msg: T) -> Self {
        Shape::Refused(Unencodable::new(msg.to_string()))
    }
}

fn refused<T>(why: &str) -> Result<T, Shape> {
    Err(Shape::Refused(Unencodable::new(why)))
}

struct Text;

macro_rules! printed {
    ($($method:ident: $ty:ty)*) => {$(
        fn $method(self, v: $ty) -> Result<String, Shape> {
            Ok(v.to_string())
        }
    )*};
}

impl ser::Serializer for Text {
    type Ok = String;
    type Error = Shape;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Impossible<String, Shape>;
    type SerializeMap = Impossible<String, Shape>;
    type SerializeStruct = Impossible<String, Shape>;
    type SerializeStructVariant = Impossible<String, Shape>;

    printed!(serialize_bool: bool serialize_char: char serialize_str: &str
        serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64 serialize_i128: i128
        serialize_u8: u8 serialize_u16: u16 serialize_u32: u32 serialize_u64: u64 serialize_u128: u128);

    fn serialize_f32(self, v: f32) -> Result<String, Shape> {
        self.serialize_f64(v.into())
    }
    fn serialize_f64(self, _: f64) -> Result<String, Shape> {
        refused("a floating-point number is no id: two that look equal may differ")
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<String, Shape> {
        Err(Shape::Structured)
    }
    fn serialize_none(self) -> Result<String, Shape> {
        refused("`None` is no id: every call without one would be the same call")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, Shape> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<String, Shape> {
        refused("`()` is no id: every call would be the same call")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<String, Shape> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<String, Shape> {
        Ok(variant.to_owned())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<String, Shape> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, Shape> {
        Err(Shape::Structured)
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, Shape> {
        Ok(Parts(String::new()))
    }
    fn serialize_tuple(self, _: usize) -> Result<Parts, Shape> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, Shape> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Shape> {
        Err(Shape::Structured)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Shape> {
        Err(Shape::Structured)
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Shape> {
        Err(Shape::Structured)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Shape> {
        Err(Shape::Structured)
    }
}

/// `4:acme,3:o-1`: the length says where a part ends, so that parts can't run together.
struct Parts(String);

impl Parts {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Shape> {
        let text = of(value).map_err(Shape::Refused)?;
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}{}:{text}", text.len());
        Ok(())
    }
}

macro_rules! parts {
    ($($trait:ident::$method:ident)*) => {$(
        impl ser::$trait for Parts {
            type Ok = String;
            type Error = Shape;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Shape> {
                self.part(value)
            }
            fn end(self) -> Result<String, Shape> {
                Ok(self.0)
            }
        }
    )*};
}

parts!(SerializeSeq::serialize_element SerializeTuple::serialize_element SerializeTupleStruct::serialize_field);
