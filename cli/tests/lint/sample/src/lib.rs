//! A line that ends in `//~ path` must be refused for that path, and no other line may be.

pub mod guarded;
pub mod not_asked;
pub mod raw;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Done = Result<(), Failure>;
