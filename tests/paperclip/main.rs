//! The adapter to Paperclip: against servers of which every byte is under control.

mod hostile;
