//! Pure: no clock, no I/O, no async.
//!
//! All origins, headers and methods are allowed on every path, as OpenVidu allows them: nothing here trusts a cookie.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, header};

/// What a request says of its origin.
#[derive(Debug)]
pub struct Cors {
    origin: Option<HeaderValue>,
    preflight: Option<Preflight>,
}

#[derive(Debug)]
struct Preflight {
    method: HeaderValue,
    headers: Option<HeaderValue>,
}

impl Cors {
    /// Reads the request's headers.
    #[must_use]
    pub fn of(request: &Request<Body>) -> Self {
        let headers = request.headers();
        let preflight = match headers.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
            Some(method) if request.method() == Method::OPTIONS => Some(Preflight {
                method: method.clone(),
                headers: headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
            }),
            _ => None,
        };
        Self { origin: headers.get(header::ORIGIN).cloned(), preflight }
    }

    /// The browser only asks whether it may ask.
    #[must_use]
    pub const fn is_preflight(&self) -> bool {
        self.preflight.is_some()
    }

    /// Allows the answer to be read.
    pub fn decorate(self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.origin else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        match self.preflight {
            Some(preflight) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, preflight.method);
                if let Some(allowed) = preflight.headers {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
                }
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("1800"));
            }
            None => {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            }
        }
    }
}

const EXPOSED: &str = "Location, Link, ETag, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_is_told_apart_from_a_plain_options() {
        let plain = Request::options("/whip").header("origin", "https://a").body(Body::empty()).unwrap();
        assert!(!Cors::of(&plain).is_preflight());
        let asks = Request::options("/whip")
            .header("origin", "https://a")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
            .body(Body::empty())
            .unwrap();
        let cors = Cors::of(&asks);
        assert!(cors.is_preflight());
        let mut response = Response::new(Body::empty());
        cors.decorate(&mut response);
        assert_eq!(response.headers()["access-control-allow-origin"], "https://a");
        assert_eq!(response.headers()["access-control-allow-methods"], "POST");
        assert_eq!(response.headers()["access-control-allow-headers"], "authorization,content-type");
    }
}
