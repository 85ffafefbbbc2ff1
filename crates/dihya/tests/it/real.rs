//! Real servers: an expired certificate on nginx pages through a real SMTP server, with the cause in the subject.

use crate::peers::Peers;
use crate::program::{Place, Server, eventually};

#[test]
fn an_expired_certificate_on_nginx_pages_through_smtp_with_the_cause_in_the_subject() {
    let peers = Peers::start(&["nginx", "smtp"]);
    let (Some(nginx), Some(smtp)) = (peers.part("nginx"), peers.part("smtp")) else { return };
    let place = Place::new();
    place.put("password", smtp.text("password"));
    let config = format!(
        "checks:\n  portal:\n    kind: http\n    name: Patient portal\n    url: https://localhost:{}/\n    ca_file: {}\n    \
         interval: 1s\n    timeout: 1s\n    failure_threshold: 1\nchannels:\n  mail:\n    kind: email\n    server: \
         localhost:{}\n    from: dihya@example.org\n    to: [oncall@example.org]\n    username: {}\n    password: \
         ${{file:password}}\n    ca_file: {}\nalerting:\n  route: {{receiver: oncall, group_by: [check], group_wait: 0s, \
         group_interval: 1s}}\n  receivers:\n    - name: oncall\n      dihya_configs: [{{channel: mail}}]\n",
        nginx.port("tls.good"),
        nginx.text("ca"),
        smtp.port("port"),
        smtp.text("user"),
        smtp.text("ca"),
    );
    let file = place.put("dihya.yaml", &config);
    let server = Server::start(&place, &["--config", &file]);
    eventually("the portal up", || (server.get("/api/dihya/v1/checks/portal")["state"] == "up").then_some(()));

    nginx.tell("swap-cert", "expired good");
    let subject = eventually("a mail", || subject_with(smtp.text("mails"), "expired"));
    assert!(subject.contains("Patient portal"), "{subject}");

    nginx.tell("swap-cert", "good good");
    eventually("the recovery", || (server.get("/api/dihya/v1/checks/portal")["state"] == "up").then_some(()));
    eventually("a second mail", || (mails(smtp.text("mails")).len() >= 2).then_some(()));
}

fn mails(dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the mails' directory");
    entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok()).collect()
}

fn subject_with(dir: &str, word: &str) -> Option<String> {
    let subjects = mails(dir).into_iter().filter_map(|mail| {
        let mut lines = mail.lines().skip_while(|line| !line.to_ascii_lowercase().starts_with("subject:"));
        let first = lines.next()?.to_owned();
        // A long subject goes on in lines that begin with white space.
        Some(lines.take_while(|line| line.starts_with([' ', '\t'])).fold(first, |all, line| all + line))
    });
    subjects.into_iter().find(|subject| subject.contains(word))
}
