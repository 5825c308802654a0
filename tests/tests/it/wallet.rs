//! Apple's pass web service, row by row, as a phone sees it from outside.

use serde_json::json;
use tidings_tests::passbook::{PASS_TYPE, Pass, Passbook, pass_path, registration_path, serials, tag};
use tidings_tests::wait::{PATIENCE, eventually};

const PHONE: &str = "0123456789abcdef0123456789abcdef";
const PUSH_TOKEN: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

#[test]
fn a_new_registration_is_201_and_a_known_one_200() {
    let service = Passbook::start();
    let pass = service.create("one");
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(201);
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(200);
    let _ = service.register("another-phone", &pass, PUSH_TOKEN).expect(201);
    let _ = service.registration("DELETE", PHONE, &pass).send().expect(200);
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(201);
}

#[test]
fn a_wrong_token_and_an_unknown_serial_get_the_same_401() {
    let service = Passbook::start();
    let pass = service.create("one");
    let wrong = Pass { token: "wrong-token-of-sixteen".to_owned(), ..pass.clone() };
    let unknown = Pass { serial: "unknown".to_owned(), ..pass.clone() };
    let body = json!({ "pushToken": PUSH_TOKEN });
    let mut answers = vec![
        service.register(PHONE, &wrong, PUSH_TOKEN),
        service.register(PHONE, &unknown, PUSH_TOKEN),
        service.request("POST", &registration_path(PHONE, &pass.serial)).json(&body).send(),
        service.registration("DELETE", PHONE, &wrong).send(),
        service.registration("DELETE", PHONE, &unknown).send(),
        service.fetch("GET", &wrong).send(),
        service.fetch("GET", &unknown).send(),
        service.request("GET", &pass_path(&pass.serial)).send(),
        service
            .request("GET", &pass_path(&pass.serial))
            .header("Authorization", &format!("Bearer {}", pass.token))
            .send(),
    ];
    let first = answers.remove(0).expect(401);
    for answer in answers {
        let answer = answer.expect(401);
        assert_eq!(answer.body, first.body, "no existence leak");
        let names = |headers: &[(String, String)]| headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&answer.headers), names(&first.headers));
    }
}

#[test]
fn a_body_without_a_push_token_is_400() {
    let service = Passbook::start();
    let pass = service.create("one");
    for body in ["", "no json", "[]", "{}", r#"{"pushToken":7}"#, r#"{"pushToken":""}"#] {
        let _ = service.registration("POST", PHONE, &pass).body(body).send().expect(400);
    }
    // Without a good token not even the form of the body is looked at.
    let _ = service.request("POST", &registration_path(PHONE, "one")).body("no json").send().expect(401);
}

#[test]
fn another_pass_type_than_the_certificates_is_404_after_authentication() {
    let mut service = Passbook::start();
    let pass = service.create("one");
    service.restart_with(&[("wallet.pass_type", "pass.dev.tidings.other")]);
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(404);
    let _ = service.fetch("GET", &pass).send().expect(404);
    let wrong = Pass { token: "wrong-token-of-sixteen".to_owned(), ..pass };
    let _ = service.register(PHONE, &wrong, PUSH_TOKEN).expect(401);
    service.process.says("signing certificate", PATIENCE);
}

#[test]
fn unregistering_is_200_also_when_the_registration_is_gone() {
    let service = Passbook::start();
    let pass = service.create("one");
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(201);
    for _ in 0..2 {
        let _ = service.registration("DELETE", PHONE, &pass).send().expect(200);
    }
    assert_eq!(service.list(PHONE, None).expect(204).body, b"");
}

#[test]
fn the_list_is_daisy_chained_by_a_tag_that_is_a_string() {
    let service = Passbook::start();
    let (one, two) = (service.create("one"), service.create("two"));
    for pass in [&one, &two] {
        let _ = service.register(PHONE, pass, PUSH_TOKEN).expect(201);
    }
    let all = service.list(PHONE, None).expect(200);
    assert_eq!(all.header("content-type"), Some("application/json"));
    assert_eq!(serials(&all), ["one", "two"]);
    let first = tag(&all);
    assert_eq!(service.list(PHONE, Some(&first)).expect(204).body, b"", "nothing changed: 204 without a body");

    let _ = service.change(&two, &json!({ "points": "20" }));
    let changed = service.list(PHONE, Some(&first)).expect(200);
    assert_eq!(serials(&changed), ["two"], "strictly after the tag");
    assert_ne!(tag(&changed), first, "the tag moves with what is listed");
    let _ = service.list(PHONE, Some(&tag(&changed))).expect(204);
    // A device that missed the last answer asks with the older tag again, and gets it again.
    assert_eq!(serials(&service.list(PHONE, Some(&first)).expect(200)), ["two"]);
}

