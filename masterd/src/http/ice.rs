//! Pure: no clock, no I/O, no async.
//!
//! Checks the ICE servers that an application or the configuration gives for its clients, and makes the short-lived
//! credentials of TURN servers that share a secret.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use ring::hmac;
use serde_json::{Map, Value, json};

use super::fields::{FieldError, Fields, wrong};
use crate::cluster::op::IceServer;

/// A checked ICE server as given; [`IceSource::serve`] makes it usable for one connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IceSource {
    /// `turn:...`, `turns:...`, `stun:...` or `stuns:...`.
    pub url: String,
    credentials: Credentials,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Credentials {
    Fixed { username: String, credential: String },
    None,
    Secret(String),
}

impl IceSource {
    /// Checks one server.
    ///
    /// # Errors
    /// When the URL or the credentials are not as the scheme demands.
    pub fn new(
        url: &str,
        secret: Option<&str>,
        username: Option<&str>,
        credential: Option<&str>,
    ) -> Result<Self, FieldError> {
        let relayed = check_url(url).map_err(|why| FieldError(format!("ICE server '{url}': {why}")))?;
        let credentials = match (relayed, secret, username, credential) {
            (true, None, Some(username), Some(credential)) => {
                Credentials::Fixed { username: username.to_owned(), credential: credential.to_owned() }
            }
            (true, Some(secret), None, None) => Credentials::Secret(secret.to_owned()),
            (false, None, None, None) => Credentials::None,
            (true, ..) => {
                return Err(FieldError(format!(
                    "ICE server '{url}': a TURN server needs 'username' and 'credential', or 'staticAuthSecret' alone"
                )));
            }
            (false, ..) => {
                return Err(FieldError(format!("ICE server '{url}': a STUN server takes no credentials")));
            }
        };
        Ok(Self { url: url.to_owned(), credentials })
    }

    /// Reads one server from JSON.
    ///
    /// # Errors
    /// As [`Self::new`], and for fields of the wrong kind.
    pub fn from_json(value: &Value) -> Result<Self, FieldError> {
        let fields =
            Fields(value.as_object().ok_or_else(|| wrong("customIceServers", "an array of objects"))?);
        let url = fields.string("url")?.ok_or_else(|| wrong("url", "present in every ICE server"))?;
        let secret = fields.string("staticAuthSecret")?;
        Self::new(url, secret, fields.string("username")?, fields.string("credential")?)
    }

    /// Reads one server as the configuration writes it: the URL, then `,username=..,credential=..` or
    /// `,staticAuthSecret=..`; `url=` before the URL is optional.
    ///
    /// # Errors
    /// As [`Self::new`], and for unknown parts.
    pub fn from_text(text: &str) -> Result<Self, FieldError> {
        let mut parts = text.split(',').map(str::trim);
        let url = parts.next().unwrap_or_default();
        let (mut secret, mut username, mut credential) = (None, None, None);
        for part in parts {
            let target = match part.split_once('=') {
                Some(("staticAuthSecret", value)) => (&mut secret, value),
                Some(("username", value)) => (&mut username, value),
                Some(("credential", value)) => (&mut credential, value),
                _ => return Err(FieldError(format!("ICE server '{text}': unknown part '{part}'"))),
            };
            *target.0 = Some(target.1);
        }
        Self::new(url.strip_prefix("url=").unwrap_or(url), secret, username, credential)
    }

    /// The server with credentials for one connection. A secret gives a name that is valid for a day.
    #[must_use]
    pub fn serve(&self, unix_ms: u64, suffix: &str) -> IceServer {
        let (username, credential) = match &self.credentials {
            Credentials::None => (None, None),
            Credentials::Fixed { username, credential } => (Some(username.clone()), Some(credential.clone())),
            Credentials::Secret(secret) => {
                let username = format!("{}:{suffix}", unix_ms / 1000 + CREDENTIAL_SECS);
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
                let tag = hmac::sign(&key, username.as_bytes());
                let credential = base64::engine::general_purpose::STANDARD.encode(tag.as_ref());
                (Some(username), Some(credential))
            }
        };
        IceServer { url: self.url.clone(), username, credential }
    }
}

