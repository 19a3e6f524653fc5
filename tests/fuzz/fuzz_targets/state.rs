//! The state of an endpoint as another node sends it. What can be read is the same after writing it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mediad::transport::state::EndpointState;

fuzz_target!(|data: &[u8]| {
    let Ok(state) = EndpointState::<Vec<u8>>::decode(data) else { return };
    let bytes = state.encode().expect("our own state");
    assert!(EndpointState::decode(&bytes).expect("our own bytes") == state);
});