#[test]
fn an_unknown_device_gets_204_and_never_an_error() {
    let service = Passbook::start();
    for device in ["nobody", "%2e%2e%2f", "%00", "a%20b", "ü"] {
        let answer = service.list(device, None);
        assert_eq!((answer.status, answer.body.as_slice()), (204, &b""[..]), "{device}");
    }
}

#[test]
fn a_tag_that_means_nothing_lists_everything() {
    let service = Passbook::start();
    let pass = service.create("one");
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(201);
    let good = tag(&service.list(PHONE, None).expect(200));
    let (epoch, number) = good.rsplit_once('.').unwrap();
    let future = format!("{epoch}.{}", number.parse::<u64>().unwrap() + 1000);
    let other = format!("0{good}");
    for strange in ["", "0", "1700000000", "2026-01-01T00:00:00Z", "garbage", "%F0%9F%98%80", "-1", &future, &other] {
        assert_eq!(serials(&service.list(PHONE, Some(strange)).expect(200)), ["one"], "tag `{strange}`");
    }
}

#[test]
fn a_pass_is_fetched_with_its_headers_and_304_saves_it() {
    let service = Passbook::start();
    let pass = service.create("one");
    let answer = service.fetch("GET", &pass).send().expect(200);
    assert_eq!(answer.header("content-type"), Some("application/vnd.apple.pkpass"));
    assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
    assert_eq!(answer.header("vary").map(str::to_lowercase).as_deref(), Some("authorization"));
    let modified = answer.header("last-modified").expect("Last-Modified always").to_owned();

    let conditional = |pass: &Pass| service.fetch("GET", pass).header("If-Modified-Since", &modified).send();
    let unchanged = conditional(&pass).expect(304);
    assert_eq!((unchanged.body.as_slice(), unchanged.header("last-modified")), (&b""[..], Some(modified.as_str())));
    let _ = conditional(&Pass { token: "wrong-token-of-sixteen".to_owned(), ..pass.clone() }).expect(401);
    let _ = service.fetch("GET", &pass).send().expect(200);

    // A second change within the same second must not hide behind 304.
    let mut last = modified.clone();
    for points in ["11", "12", "13"] {
        let _ = service.change(&pass, &json!({ "points": points }));
        let answer = service.fetch("GET", &pass).header("If-Modified-Since", &last).send().expect(200);
        let now = answer.header("last-modified").unwrap().to_owned();
        assert_ne!(now, last, "Last-Modified strictly increases");
        last = now;
    }
}

#[test]
fn head_has_the_same_headers_and_no_body() {
    let service = Passbook::start();
    let pass = service.create("one");
    let get = service.fetch("GET", &pass).send().expect(200);
    let head = service.fetch("HEAD", &pass).send().expect(200);
    assert!(head.body.is_empty());
    for header in ["content-type", "last-modified", "cache-control", "vary"] {
        assert_eq!(head.header(header), get.header(header), "{header}");
    }
}

#[test]
fn android_wallets_clients_and_double_slashes_are_served() {
    let service = Passbook::start();
    let pass = service.create("one");
    let android = format!("AndroidPass {}", pass.token);
    let _ = service.request("GET", &pass_path("one")).header("Authorization", &android).send().expect(200);
    let apple = format!("ApplePass {}", pass.token);
    let doubled = format!("/{}", pass_path("one"));
    let _ = service.request("GET", &doubled).header("Authorization", &apple).send().expect(200);
    let _ = service.request("GET", &format!("/v1/devices/{PHONE}/registrations/{PASS_TYPE}/")).send().expect(204);
}

#[test]
fn percent_encoded_serials_are_understood() {
    let service = Passbook::start();
    let pass = service.create("one.two-3_4");
    let encoded = pass_path("one%2Etwo%2D3%5F4");
    let _ = service
        .request("GET", &encoded)
        .header("Authorization", &format!("ApplePass {}", pass.token))
        .send()
        .expect(200);
}

