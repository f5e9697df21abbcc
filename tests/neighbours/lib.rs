//! Nothing of its own: the package keeps the frameworks apart from the other tests, because cargo unifies features.
