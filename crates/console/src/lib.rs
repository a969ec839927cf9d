//! The web console's files, and the door before them: one-time links, logins, sessions, and which requests of a
//! browser are its user's own. Knows nothing of virtual machines, and nothing of the API behind the door.
//!
//! Everything here is requests in, answers out: sockets, the clock and randomness belong to the caller.
//!
//! ```text
//! request ─ route ─┬─ files: pages and assets, with their headers
//!                  ├─ calls under /console/api: login, session, and the caller's own
//!                  └─ not ours: with a cookie, the door says as whom it goes on
//! ```

mod assets;
mod door;
mod headers;
mod link;
mod refusal;
mod route;
mod secret;
mod session;
mod tries;
mod visit;

pub use assets::serve;
pub use door::{Attempt, Door, Entered, Opened};
pub use headers::{COOKIE, CSRF_HEADER, clear_cookie, secure, set_cookie};
pub use link::LIFE as LINK_LIFE;
pub use refusal::Refusal;
pub use route::{File, Route, route};
pub use secret::Secret;
pub use session::{IDLE, Kept, LIFE as SESSION_LIFE, Listed, Place};
pub use visit::{Hosts, Visit};