#[test]
fn device_logs_are_always_200_and_their_causes_can_be_read() {
    let service = Passbook::start();
    let line = format!(
        "[2026-01-02 03:04:05 +0100] Web service error for {PASS_TYPE} (https://example.org): \
         Response to 'What changed?' request included 2 serial numbers but the lastUpdated tag (7) remained the same."
    );
    let bodies = [
        json!({ "logs": [line] }).to_string(),
        json!([line]).to_string(),
        "no json".to_owned(),
        String::new(),
        "7".to_owned(),
    ];
    for body in bodies {
        let _ = service.request("POST", "/v1/log").body(body).send().expect(200);
    }
    let report = eventually("the log is in the report", PATIENCE, || {
        let report = service.api("GET", "/api/diagnoses").send().expect(200).json();
        let diagnoses = report["diagnoses"].as_array().cloned().unwrap_or_default();
        diagnoses.first().cloned()
    });
    assert_eq!(report["count"], 2, "the same text is one diagnosis: {report}");
    assert!(!report.to_string().contains("example.org/v1"), "{report}");
}

#[test]
fn the_push_token_belongs_to_the_device_and_rotates_everywhere() {
    let service = Passbook::start();
    let (one, two) = (service.create("one"), service.create("two"));
    let _ = service.register(PHONE, &one, PUSH_TOKEN).expect(201);
    let _ = service.register(PHONE, &two, PUSH_TOKEN).expect(201);
    let rotated = PUSH_TOKEN.replace('a', "b");
    let _ = service.register(PHONE, &one, &rotated).expect(200);
    for pass in [&one, &two] {
        let state = service.api("GET", &format!("/api/passes/{PASS_TYPE}/{}", pass.serial)).send().expect(200).json();
        assert_eq!(
            state["devices"].as_array().map(Vec::len).or(state["devices"].as_u64().map(|n| n as usize)),
            Some(1)
        );
    }
}

#[test]
fn an_update_that_changes_nothing_moves_nothing() {
    let service = Passbook::start();
    let pass = service.create("one");
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(201);
    let before = tag(&service.list(PHONE, None).expect(200));
    let modified = service.fetch("GET", &pass).send().expect(200).header("last-modified").unwrap().to_owned();
    let change = service.change(&pass, &json!({ "points": "10" }));
    assert_eq!(change["changed"], false, "{change}");
    let _ = service.list(PHONE, Some(&before)).expect(204);
    let _ = service.fetch("GET", &pass).header("If-Modified-Since", &modified).send().expect(304);
}

#[test]
fn a_deleted_pass_is_listed_no_more_and_its_token_opens_nothing() {
    let service = Passbook::start();
    let (one, two) = (service.create("one"), service.create("two"));
    for pass in [&one, &two] {
        let _ = service.register(PHONE, pass, PUSH_TOKEN).expect(201);
    }
    let _ = service.change(&one, &json!({ "points": "20" }));
    let _ = service.api("DELETE", &format!("/api/passes/{PASS_TYPE}/one")).send().expect(204);
    assert_eq!(serials(&service.list(PHONE, None).expect(200)), ["two"]);
    let _ = service.fetch("GET", &one).send().expect(401);
}

#[test]
fn everything_is_still_there_after_a_restart() {
    let mut service = Passbook::start();
    let pass = service.create("one");
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(201);
    let before = tag(&service.list(PHONE, None).expect(200));
    let package = service.fetch("GET", &pass).send().expect(200);
    let modified = package.header("last-modified").unwrap().to_owned();
    service.restart_with(&[]);
    let _ = service.list(PHONE, Some(&before)).expect(204);
    let _ = service.fetch("GET", &pass).header("If-Modified-Since", &modified).send().expect(304);
    let _ = service.register(PHONE, &pass, PUSH_TOKEN).expect(200);
    let _ = service.change(&pass, &json!({ "points": "20" }));
    assert_eq!(serials(&service.list(PHONE, Some(&before)).expect(200)), ["one"]);
}

#[test]
fn the_api_is_for_those_with_a_service_key() {
    let service = Passbook::start();
    let body = json!({ "template": "example" });
    let _ = service.request("POST", "/api/passes").json(&body).send().expect(401);
    let _ = service.request("POST", "/api/passes").bearer("wrong").json(&body).send().expect(401);
    let refused = service.api("POST", "/api/passes").json(&json!({ "template": "no-such" })).send().expect(422);
    assert_eq!(refused.code(), "template_unknown");
    let _ = service.create("one");
    let again = json!({ "template": "example", "serial": "one", "fields": { "name": "Ada", "points": "10" } });
    assert_eq!(service.api("POST", "/api/passes").json(&again).send().expect(409).code(), "pass_exists");
}
