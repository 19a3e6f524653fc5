//! Wire: JSON-RPC 2.0 frames (<https://www.jsonrpc.org/specification>), one object a frame, no batches.

use serde_json::{Map, Value, json};

use super::fault::Fault;

/// A request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Number or string, repeated in the response.
    pub id: Value,
    /// What is asked for.
    pub method: String,
    /// Its parameters; empty where the client left them out.
    pub params: Map<String, Value>,
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A request, which gets exactly one response.
    Call(Call),
    /// A notification or a response: nothing of the kind is expected of a client.
    Ignored,
    /// Nothing usable: answered under this id.
    Invalid(Value, Fault),
}

/// Longest method name and id that are repeated; those of clients have less than 40 characters.
const NAME_BYTES_MAX: usize = 128;

/// Reads a frame. Nesting is bounded by the parser, size by the socket.
#[must_use]
pub fn parse(text: &str) -> Frame {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Frame::Invalid(Value::Null, Fault::new(PARSE_ERROR, "the frame is not JSON"));
    };
    let Value::Object(mut object) = value else {
        return Frame::Invalid(Value::Null, Fault::new(INVALID_REQUEST, "the frame is not an object"));
    };
    let id = match object.remove("id") {
        None => return Frame::Ignored,
        Some(Value::String(text)) if text.len() > NAME_BYTES_MAX => Value::Null,
        Some(id @ (Value::Number(_) | Value::String(_))) => id,
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Value::Null,
    };
    if id.is_null() {
        return Frame::Invalid(id, Fault::new(INVALID_REQUEST, "the id is not a number or a short string"));
    }
    let method = match object.remove("method") {
        Some(Value::String(method)) if method.len() <= NAME_BYTES_MAX => method,
        // A response to something that was never asked.
        None if object.contains_key("result") || object.contains_key("error") => return Frame::Ignored,
        _ => return Frame::Invalid(id, Fault::new(INVALID_REQUEST, "the method is not a short string")),
    };
    let params = match object.remove("params") {
        Some(Value::Object(params)) => params,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Frame::Invalid(id, Fault::params("the params are not an object")),
    };
    Frame::Call(Call { id, method, params })
}

/// A response.
#[must_use]
pub fn respond(id: &Value, outcome: &Result<Value, Fault>) -> String {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string(),
        Err(fault) => {
            let error = json!({ "code": fault.code, "message": fault.message });
            json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string()
        }
    }
}

/// A notification.
#[must_use]
pub fn notify(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
}

const PARSE_ERROR: i32 = -32700;

const INVALID_REQUEST: i32 = -32600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_and_without_parameters() {
        let Frame::Call(call) = parse(r#"{"jsonrpc":"2.0","method":"ping","id":11}"#) else {
            panic!("a call")
        };
        assert_eq!((call.id, call.method.as_str(), call.params.len()), (json!(11), "ping", 0));
        let Frame::Call(call) = parse(r#"{"method":"ping","params":{"interval":5000},"id":"x"}"#) else {
            panic!("a call")
        };
        assert_eq!((call.id, &call.params["interval"]), (json!("x"), &json!(5000)));
    }

    #[test]
    fn what_needs_no_answer_gets_none_and_rubbish_gets_one() {
        for ignored in
            [r#"{"jsonrpc":"2.0","method":"x"}"#, r#"{"id":1,"result":{}}"#, r#"{"id":1,"error":{}}"#]
        {
            assert_eq!(parse(ignored), Frame::Ignored, "{ignored}");
        }
        for (rubbish, id, code) in [
            ("", Value::Null, PARSE_ERROR),
            ("[1]", Value::Null, INVALID_REQUEST),
            (r#"{"id":{},"method":"x"}"#, Value::Null, INVALID_REQUEST),
            (r#"{"id":7}"#, json!(7), INVALID_REQUEST),
            (r#"{"id":7,"method":5}"#, json!(7), INVALID_REQUEST),
            (r#"{"id":7,"method":"x","params":[1]}"#, json!(7), -32602),
        ] {
            let Frame::Invalid(answered, fault) = parse(rubbish) else { panic!("{rubbish}") };
            assert_eq!((answered, fault.code), (id, code), "{rubbish}");
        }
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(matches!(parse(&deep), Frame::Invalid(Value::Null, _)));
    }

    #[test]
    fn responses_and_notifications_are_as_the_library_wants_them() {
        assert_eq!(
            respond(&json!(3), &Ok(json!({ "value": "pong" }))),
            r#"{"jsonrpc":"2.0","id":3,"result":{"value":"pong"}}"#
        );
        assert_eq!(
            respond(&json!(3), &Err(Fault::new(401, "no"))),
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":401,"message":"no"}}"#
        );
        assert_eq!(
            notify("participantLeft", &json!({ "connectionId": "con_A" })),
            r#"{"jsonrpc":"2.0","method":"participantLeft","params":{"connectionId":"con_A"}}"#
        );
    }
}
