//! Packages a second on one core: the example template, whose images are hashed once.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Map, Value, json};
use tidings_passbook_service::DevelopmentCertificates;
use tidings_passbook_service::package::{
    Builder, Issuer, Kind, PassContent, PassState, Rules, SigningIdentity, Template,
};

const NOW: i64 = 1_790_000_000_000;

fn package(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (pass_type, team) = ("pass.dev.tidings.example", "TIDINGSDEV");
    let made = DevelopmentCertificates::load_or_create(folder.path(), pass_type, team, NOW).unwrap();
    let identity = SigningIdentity::load(&made.files(), pass_type, team, NOW).unwrap();
    let issuer = Issuer {
        kind: Kind::Pass,
        pass_type: pass_type.to_owned(),
        team: team.to_owned(),
        web_service_url: "https://wallet.example.org".to_owned(),
        rules: Rules::default(),
    };
    let template =
        Template::from_folder(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/example")).unwrap();
    let fields: Map<String, Value> =
        json!({"points": 7, "name": "Ada", "offer": "Free Café"}).as_object().cloned().unwrap();
    let content = PassContent { serial: "card-1", fields: &fields, user_info: None, state: &PassState::NONE };

    let mut group = criterion.benchmark_group("package");
    group.throughput(Throughput::Elements(1));
    let manifest = vec![b'x'; 600];
    group.bench_function("signature", |bencher| {
        bencher.iter(|| identity.sign_detached(black_box(&manifest), NOW).unwrap());
    });
    let builder = Builder::new(issuer, identity);
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| builder.fingerprint(&template, black_box(content)).unwrap());
    });
    group.bench_function("full", |bencher| {
        bencher.iter(|| builder.build(&template, black_box(content), "0123456789abcdef", NOW).unwrap());
    });
    group.finish();
}

criterion_group!(benches, package);
criterion_main!(benches);
