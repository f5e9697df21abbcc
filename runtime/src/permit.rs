//! Permits: zero-sized witnesses that a boundary was passed.

use std::fmt;
use std::marker::PhantomData;

use crate::boundary::Boundary;

/// Proof that the authority allowed this call at the boundary `K`.
///
/// Only the runtime's checked path makes one, after an explicit allow. It borrows from the call (`'call`), so
/// it cannot be kept, returned or sent to a detached task, and it cannot be cloned. A function that asks for
/// `&Permit<'_, BeforeSideEffect>` can be called only behind that boundary. (`unsafe` code can do anything, this too:
/// `#![forbid(unsafe_code)]` closes it.)
///
/// ```compile_fail,E0423
/// // Nobody else can make one.
/// let forged = portcullis::Permit::<portcullis::permit::BeforeCost>(std::marker::PhantomData);
/// ```
pub struct Permit<'call, K: Kind>(PhantomData<(Exactly<'call>, fn() -> K)>);

/// Invariant: a permit of one call is not a permit of a longer or a shorter one.
type Exactly<'call> = fn(&'call ()) -> &'call ();

impl<K: Kind> Permit<'_, K> {
    /// For the checked path alone: `engine` calls it once the verdict is an allow.
    pub(crate) const fn granted() -> Self {
        Permit(PhantomData)
    }

    /// The boundary that was passed.
    #[must_use]
    pub const fn boundary(&self) -> Boundary {
        K::BOUNDARY
    }
}

impl<K: Kind> fmt::Debug for Permit<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", K::BOUNDARY)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// The boundary of a [`Permit`], as a type. Sealed: the five boundaries are all there are.
pub trait Kind: sealed::Sealed + 'static {
    /// The same boundary as a value.
    const BOUNDARY: Boundary;
}

macro_rules! kinds {
    ($($name:ident)*) => {$(
        #[doc = concat!("[`Boundary::", stringify!($name), "`] as a type.")]
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Kind for $name {
            const BOUNDARY: Boundary = Boundary::$name;
        }
    )*};
}

kinds!(Startup BeforeJob BeforeCost BeforeSideEffect BeforeFanOut);
