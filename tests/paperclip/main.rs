//! The adapter to Paperclip: against servers of which every byte is under control, and against exchanges with the real one.
//!
//! `world` replays the exchanges in `fixtures/`, or, where `PORTCULLIS_PAPERCLIP_URL` names a server, speaks to that;
//! `live.sh` installs, starts and stops one.

mod calls_for_help;
mod hostile;
mod issues;
mod mirror;
mod world;
