//! Nothing of its own: the package keeps trybuild apart from the other tests, because cargo unifies features.
