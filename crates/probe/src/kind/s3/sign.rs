//! AWS Signature Version 4 (AWS documentation, "Create a signed AWS API request").

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use model::Private;
use sha2::{Digest as _, Sha256};

/// An access key and what it is used for.
pub(super) struct Credentials {
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) secret_key: Private<String>,
    pub(super) session_token: Option<Private<String>>,
}

impl Credentials {
    /// Returns the headers that sign a request for `host`. `path` and `query` are encoded, `query` in order of names.
    pub(super) fn sign(
        &self,
        now: Timestamp,
        method: &str,
        path: &str,
        query: &str,
        host: &str,
        digest: &str,
    ) -> Vec<(&'static str, String)> {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = now.strftime("%Y%m%d").to_string();
        let mut headers = vec![("x-amz-content-sha256", digest.to_owned()), ("x-amz-date", time.clone())];
        if let Some(token) = &self.session_token {
            headers.push(("x-amz-security-token", token.expose().clone()));
        }
        let mut signed = vec![("host", host)];
        signed.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = mac(format!("AWS4{}", self.secret_key.expose()).as_bytes(), day.as_bytes());
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        let credential = format!("{}/{scope}", self.access_key);
        headers.push((
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"),
        ));
        headers
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encodes as AWS wants it: all but the unreserved characters of RFC 3986, and in a path the slash.
pub(super) fn encode(text: &str, path: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            b'/' if path => "/".to_owned(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Credentials {
        Credentials {
            region: "us-east-1".to_owned(),
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: Private::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: None,
        }
    }

    /// "GET Bucket (List Objects)" of the Amazon S3 API reference, "Examples: Signature Calculations".
    #[test]
    fn the_published_example_comes_out() {
        let empty = hex(&Sha256::digest(b""));
        let now = "2013-05-24T00:00:00Z".parse().expect("a time");
        let headers = example().sign(now, "GET", "/", "max-keys=2&prefix=J", "examplebucket.s3.amazonaws.com", &empty);
        let (_, authorization) = headers.last().expect("a signature");
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn a_session_token_is_signed_too() {
        let credentials = Credentials { session_token: Some(Private::new("token".to_owned())), ..example() };
        let headers = credentials.sign(Timestamp::UNIX_EPOCH, "GET", "/", "", "host", "digest");
        assert!(headers.contains(&("x-amz-security-token", "token".to_owned())));
        assert!(headers.iter().any(|(_, value)| value.contains("x-amz-date;x-amz-security-token,")));
    }

    #[test]
    fn names_are_encoded_as_aws_encodes_them() {
        assert_eq!(encode("a b/ü~", true), "a%20b/%C3%BC~");
        assert_eq!(encode("a/b", false), "a%2Fb");
    }
}
