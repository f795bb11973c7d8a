//! A server that does not tell the truth about what it holds.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use landfall::{
    Code, Settings, Silent,
    recipes::vault::{self as recipe, ScanOptions},
};
use landfall_env::Blocking;
use serde_json::Value;

use crate::held::{Held, held, run};

/// An answer with its JSON changed.
async fn altered(answer: Response, alter: impl FnOnce(&mut Value)) -> Response {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await.expect("an answer is there").to_bytes();
    let mut json = serde_json::from_slice(&bytes).expect("an answer is JSON");
    alter(&mut json);
    head.headers.remove("content-length");
    Response::from_parts(head, Body::from(json.to_string()))
}

/// Loses the answer to every part, and then calls stored what has another checksum.
fn storing_other_bytes(router: axum::Router) -> axum::Router {
    let lying = move |request: Request| {
        let mut router = router.clone();
        async move {
            let is_part = request.method() == Method::PUT;
            let is_upload = request.uri().path().starts_with("/vault/uploads");
            let answer: Response = tower_service::Service::call(&mut router, request).await.into_response();
            match (is_part, is_upload && answer.status() == StatusCode::OK) {
                (true, _) => StatusCode::GATEWAY_TIMEOUT.into_response(),
                (_, true) => {
                    altered(answer, |status| {
                        for part in status["parts"].as_array_mut().into_iter().flatten() {
                            part["crc32c"] = (part["crc32c"].as_u64().unwrap_or_default() ^ 1).into();
                        }
                    })
                    .await
                }
                _ => answer,
            }
        }
    };
    axum::Router::new().fallback(lying)
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_stored_with_other_checksums_is_no_success() {
    let held = Held::empty(Blocking::Inline, |files| files).await;
    held.put("a.jpg", b"a");
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let (engine, session) = held.engine_over(storing_other_bytes(held.server.router()), held.settings()).await;
    held.scan(&engine, &session, &ScanOptions::default()).await;
    run(&engine, &session, Arc::new(Silent)).await;
    let blocked = engine.items(Some("blocked".to_owned()), 10).await.expect("the journal is read");
    let codes: Vec<_> = blocked.iter().map(|item| item.blocked.as_ref().and_then(|(code, _)| *code)).collect();
    assert_eq!((codes, held.contents().await), (vec![Some(Code::Tampered)], 0));
}

/// Gives the content where the thumbnail is asked for, with the content's header and length.
fn showing_the_content(router: axum::Router) -> axum::Router {
    let lying = move |mut request: Request| {
        let mut router = router.clone();
        async move {
            let asked = request.uri().path().to_owned();
            if let Some(id) = asked.strip_prefix("/files/preview/") {
                *request.uri_mut() = format!("/files/download/{id}").parse().expect("a path is a URI");
            }
            let answer: Response = tower_service::Service::call(&mut router, request).await.into_response();
            if asked != "/vault/diff" {
                return answer;
            }
            altered(answer, |page| {
                for record in page["diff"].as_array_mut().into_iter().flatten() {
                    record["thumbnail"] = record["file"].clone();
                }
            })
            .await
        }
    };
    axum::Router::new().fallback(lying)
}

#[tokio::test(start_paused = true)]
async fn nothing_else_of_a_record_passes_for_its_thumbnail() {
    let held = held(&["a.jpg"]).await;
    let looking = || Settings { ephemeral: true, ..Settings::new("/nowhere") };
    let (engine, session) = held.engine(looking()).await;
    let sound = recipe::verify(&engine, &session, true).await.expect("the vault answers");
    assert_eq!((sound.checked, sound.problems), (1, vec![]));
    let (engine, session) = held.engine_over(showing_the_content(held.server.router()), looking()).await;
    let found = recipe::verify(&engine, &session, true).await.expect("the vault answers");
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
    assert!(found.problems[0].1.contains("thumbnail"), "{:?}", found.problems);
}
