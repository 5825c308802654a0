//! A request of several portions, when the database goes away between them.

use tidings_shared::push_api::Push;

use super::*;

fn pushes(notification: &Value, count: usize) -> Vec<Waiting<'_>> {
    let push = |number: usize| {
        let token = format!("token_{number}");
        let to = To::Token(TokenTarget {
            provider: Provider::Fcm,
            app: "default".to_owned(),
            token: token.clone(),
            environment: Environment::Production,
            registered_at_ms: None,
        });
        let request = json!({"to": to, "push": Push::Wake {}});
        (notification, token, serde_json::from_value(request).unwrap())
    };
    (0..count).map(push).collect()
}

fn away() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable", "the database does not answer")
}

fn stored(count: usize) -> Result<Vec<Outcome>, ApiError> {
    Ok((0..count).map(|_| Ok(String::new())).collect())
}

#[test]
fn what_is_stored_is_never_asked_for_again() {
    let notification = json!({"platform": 2, "message": "m", "notif_id": "7"});
    let waiting = pushes(&notification, 2 * MAX_BATCH + 500);
    let mut done = Done::default();
    let rest = done.take(&waiting, stored(MAX_BATCH)).unwrap();
    assert_eq!(rest.len(), MAX_BATCH + 500);
    // What is left is not tried portion by portion: each of it is in the log once.
    assert!(done.take(rest, Err(away())).unwrap().is_empty());
    assert_eq!((done.counts, done.logs.len()), (MAX_BATCH, MAX_BATCH + 500));
    for (number, log) in (MAX_BATCH..).zip(&done.logs) {
        assert_eq!((&log["type"], &log["notif_id"]), (&json!("failed-push"), &json!("7")));
        assert_eq!(log["token"], format!("token_{number}"));
        assert_eq!(log["error"], "the database does not answer");
    }
}

#[test]
fn a_request_of_which_nothing_is_stored_is_refused_as_a_whole() {
    let notification = json!({"platform": 2, "message": "m"});
    let waiting = pushes(&notification, MAX_BATCH + 1);
    let mut done = Done::default();
    assert_eq!(done.take(&waiting, Err(away())).unwrap_err().code, "storage_unavailable");
    // Nor does a portion whose pushes were all refused count as stored.
    let refused = (0..MAX_BATCH).map(|_| Err(away())).collect();
    let rest = done.take(&waiting, Ok(refused)).unwrap();
    assert_eq!((rest.len(), done.counts, done.logs.len()), (1, 0, MAX_BATCH));
    assert!(done.take(rest, Err(away())).is_err());
}
