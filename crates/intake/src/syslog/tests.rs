//! Messages of both RFCs, of daemons and devices, and noise.

use proptest::prelude::*;

use super::*;
use crate::admission::tests::Door;

/// The 28th of November 2026, at noon.
const NOW: &str = "2026-11-28T12:00:00Z";

fn made(message: &[u8], zone: &str) -> Event {
    let dialect = Dialect { stream: "hosts".into(), zone: TimeZone::get(zone).expect("is known") };
    let message = Message { bytes: Bytes::copy_from_slice(message), is_cut: false };
    event(&message, &dialect, NOW.parse().expect("a time"), 7)
}

/// Writes an event in one line: time, severity, resource, attributes and body.
fn shown(message: &str) -> String {
    let event = made(message.as_bytes(), "UTC");
    assert_eq!((event.stream.as_str(), event.observed_ns), ("hosts", 7));
    let time = event
        .time_ns
        .map_or_else(|| "-".to_owned(), |ns| Timestamp::from_nanosecond(ns.into()).expect("in range").to_string());
    let json = |map: model::Map| serde_json::Value::from(Value::Map(map)).to_string().replace('"', "'");
    let body = event.body.map_or(serde_json::Value::Null, serde_json::Value::from);
    format!("{time} {} {} {} {body}", event.severity, json(event.resource), json(event.attributes))
}

#[test]
fn the_examples_of_rfc_5424_are_read() {
    for (message, expected) in [
        (
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
            "2003-10-11T22:14:15.003Z 21 {'host.name':'mymachine.example.com','service.name':'su'} \
             {'syslog.facility':'auth','syslog.msgid':'ID47'} \"'su root' failed for lonvick on /dev/pts/8\"",
        ),
        (
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
            "2003-08-24T12:14:15.000003Z 10 {'host.name':'192.0.2.1','service.name':'myproc'} \
             {'syslog.facility':'local4','syslog.procid':'8710'} \"%% It's time to make the do-nuts.\"",
        ),
        (
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" \
             eventSource=\"Application\" eventID=\"1011\"] \u{feff}An application event log entry...",
            "2003-10-11T22:14:15.003Z 10 {'host.name':'mymachine.example.com','service.name':'evntslog'} \
             {'syslog.facility':'local4','syslog.msgid':'ID47','syslog.structured_data':{'exampleSDID@32473':{'eventID':'1011',\
             'eventSource':'Application','iut':'3'}}} \"An application event log entry...\"",
        ),
        (
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\"]\
             [examplePriority@32473 class=\"high\"]",
            "2003-10-11T22:14:15.003Z 10 {'host.name':'mymachine.example.com','service.name':'evntslog'} \
             {'syslog.facility':'local4','syslog.msgid':'ID47','syslog.structured_data':{'examplePriority@32473':{'class':'high'},\
             'exampleSDID@32473':{'iut':'3'}}} null",
        ),
        (
            "<13>1 - - - - - [o ip=\"a\" ip=\"b\" ip=\"c\" q=\"\\\"\\\\\\]\\n\"] text",
            "- 10 {} {'syslog.facility':'user','syslog.structured_data':{'o':{'ip':['a','b','c'],'q':'\\'\\\\]\\\\n'}}} \"text\"",
        ),
        ("<0>1 - - - - - -", "- 24 {} {'syslog.facility':'kern'} null"),
    ] {
        assert_eq!(shown(message), expected, "{message}");
    }
}

