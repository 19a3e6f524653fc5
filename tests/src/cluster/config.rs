//! Pure: no clock, no I/O, no async.
//!
//! Config files of daemons under test.

use std::path::Path;

/// Shared pieces: state below the test's folder, health on a free port, everything logged.
fn common(health: u16) -> String {
    format!(
        "[telemetry]\nlisten = \"127.0.0.1:{health}\"\n\n[log]\nlevel = \"info,common=debug,masterd=debug,mediad=debug,recorderd=debug\"\n\n"
    )
}

pub(super) fn masterd(folder: &Path, http: u16, link: u16, health: u16, tls: bool) -> String {
    let (folder, tls) = (folder.display(), if tls { "self-signed" } else { "off" });
    format!(
        "{}[state]\ndir = \"{folder}/masterd\"\n\n\
         [http]\nlisten = \"127.0.0.1:{http}\"\ntls = \"{tls}\"\n\n[api]\nsecret_file = \"{folder}/secret\"\n\n\
         [link]\nlisten = \"127.0.0.1:{link}\"\n\n",
        common(health)
    )
}

pub(super) fn mediad(folder: &Path, name: &str, link: u16, health: u16, workers: usize) -> String {
    let folder = folder.display();
    format!(
        "{}[node]\nname = \"{name}\"\nstate_dir = \"{folder}/{name}\"\njoin_token_file = \"{folder}/masterd/join-token\"\nmasters = [\"127.0.0.1:{link}\"]\n\n\
         [drain]\ndeadline = \"10s\"\n\n\
         [link]\nlisten = \"127.0.0.1\"\nport = 0\n\n\
         [media]\nlisten = \"127.0.0.1\"\nport = 0\nworkers = {workers}\n",
        common(health)
    )
}

pub(super) fn recorderd(folder: &Path, name: &str, link: u16, health: u16) -> String {
    let folder = folder.display();
    format!(
        "{}[node]\nname = \"{name}\"\nstate_dir = \"{folder}/{name}\"\njoin_token_file = \"{folder}/masterd/join-token\"\nmasters = [\"127.0.0.1:{link}\"]\n\n\
         [recording]\ndir = \"{folder}/{name}-recordings\"\nstall = \"20s\"\n",
        common(health)
    )
}
