//! Shell: builds the router.
//!
//! Every route of the faces in one table, who may use which path, and the old paths that are still served.

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::{MethodRouter, delete, get, options, patch, post, put};

use super::error::framework;
use super::{
    Face, connections, decisions, events, nodes, open, openapi, own, page, recording_files, recordings,
    sessions, whip,
};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// `GET`, `POST`, ...
    pub method: &'static str,
    /// With `{names}` of its variable parts.
    pub path: &'static str,
    handler: MethodRouter<Face>,
}

/// Who may use a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Whoever knows the API secret.
    App,
    /// Whoever bears a connection's token; the core knows it.
    Bearer,
    /// Everybody, at a bounded rate.
    Open,
}

/// All routes, in the order of the documentation.
#[must_use]
pub fn all() -> Vec<Route> {
    let mut routes = app_routes();
    routes.extend(bearer_routes());
    routes.extend(open_routes());
    routes
}

fn app_routes() -> Vec<Route> {
    vec![
        route("POST", "/openvidu/api/sessions", post(sessions::create)),
        route("GET", "/openvidu/api/sessions", get(sessions::list)),
        route("GET", "/openvidu/api/sessions/{session}", get(sessions::read)),
        route("DELETE", "/openvidu/api/sessions/{session}", delete(sessions::delete)),
        route("GET", "/openvidu/api/sessions/{session}/events", get(events::of_session)),
        route("POST", "/openvidu/api/sessions/{session}/connection", post(connections::create)),
        route("GET", "/openvidu/api/sessions/{session}/connection", get(connections::list)),
        route("GET", "/openvidu/api/sessions/{session}/connection/{connection}", get(connections::read)),
        route(
            "PATCH",
            "/openvidu/api/sessions/{session}/connection/{connection}",
            patch(connections::change),
        ),
        route(
            "DELETE",
            "/openvidu/api/sessions/{session}/connection/{connection}",
            delete(connections::delete),
        ),
        route("DELETE", "/openvidu/api/sessions/{session}/stream/{stream}", delete(sessions::unpublish)),
        route("POST", "/openvidu/api/tokens", post(connections::create_token)),
        route("POST", "/openvidu/api/signal", post(sessions::signal)),
        route("POST", "/openvidu/api/recordings/start", post(recordings::start)),
        route("POST", "/openvidu/api/recordings/stop/{recording}", post(recordings::stop)),
        route("GET", "/openvidu/api/recordings", get(recordings::list)),
        route("GET", "/openvidu/api/recordings/{recording}", get(recordings::read)),
        route("DELETE", "/openvidu/api/recordings/{recording}", delete(recordings::delete)),
        route("GET", "/openvidu/recordings/{recording}/{file}", get(recording_files::file)),
        route("GET", "/openvidu/api/media-nodes", get(nodes::list)),
        route("GET", "/openvidu/api/media-nodes/{node}", get(nodes::read)),
        route("PATCH", "/openvidu/api/media-nodes/{node}", patch(nodes::change)),
        route("GET", "/openvidu/api/health", get(nodes::health)),
        route("GET", "/plenum/api/sessions/{session}/placement", get(decisions::of_session)),
        route("GET", "/plenum/api/placement", get(decisions::all)),
        route("GET", "/plenum/api/nodes", get(decisions::nodes)),
        route("GET", "/plenum/api/events", get(events::of_cluster)),
        route("GET", "/plenum/api/stats", get(decisions::stats)),
    ]
}

fn bearer_routes() -> Vec<Route> {
    vec![
        route("POST", "/whip", post(whip::publish)),
        route("OPTIONS", "/whip", options(whip::options)),
        route("PATCH", "/whip/{resource}", patch(whip::trickle)),
        route("DELETE", "/whip/{resource}", delete(whip::close)),
        route("OPTIONS", "/whip/{resource}", options(whip::resource_options)),
        route("POST", "/whep", post(whip::play_session)),
        route("OPTIONS", "/whep", options(whip::options)),
        route("POST", "/whep/{resource}", post(whip::play_stream)),
        route("PATCH", "/whep/{resource}", patch(whip::trickle)),
        route("DELETE", "/whep/{resource}", delete(whip::close)),
        route("OPTIONS", "/whep/{resource}", options(whip::resource_options)),
        route("PUT", "/whep/{resource}/slots", put(whip::arrange)),
        route("GET", "/connection", get(own::read)),
        route("DELETE", "/connection", delete(own::leave)),
        route("POST", "/signal", post(own::signal)),
        route("GET", "/events", get(events::own)),
    ]
}

