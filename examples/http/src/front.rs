//! The face of the service: a `wasi:http/proxy` component. The runtime listens, and hands every request to a fresh instance of it;
//! so it keeps nothing itself, and asks the store next door.

use wstd::http::{Body, Client, Error, Method, Request, Response, StatusCode};

/// The store listens on the pod's own loopback: nobody outside the pod can reach it.
const STORE: &str = "http://127.0.0.1:9000";

const HELP: &str = "A key-value service.\n\
    echo hello | curl -T - http://localhost:8080/greeting   stores a value\n\
    curl http://localhost:8080/greeting                     reads it\n\
    curl http://localhost:8080/greeting -X DELETE           forgets it\n";

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let key = request.uri().path().to_owned();
    match *request.method() {
        Method::GET if key == "/" => answer(StatusCode::OK, HELP),
        Method::GET | Method::PUT | Method::DELETE => {
            // The store reads bodies of a known length only, so the value is gathered before it is passed on.
            let value = request.body_mut().bytes_contents().await?;
            let question = Request::builder()
                .method(request.method())
                .uri(format!("{STORE}{key}"))
                .header("content-length", value.len())
                .body(Body::from(value))?;
            match Client::new().send(question).await {
                Ok(reply) => Ok(Response::builder().status(reply.status()).body(reply.into_body())?),
                Err(error) => answer(StatusCode::BAD_GATEWAY, &format!("the store does not answer: {error}\n")),
            }
        }
        _ => answer(StatusCode::METHOD_NOT_ALLOWED, "GET, PUT or DELETE\n"),
    }
}

fn answer(status: StatusCode, text: &str) -> Result<Response<Body>, Error> {
    Ok(Response::builder().status(status).body(text.into())?)
}
