//! `_bulk`: whatever comes, the answer is JSON, and says something of every item.
#![no_main]

use fuzz::{call, receiver, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, call)) = call(data) else { return };
    let index = (choice & 4 != 0).then_some("logs-app-default");
    let answer = run(receiver().bulk(call, index));
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("the answer is JSON");
    match answer.status {
        200 => {
            let items = body["items"].as_array().expect("the answer has items");
            let failed = items.iter().any(|item| {
                let item = item.as_object().and_then(|item| item.values().next()).expect("an item says what it was");
                item["status"].as_u64().expect("an item has a status") >= 300
            });
            assert_eq!(body["errors"], failed);
        }
        400 | 413 | 415 => assert!(body["error"].is_object(), "{body}"),
        status => panic!("status {status}"),
    }
});