/// An ICE server as the API shows it.
#[must_use]
pub fn to_json(server: &IceServer) -> Value {
    let mut map = Map::new();
    map.insert("url".to_owned(), json!(server.url));
    if let Some(username) = &server.username {
        map.insert("username".to_owned(), json!(username));
    }
    if let Some(credential) = &server.credential {
        map.insert("credential".to_owned(), json!(credential));
    }
    Value::Object(map)
}

/// Says whether the URL is of a TURN server.
fn check_url(url: &str) -> Result<bool, &'static str> {
    let (scheme, rest) = url.split_once(':').ok_or("expected 'turn:', 'turns:', 'stun:' or 'stuns:'")?;
    let relayed = match scheme {
        "turn" | "turns" => true,
        "stun" | "stuns" => false,
        _ => return Err("expected 'turn:', 'turns:', 'stun:' or 'stuns:'"),
    };
    let authority = match rest.split_once('?') {
        None => rest,
        Some((authority, "transport=udp" | "transport=tcp")) if relayed => authority,
        Some(_) => return Err("only '?transport=udp' and '?transport=tcp' of a TURN server are allowed"),
    };
    let (host_is_good, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("unbalanced brackets")?;
            (host.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            (host_is_good(&authority[..end]), &authority[end..])
        }
    };
    if !host_is_good {
        return Err("the host is neither a domain nor an address");
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(relayed),
        Some(digits) if digits.parse::<u16>().is_ok_and(|port| port > 0) && !digits.starts_with('+') => {
            Ok(relayed)
        }
        _ => Err("the port is not a number from 1 to 65535"),
    }
}

fn host_is_good(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if numeric { host.parse::<Ipv4Addr>().is_ok() } else { host.len() <= 253 && host.split('.').all(label) }
}

/// How long credentials made from a secret are valid.
const CREDENTIAL_SECS: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, good: bool) {
        assert_eq!(IceSource::from_text(text).is_ok(), good, "{text}");
    }

    #[test]
    fn urls_are_checked_as_openvidu_does() {
        check("bad-ice-server", false);
        check("turn:bad-ice-server", false);
        check("bad-prefix:bad-ice-server", false);
        check("turn:valid-domain.es,username=u,credential=c", true);
        check("turn:valid-domain.es,username=u", false);
        check("turn:valid-domain.es,username=u,credential=c,staticAuthSecret=s", false);
        check("stun:valid-domain.es:1234", true);
        check("stun:valid-domain.es:0", false);
        check("stun:valid-domain.es:65536", false);
        check("stun:valid-domain.es?transport=udp", false);
        check("turns:[2001:db8::1]:443?transport=tcp,staticAuthSecret=s", true);
        check("turn:[2001:db8::1,staticAuthSecret=s", false);
        check("turn:1.2.3.4?transport=sctp,staticAuthSecret=s", false);
        check("stun:1.2.3.4,username=u,credential=c", false);
        check("stun:300.2.3.4", false);
        check("stun:", false);
        check("stun:-a.example", false);
    }

    #[test]
    fn a_secret_gives_credentials_that_a_turn_server_can_check() {
        let server = IceSource::from_text("url=turn:t.example,staticAuthSecret=north").unwrap();
        let served = server.serve(1_700_000_000_123, "AbCdEf12");
        assert_eq!(served.username.as_deref(), Some("1700086400:AbCdEf12"));
        // printf 1700086400:AbCdEf12 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(served.credential.as_deref(), Some("K2bbuCbQlzHF0SDsMDsS+2NQLP8="));
        assert_eq!(
            to_json(&served).as_object().unwrap().keys().collect::<Vec<_>>(),
            ["url", "username", "credential"]
        );
    }
}
