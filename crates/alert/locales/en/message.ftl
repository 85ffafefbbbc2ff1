# What people are told. A person reads this at three in the morning: first what is broken, then the cause, then since
# when, then how to take it.

severity-info = info
severity-warning = warning
severity-error = error
severity-critical = critical

sector-health = health
sector-education = education
sector-ecommerce = e-commerce

subject-firing = [{ $severity }] { $title }: { $cause }
subject-firing-bare = [{ $severity }] { $title }
subject-repeat = [{ $severity }] Still: { $title }: { $cause }
subject-reminder = [{ $severity }] Not acknowledged: { $title }: { $cause }
subject-repeat-bare = [{ $severity }] Still: { $title }
subject-reminder-bare = [{ $severity }] Not acknowledged: { $title }
subject-resolved = [resolved] { $title } (after { $duration })
subject-test = [test] Dihya reaches you through { $channel }
subject-notice = [Dihya] { $cause }

check-down = { $name } is down
check-degraded = { $name } is degraded
check-unknown = { $name } is unknown
check-down-over = { $name } answers again
check-degraded-over = { $name } is no longer degraded
check-unknown-over = { $name } can be told again
channel-fails = The channel { $channel } failed its test
channel-fails-over = The channel { $channel } passes its test again
given-up = A notification through the channel { $channel } was given up
given-up-over = Nothing more was given up on the channel { $channel }

headline-new = Problem: { $title }
headline-changed = Changed: { $title }
headline-repeat = Still a problem: { $title }
headline-reminder = Nobody has acknowledged: { $title }
headline-resolved = Resolved: { $title }
headline-direct = { $title }
headline-test = This is a test of the channel { $channel }. Nothing is wrong.
headline-notice = Dihya has something to say about itself.

fact-cause = Cause
fact-condition = Failed
fact-details = Details
fact-since = Since
fact-lasted = Lasted
fact-severity = Level
fact-sector = Sector
fact-service = Service
fact-tenant = Tenant
fact-incident = Incident
fact-acknowledged = Acknowledged by
fact-alerts = Alerts
fact-notes = Note

fact = { $name }: { $value }

since = { $at } ({ $duration } ago)
span = { $duration }, from { $from } to { $to }
actual = { $condition } (actual: { $actual })
alerts-firing = { $firing ->
    [one] { $firing } firing
   *[other] { $firing } firing
}
alerts-resolved = { $resolved ->
    [one] { $resolved } resolved
   *[other] { $resolved } resolved
}
suppressed = { $count ->
    [one] { $count } alert is kept quiet because what it depends on fails.
   *[other] { $count } alerts are kept quiet because what they depend on fails.
}
flapping = It changes so often that its changes are damped.
reopened = { $count ->
    [one] It has come back once.
   *[other] It has come back { $count } times.
}
truncated = { $count ->
    [one] { $count } more alert is not listed.
   *[other] { $count } more alerts are not listed.
}

action-acknowledge = Acknowledge with: { $command }
action-view = Look at it
action-runbook = Runbook
action-source = Source

status-firing = firing
status-resolved = resolved

footer = Sent by Dihya to { $receiver } through { $channel }. Notification { $id }.
unknown-cause = no cause was given
unnamed = an alert without a name

duration-days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
duration-hours = { $count ->
    [one] { $count } hour
   *[other] { $count } hours
}
duration-minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
duration-seconds = { $count ->
    [one] { $count } second
   *[other] { $count } seconds
}
duration-both = { $long } { $short }