#[test]
fn the_examples_of_rfc_3164_and_what_is_called_so_are_read() {
    for (message, expected) in [
        (
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
            "2026-10-11T22:14:15Z 21 {'host.name':'mymachine','service.name':'su'} {'syslog.facility':'auth'} \
             \"'su root' failed for lonvick on /dev/pts/8\"",
        ),
        (
            "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
            "2026-02-05T17:32:18Z 10 {'host.name':'10.0.0.99'} {'syslog.facility':'user'} \"Use the BFG!\"",
        ),
        (
            "<38>Nov 28 11:59:59 web-1 sshd[812]: Accepted publickey for root",
            "2026-11-28T11:59:59Z 9 {'host.name':'web-1','service.name':'sshd'} {'syslog.facility':'auth','syslog.procid':'812'} \
             \"Accepted publickey for root\"",
        ),
        (
            "<22>2026-11-28T11:59:59.123456+01:00 mail postfix/smtpd[9]: connect",
            "2026-11-28T10:59:59.123456Z 9 {'host.name':'mail','service.name':'postfix/smtpd'} \
             {'syslog.facility':'mail','syslog.procid':'9'} \"connect\"",
        ),
        (
            "<13>Nov 28 11:00:00 logger[7]: of a local socket",
            "2026-11-28T11:00:00Z 10 {'service.name':'logger'} {'syslog.facility':'user','syslog.procid':'7'} \
             \"of a local socket\"",
        ),
        (
            "<190>Nov 28 2026 11:00:00: %ASA-6-302013: Built",
            "2026-11-28T11:00:00Z 9 {'service.name':'%ASA-6-302013'} {'syslog.facility':'local7'} \"Built\"",
        ),
        (
            "<190>*Mar  1 18:48:50.483 1993: %SYS-5-CONFIG_I: Configured",
            "1993-03-01T18:48:50.483Z 9 {'service.name':'%SYS-5-CONFIG_I'} {'syslog.facility':'local7'} \"Configured\"",
        ),
        (
            "<4>Nov 28 11:00:00 web-1 kernel: [    0.000000] x",
            "2026-11-28T11:00:00Z 13 {'host.name':'web-1','service.name':'kernel'} {'syslog.facility':'kern'} \
             \"[    0.000000] x\"",
        ),
        (
            "<30>Nov 28 11:00:00 web-1 app: {\"level\":\"error\",\"msg\":\"broken\",\"user\":{\"id\":\"u1\"}}",
            "2026-11-28T11:00:00Z 17 {'host.name':'web-1','service.name':'app'} {'syslog.facility':'daemon','user':{'id':'u1'}} \
             \"broken\"",
        ),
        (
            "<30>Nov 28 11:00:00 web-1 app: @cee: {\"msg\":\"m\",\"time\":\"2026-11-28T11:00:00.5Z\"}",
            "2026-11-28T11:00:00.5Z 9 {'host.name':'web-1','service.name':'app'} {'syslog.facility':'daemon'} \"m\"",
        ),
        (
            "<30>Nov 28 11:00:00 web-1 app: {no JSON",
            "2026-11-28T11:00:00Z 9 {'host.name':'web-1','service.name':'app'} {'syslog.facility':'daemon'} \"{no JSON\"",
        ),
    ] {
        assert_eq!(shown(message), expected, "{message}");
    }
}

#[test]
fn what_cannot_be_read_is_kept_with_what_was_expected() {
    let time = "'syslog.malformed':'expected a time as in RFC 3164, RFC 5424 or RFC 3339'";
    for (message, expected) in [
        ("no syslog", "- 0 {} {'syslog.malformed':'expected a priority from <0> to <191> first'} \"no syslog\"".to_owned()),
        ("<192>x", "- 0 {} {'syslog.malformed':'expected a priority from <0> to <191> first'} \"<192>x\"".to_owned()),
        ("<13>", format!("- 10 {{}} {{'syslog.facility':'user',{time}}} null")),
        ("<13>cron: no time", format!("- 10 {{'service.name':'cron'}} {{'syslog.facility':'user',{time}}} \"no time\"")),
        ("<13>Feb 30 11:00:00 h a: b", format!("- 10 {{}} {{'syslog.facility':'user',{time}}} \"Feb 30 11:00:00 h a: b\"")),
        ("<13>Feb 3 25:00:00 h a: b", format!("- 10 {{}} {{'syslog.facility':'user',{time}}} \"Feb 3 25:00:00 h a: b\"")),
        (
            "<13>1 2026 h a - - - text",
            "- 10 {'host.name':'h','service.name':'a'} {'syslog.facility':'user','syslog.malformed':'expected a time as in RFC 3339'} \
             \"text\""
                .to_owned(),
        ),
        (
            "<13>1 - h a",
            "- 10 {} {'syslog.facility':'user','syslog.malformed':'expected time, host, program, process and message id, each \
             followed by a space'} \"1 - h a\""
                .to_owned(),
        ),
    ] {
        assert_eq!(shown(message), expected, "{message}");
    }
    for broken in ["[", "[]", "[a", "[a b]", "[a b=\"c]", "[a =\"c\"]", "[a b=\"c\\", "-x", "x", "[a b=\"c\" d]"] {
        let event = made(format!("<13>1 - h a - - {broken}").as_bytes(), "UTC");
        let why = event.attributes.get("syslog.malformed");
        assert_eq!(why, Some(&"expected structured data as in RFC 5424, or -".into()), "{broken}");
        assert_eq!(event.body, Some(format!("1 - h a - - {broken}").as_str().into()));
    }
    let dialect = Dialect { stream: "s".into(), zone: TimeZone::UTC };
    let cut = Message { bytes: Bytes::from_static(b"<13>Nov 28 11:00:00 h a: b"), is_cut: true };
    let event = event(&cut, &dialect, NOW.parse().expect("a time"), 7);
    assert_eq!(event.attributes.get("syslog.malformed"), Some(&CUT.into()));
}