fn open_routes() -> Vec<Route> {
    vec![
        route("GET", "/openvidu/api/config/openvidu-publicurl", get(open::public_url)),
        route("GET", "/openvidu/accept-certificate", get(open::accept_certificate)),
        route("GET", "/openvidu", get(crate::ws::accept)),
        route("GET", "/openapi.json", get(openapi::document)),
        route("GET", "/", get(page::index)),
        route("GET", "/page/{file}", get(page::file)),
        route("GET", "/favicon.ico", get(page::icon)),
    ]
}

fn route(method: &'static str, path: &'static str, handler: MethodRouter<Face>) -> Route {
    Route { method, path, handler }
}

/// The router of all routes.
pub fn router(face: Face) -> Router {
    let mut router = Router::new();
    for Route { path, handler, .. } in all() {
        router = router.route(path, handler);
    }
    router
        .fallback(async || framework(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || framework(StatusCode::METHOD_NOT_ALLOWED))
        .with_state(face)
}

/// Who may use `path`; files of recordings can be public.
#[must_use]
pub fn access(path: &str, public_recordings: bool) -> Access {
    let is_open = |route: &str| path == route;
    if is_open("/openvidu")
        || is_open("/openvidu/api/config/openvidu-publicurl")
        || is_open("/openvidu/accept-certificate")
        || public_recordings && below(path, "/openvidu/recordings")
    {
        Access::Open
    } else if below(path, "/openvidu") || below(path, "/plenum/api") {
        Access::App
    } else if ["/whip", "/whep", "/connection", "/signal", "/events"].iter().any(|root| below(path, root)) {
        Access::Bearer
    } else {
        Access::Open
    }
}

fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The present path of an old one, where there is one.
#[must_use]
pub fn modern_uri(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let modern =
        if path == "/accept-certificate" || path.starts_with("/api/") || path.starts_with("/recordings/") {
            format!("/openvidu{path}")
        } else if path.starts_with("/config/") {
            format!("/openvidu/api{path}")
        } else if path.starts_with("/pro/media-nodes") {
            format!("/openvidu/api{}", path.trim_start_matches("/pro"))
        } else {
            return None;
        };
    let text = match uri.query() {
        Some(query) => format!("{modern}?{query}"),
        None => modern,
    };
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_table_has_the_right_guard() {
        for route in app_routes() {
            assert_eq!(access(route.path, false), Access::App, "{}", route.path);
        }
        for route in bearer_routes() {
            assert_eq!(access(route.path, false), Access::Bearer, "{}", route.path);
        }
        for route in open_routes() {
            assert_eq!(access(route.path, false), Access::Open, "{}", route.path);
        }
        assert_eq!(access("/openvidu/api/config/openvidu-publicurl/x", false), Access::App);
        assert_eq!(access("/openvidux", false), Access::Open);
        assert_eq!(access("/openvidu/recordings/a/a.mp4", true), Access::Open);
        assert_eq!(access("/openvidu/api/recordings", true), Access::App);
    }

    #[test]
    fn old_paths_lead_to_the_present_ones() {
        let modern = |text: &str| modern_uri(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(modern("/api/sessions/a?x=1").as_deref(), Some("/openvidu/api/sessions/a?x=1"));
        assert_eq!(
            modern("/config/openvidu-publicurl").as_deref(),
            Some("/openvidu/api/config/openvidu-publicurl")
        );
        assert_eq!(modern("/accept-certificate").as_deref(), Some("/openvidu/accept-certificate"));
        assert_eq!(modern("/pro/media-nodes/x").as_deref(), Some("/openvidu/api/media-nodes/x"));
        assert_eq!(modern("/recordings/s~1/s~1.mp4").as_deref(), Some("/openvidu/recordings/s~1/s~1.mp4"));
        assert_eq!(modern("/openvidu/api/sessions"), None);
        assert_eq!(modern("/whip"), None);
    }
}
