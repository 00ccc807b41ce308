{{/*
What would install and then not work, or lose something, is refused here with the sentence that says what to set.
*/}}
{{- define "meshgate.refusals" -}}
{{- $most := include "meshgate.mostReplicas" . | int -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled are both true, and only one may say how many pods there are: set one of them to false" -}}
{{- end -}}
{{- if and (gt $most 1) (not .Values.storage.url) (not (include "meshgate.sharedClaim" .)) -}}
{{- fail (printf "%d pods need a store that all of them share, or a report made by one is not found by the others: set storage.url (s3://, gs:// or az://), or persistence.accessModes to [ReadWriteMany]" $most) -}}
{{- end -}}
{{- if and (gt $most 1) (not (include "meshgate.redis" .)) -}}
{{- fail (printf "%d pods need one Redis, or each has limits of its own and converts what others have converted: set redis.enabled to true, or externalRedis.host" $most) -}}
{{- end -}}
{{- if and .Values.externalRedis.url .Values.externalRedis.host -}}
{{- fail "externalRedis.url and externalRedis.host are both set: set one of them" -}}
{{- end -}}
{{- if regexMatch "://[^/@]*:[^/@]+@" .Values.externalRedis.url -}}
{{- fail "externalRedis.url holds a password, which everybody may read who may read a ConfigMap: set externalRedis.existingSecret" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled is true, and no gateway is named: set httpRoute.parentRefs, as [{name: my-gateway}]" -}}
{{- end -}}
{{- if lt (include "meshgate.mebibytes" .Values.workerMemoryLimit | int) 1536 -}}
{{- fail "workerMemoryLimit is below 1536Mi, and Blender alone takes most of that: set it to 1536Mi at least" -}}
{{- end -}}
{{- $limit := dig "limits" "memory" "" .Values.resources | toString -}}
{{- if and (regexMatch "^[0-9]+(Mi|Gi)$" $limit) (lt (include "meshgate.mebibytes" $limit | int) (add (include "meshgate.mebibytes" .Values.workerMemoryLimit | int) 512 | int)) -}}
{{- fail (printf "resources.limits.memory is %s, and one conversion may take %s: then it ends the whole pod. Set it to %dMi at least, or leave it out" $limit .Values.workerMemoryLimit (add (include "meshgate.mebibytes" .Values.workerMemoryLimit | int) 512)) -}}
{{- end -}}
{{- if and .Values.storage.existingSecret (not .Values.storage.url) -}}
{{- fail "storage.existingSecret is set, and storage.url is empty: set storage.url to the bucket that the keys are for" -}}
{{- end -}}
{{- $own := dict "WORKERS" "workers" "GUNICORN_WORKERS" "workers" "WORKER_MEMORY_LIMIT" "workerMemoryLimit" "CONVERSION_TIMEOUT" "conversionTimeout" "MAX_FILE_SIZE" "maxFileSize" "SHUTDOWN_DELAY" "shutdown.delay" "SHUTDOWN_GRACE" "shutdown.grace" "TRUSTED_PROXIES" "trustedProxies" "STORAGE_URL" "storage.url" "METRICS_ADDRESS" "metrics.port" "REDIS_URL" "externalRedis.url" "REDIS_HOST" "externalRedis.host" "REDIS_PORT" "externalRedis.port" -}}
{{- $secret := dict "API_KEYS" "apiKeys.existingSecret" "REDIS_PASSWORD" "externalRedis.existingSecret" -}}
{{- range $name, $_ := .Values.config -}}
{{- $bare := trimPrefix "MESHGATE_" $name -}}
{{- if hasKey $own $bare -}}
{{- fail (printf "config.%s is a value of its own: set %s" $name (get $own $bare)) -}}
{{- end -}}
{{- if hasKey $secret $bare -}}
{{- fail (printf "config.%s is a secret, and a ConfigMap is none: set %s" $name (get $secret $bare)) -}}
{{- end -}}
{{- if regexMatch "(SECRET|PASSWORD|_KEY$|ACCESS_KEY_ID|SAS|TOKEN$)" $name -}}
{{- fail (printf "config.%s is a secret, and a ConfigMap is none: put it into a secret and set storage.existingSecret and storage.secretKeys, or extraEnv" $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