#[test]
fn a_time_without_a_year_is_that_nearest_to_now_which_has_passed() {
    let time = |now: &str, zone: &str, text: &str| {
        let zone = TimeZone::get(zone).expect("is known");
        let (ns, rest) = any_time(text, &zone, now.parse().expect("a time"))?;
        assert_eq!(rest, "x");
        Some(Timestamp::from_nanosecond(ns.into()).expect("in range").to_string())
    };
    for (now, zone, text, expected) in [
        (NOW, "UTC", "Nov 28 11:00:00 x", "2026-11-28T11:00:00Z"),
        (NOW, "Europe/Paris", "Nov 28 11:00:00 x", "2026-11-28T10:00:00Z"),
        (NOW, "UTC", "Dec 31 23:59:59 x", "2025-12-31T23:59:59Z"),
        ("2027-01-01T00:00:30Z", "UTC", "Dec 31 23:59:59 x", "2026-12-31T23:59:59Z"),
        ("2026-12-31T23:59:30Z", "UTC", "Jan  1 00:00:10 x", "2027-01-01T00:00:10Z"),
        ("2026-12-31T23:30:00Z", "Europe/Paris", "Jan  1 00:20:00 x", "2026-12-31T23:20:00Z"),
        (NOW, "UTC", "Feb 29 00:00:00 x", "2024-02-29T00:00:00Z"),
        (NOW, "UTC", "Jun 30 23:59:60 x", "2026-06-30T23:59:59Z"),
        (NOW, "UTC", "Jun 30 23:59:58.25 x", "2026-06-30T23:59:58.25Z"),
    ] {
        assert_eq!(time(now, zone, text).as_deref(), Some(expected), "{now} {text}");
    }
    for text in
        ["Nov 28 11:00 x", "Nov 28 11:00:00:00 x", "Nov 28 11:00:00.1234567890 x", "Nov 28", "nov 28 11:00:00 x"]
    {
        assert_eq!(time(NOW, "UTC", text), None, "{text}");
    }
}

#[test]
fn bytes_that_are_no_utf_8_are_latin_letters() {
    let event = made(b"<13>Nov 28 11:00:00 h caf\xe9: ferm\xe9\r\n", "UTC");
    assert_eq!(event.body, Some("fermé".into()));
    assert_eq!(event.resource.get("service.name"), Some(&"café".into()));
}

#[tokio::test]
async fn messages_are_taken_in_order_and_the_rest_is_to_be_given_again() {
    let clock = std::sync::Arc::new(model::StepClock::new(NOW.parse().expect("a time")));
    let door = Door::new(3);
    let receiver = Receiver::new(door.clone(), clock);
    let dialect = Dialect { stream: "hosts".into(), zone: TimeZone::UTC };
    let messages = |count: usize| -> Vec<Message> {
        let bytes = |n: usize| Bytes::from(format!("<13>Nov 28 11:00:00 h a: {n}"));
        (0..count).map(|n| Message { bytes: bytes(n), is_cut: false }).collect()
    };
    let from = (&Tenant::default(), SourceId::SYSLOG);
    let taken = receiver.syslog(from, &dialect, &messages(2)).await;
    assert_eq!(taken, Taken { durable: 2, refused: 0, settled: 2, later: None });
    let taken = receiver.syslog(from, &dialect, &messages(2)).await;
    assert_eq!((taken.durable, taken.settled, taken.later.as_deref()), (0, 0, Some("the disk is full")));
    let poison = Dialect { stream: "poison".into(), ..dialect };
    let taken = receiver.syslog(from, &poison, &messages(2)).await;
    assert_eq!((taken.durable, taken.refused, taken.settled, taken.later), (0, 2, 2, None));
    let bodies: Vec<_> = door.events().into_iter().filter_map(|event| event.body).collect();
    assert_eq!(bodies, ["0".into(), "1".into()]);
}

proptest! {
    #[test]
    fn nothing_panics_and_no_text_is_lost(noise in "<[0-9]{1,3}>[1JNovn 0-9:.\\[\\]\"\\\\=a-zé-]{0,60}") {
        let event = made(noise.as_bytes(), "Europe/Paris");
        prop_assert!(event.attributes.len() + event.resource.len() > 0);
    }

    #[test]
    fn bytes_never_panic(noise in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = made(&noise, "UTC");
    }

    #[test]
    fn what_is_written_as_rfc_5424_is_read_back(
        priority in 0_u8..=191, host in "[a-z0-9.-]{1,20}", app in "[!-~]{1,20}", value in "[ -~é]{0,20}", body in "[ -~é]{1,40}",
    ) {
        prop_assume!(host != "-" && app != "-" && !body.trim_start().starts_with('{') && !body.starts_with(CEE));
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let event = made(format!("<{priority}>1 {NOW} {host} {app} 1 m [x y=\"{escaped}\"] {body}").as_bytes(), "UTC");
        prop_assert_eq!(event.body, Some(Value::Text(body)));
        prop_assert_eq!(event.resource.get("host.name"), Some(&Value::Text(host)));
        prop_assert_eq!(event.resource.get("service.name"), Some(&Value::Text(app)));
        let data = Value::Map([("x".to_owned(), Value::Map([("y".to_owned(), Value::Text(value))].into()))].into());
        prop_assert_eq!(event.attributes.get("syslog.structured_data"), Some(&data));
    }
}
