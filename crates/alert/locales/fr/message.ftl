# Ce que l'on dit aux gens. Quelqu'un le lit à trois heures du matin : d'abord ce qui est cassé, puis la cause, puis
# depuis quand, puis comment s'en charger.

severity-info = info
severity-warning = avertissement
severity-error = erreur
severity-critical = critique

sector-health = santé
sector-education = éducation
sector-ecommerce = e-commerce

subject-firing = [{ $severity }] { $title } : { $cause }
subject-firing-bare = [{ $severity }] { $title }
subject-repeat = [{ $severity }] Toujours : { $title } : { $cause }
subject-reminder = [{ $severity }] Non pris en charge : { $title } : { $cause }
subject-repeat-bare = [{ $severity }] Toujours : { $title }
subject-reminder-bare = [{ $severity }] Non pris en charge : { $title }
subject-resolved = [résolu] { $title } (après { $duration })
subject-test = [test] Dihya vous joint par { $channel }
subject-notice = [Dihya] { $cause }

check-down = { $name } est en panne
check-degraded = { $name } est dégradé
check-unknown = { $name } est dans un état inconnu
check-down-over = { $name } répond de nouveau
check-degraded-over = { $name } n'est plus dégradé
check-unknown-over = { $name } : son état est de nouveau connu
channel-fails = Le canal { $channel } a échoué à son test
channel-fails-over = Le canal { $channel } réussit de nouveau son test
given-up = Une notification par le canal { $channel } a été abandonnée
given-up-over = Plus rien n'a été abandonné sur le canal { $channel }

headline-new = Problème : { $title }
headline-changed = Changement : { $title }
headline-repeat = Toujours en panne : { $title }
headline-reminder = Personne ne s'en charge : { $title }
headline-resolved = Résolu : { $title }
headline-direct = { $title }
headline-test = Ceci est un test du canal { $channel }. Rien n'est en panne.
headline-notice = Dihya a quelque chose à dire sur lui-même.

fact-cause = Cause
fact-condition = Échec
fact-details = Détails
fact-since = Depuis
fact-lasted = Durée
fact-severity = Niveau
fact-sector = Secteur
fact-service = Service
fact-tenant = Organisation
fact-incident = Incident
fact-acknowledged = Pris en charge par
fact-alerts = Alertes
fact-notes = Remarque

fact = { $name } : { $value }

since = { $at } (il y a { $duration })
span = { $duration }, de { $from } à { $to }
actual = { $condition } (constaté : { $actual })
alerts-firing = { $firing ->
    [one] { $firing } active
   *[other] { $firing } actives
}
alerts-resolved = { $resolved ->
    [one] { $resolved } résolue
   *[other] { $resolved } résolues
}
suppressed = { $count ->
    [one] { $count } alerte est tue parce que ce dont elle dépend est en panne.
   *[other] { $count } alertes sont tues parce que ce dont elles dépendent est en panne.
}
flapping = L'état change si souvent que ses changements sont amortis.
reopened = { $count ->
    [one] L'incident est revenu { $count } fois.
   *[other] L'incident est revenu { $count } fois.
}
truncated = { $count ->
    [one] { $count } autre alerte n'est pas affichée.
   *[other] { $count } autres alertes ne sont pas affichées.
}

action-acknowledge = Prendre en charge avec : { $command }
action-view = Voir l'incident
action-runbook = Procédure
action-source = Source

status-firing = active
status-resolved = résolue

footer = Envoyé par Dihya à { $receiver } par { $channel }. Notification { $id }.
unknown-cause = aucune cause n'a été donnée
unnamed = une alerte sans nom

duration-days = { $count ->
    [one] { $count } jour
   *[other] { $count } jours
}
duration-hours = { $count ->
    [one] { $count } heure
   *[other] { $count } heures
}
duration-minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
duration-seconds = { $count ->
    [one] { $count } seconde
   *[other] { $count } secondes
}
duration-both = { $long } { $short }
