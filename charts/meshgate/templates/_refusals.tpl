{{/*
Refuses values that would install but not work, or lose data, with a sentence that says what to set.
*/}}
{{- define "meshgate.refusals" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "meshgate.fullname" .)) -}}
{{- fail (printf "%s cannot be a service name, which begins with a lower-case letter and has only lower-case letters, digits and hyphens: set fullnameOverride, or rename the release" (include "meshgate.fullname" .)) -}}
{{- end -}}
{{- range $name := list "name" "instance" "component" -}}
{{- $label := printf "app.kubernetes.io/%s" $name -}}
{{- if or (hasKey $.Values.podLabels $label) (hasKey $.Values.commonLabels $label) -}}
{{- fail (printf "%s selects the pods: remove it from podLabels and commonLabels" $label) -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.metrics.port) 5000 -}}
{{- fail "metrics.port is 5000, the server's own port: set another one" -}}
{{- end -}}
{{- $uploads := mul 4 (include "meshgate.mebibytes" .Values.maxFileSize | int) | int -}}
{{- if lt (include "meshgate.mebibytes" .Values.workSizeLimit | int) $uploads -}}
{{- fail (printf "workSizeLimit is %s, and four uploads of %s must fit: set it to %dMi at least" .Values.workSizeLimit .Values.maxFileSize $uploads) -}}
{{- end -}}
{{- $distributed := include "meshgate.distributed" . -}}
{{- range $kind, $scaler := dict "autoscaling" .Values.autoscaling "gateway.autoscaling" .Values.gateway.autoscaling "worker.autoscaling" .Values.worker.autoscaling "keda" .Values.keda -}}
{{- if and $scaler.enabled (gt (int $scaler.minReplicas) (int $scaler.maxReplicas)) -}}
{{- fail (printf "%s.minReplicas is %d, more than %s.maxReplicas, which is %d" $kind (int $scaler.minReplicas) $kind (int $scaler.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- /* In each mode, the values that only the other one uses. */ -}}
{{- if $distributed -}}
{{- if ne (int .Values.replicaCount) 1 -}}
{{- fail "replicaCount is for mode: standalone: set gateway.replicas and worker.replicas" -}}
{{- end -}}
{{- if .Values.resources -}}
{{- fail "resources is for mode: standalone: set gateway.resources and worker.resources" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled is for mode: standalone: set worker.autoscaling.enabled or keda.enabled, and gateway.autoscaling.enabled" -}}
{{- end -}}
{{- else -}}
{{- range $name := list "gateway" "worker" -}}
{{- if (get $.Values $name).autoscaling.enabled -}}
{{- fail (printf "%s.autoscaling.enabled is for gateways and workers apart: set mode to distributed, or autoscaling.enabled" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $most := 2 -}}
{{- $pods := "gateways and workers" -}}
{{- if not $distributed -}}
{{- $most = include "meshgate.mostReplicas" (list . "server") | int -}}
{{- $pods = printf "%d pods" $most -}}
{{- end -}}
{{- range $name, $scaler := dict "autoscaling" .Values.autoscaling "worker.autoscaling" .Values.worker.autoscaling -}}
{{- if and $scaler.enabled $.Values.keda.enabled -}}
{{- fail (printf "%s.enabled and keda.enabled are both true, and only one may set the number of pods: set one of them to false" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (gt $most 1) (not .Values.storage.url) (not (include "meshgate.sharedClaim" .)) -}}
{{- fail (printf "%s need a shared store, or each misses the reports of the others: set storage.url (s3://, gs:// or az://), or persistence.accessModes to [ReadWriteMany]" $pods) -}}
{{- end -}}
{{- if and (gt $most 1) (not (include "meshgate.redis" .)) -}}
{{- fail (printf "%s need one Redis, or each has its own limits and repeats the others' conversions: set redis.enabled to true, or externalRedis.host" $pods) -}}
{{- end -}}
{{- if and (gt $most 1) (not (include "meshgate.redisJobs" .)) -}}
{{- fail (printf "%s need one Redis for jobs, or each loses its jobs with its pod and does not know those of the others: set redisJobs.enabled to true, or externalRedisJobs.url" $pods) -}}
{{- end -}}
{{- range $component := include "meshgate.components" . | fromJsonArray -}}
{{- $values := ternary $.Values (get $.Values $component) (eq $component "server") -}}
{{- $path := ternary "" (printf "%s." $component) (eq $component "server") -}}
{{- if and $values.autoscaling.enabled (not $values.autoscaling.metrics) (not $.Values.guaranteed) (not (dig "requests" "cpu" "" $values.resources)) -}}
{{- fail (printf "%sautoscaling.enabled compares processor time with the request, which is only %s by default: set guaranteed to true, or %sresources.requests.cpu" $path (ternary "100m" "250m" (eq $component "gateway")) $path) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.externalRedis.url .Values.externalRedis.host -}}
{{- fail "externalRedis.url and externalRedis.host are both set: set one of them" -}}
{{- end -}}
{{- if and (not (include "meshgate.redis" . | eq "external")) (or .Values.externalRedis.existingSecret .Values.externalRedis.caSecret) -}}
{{- fail "externalRedis has a secret but no address: set externalRedis.url or externalRedis.host" -}}
{{- end -}}
{{- if and .Values.externalRedis.caSecret (not (hasPrefix "rediss://" .Values.externalRedis.url)) -}}
{{- fail "externalRedis.caSecret is for TLS, which needs a URL: set externalRedis.url to rediss://HOST:PORT" -}}
{{- end -}}
{{- if and .Values.redis.existingSecret (eq (include "meshgate.redis" .) "external") -}}
{{- fail "redis.existingSecret is for the bundled Redis, which externalRedis replaces: set externalRedis.existingSecret" -}}
{{- end -}}
{{- if and .Values.redis.existingSecret (not .Values.redis.enabled) -}}
{{- fail "redis.existingSecret is set, but redis.enabled is false: remove one of them" -}}
{{- end -}}
{{- if and (not .Values.externalRedisJobs.url) (or .Values.externalRedisJobs.existingSecret .Values.externalRedisJobs.caSecret) -}}
{{- fail "externalRedisJobs has a secret but no address: set externalRedisJobs.url" -}}
{{- end -}}
{{- if and .Values.externalRedisJobs.caSecret (not (hasPrefix "rediss://" .Values.externalRedisJobs.url)) -}}
{{- fail "externalRedisJobs.caSecret is for TLS: set externalRedisJobs.url to rediss://HOST:PORT" -}}
{{- end -}}
{{- if and .Values.redisJobs.existingSecret .Values.externalRedisJobs.url -}}
{{- fail "redisJobs.existingSecret is for the bundled Redis, which externalRedisJobs replaces: set externalRedisJobs.existingSecret" -}}
{{- end -}}
{{- if and .Values.redisJobs.existingSecret (not .Values.redisJobs.enabled) -}}
{{- fail "redisJobs.existingSecret is set, but redisJobs.enabled is false: remove one of them" -}}
{{- end -}}
{{- if regexMatch "[@?]" .Values.storage.url -}}
{{- fail "storage.url holds more than a bucket, and everybody who can read Deployments can read it: put keys into a secret and set storage.existingSecret" -}}
{{- end -}}
{{- range $name := list "externalRedis" "externalRedisJobs" -}}
{{- if regexMatch "(://.*:.*@|[?])" (index $.Values $name "url") -}}
{{- fail (printf "%s.url holds a password, which everybody who can read Deployments can read: set %s.existingSecret" $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled is true, but no gateway is set: set httpRoute.parentRefs, as in [{name: my-gateway}]" -}}
{{- end -}}
{{- $worker := include "meshgate.mebibytes" .Values.workerMemoryLimit | int -}}
{{- if lt $worker 1536 -}}
{{- fail "workerMemoryLimit is below 1536Mi, and Blender alone takes most of that: set it to 1536Mi at least" -}}
{{- end -}}
{{- $least := add $worker 512 | int -}}
{{- range $path, $resources := dict "resources" .Values.resources "worker.resources" .Values.worker.resources -}}
{{- $limit := dig "limits" "memory" "" $resources -}}
{{- if and $limit (lt (include "meshgate.mebibytes" $limit | int) $least) -}}
{{- fail (printf "%s.limits.memory is %s, and one conversion may use %s, which would kill the whole pod. Set it to %dMi at least, or remove it" $path (include "meshgate.text" $limit) $.Values.workerMemoryLimit $least) -}}
{{- end -}}
{{- end -}}
{{- if include "meshgate.kubernetesJobs" . -}}
{{- include "meshgate.kubernetesJobRefusals" . -}}
{{- end -}}
{{- if and .Values.storage.existingSecret (not .Values.storage.url) -}}
{{- fail "storage.existingSecret is set, but storage.url is empty: set storage.url to the bucket of the keys" -}}
{{- end -}}
{{- $own := dict "WORKERS" "workers" "GUNICORN_WORKERS" "workers" "WORKER_MEMORY_LIMIT" "workerMemoryLimit" "CONVERSION_TIMEOUT" "conversionTimeout" "MAX_FILE_SIZE" "maxFileSize" "SHUTDOWN_DELAY" "shutdown.delay" "SHUTDOWN_GRACE" "shutdown.grace" "TRUSTED_PROXIES" "trustedProxies" "STORAGE_URL" "storage.url" "METRICS_ADDRESS" "metrics.port" "CONVERSION_CACHE_DIR" "persistence or storage.url" "REDIS_URL" "externalRedis.url" "REDIS_HOST" "externalRedis.host" "REDIS_PORT" "externalRedis.port" "JOBS_REDIS_URL" "externalRedisJobs.url" -}}
{{- $jobs := dict "KUBERNETES_JOBS" "mode" "KUBERNETES_JOB_MIN_SIZE" "minSize" "KUBERNETES_JOBS_MAX" "max" "KUBERNETES_JOB_MEMORY_MIN" "memory.min" "KUBERNETES_JOB_MEMORY_MAX" "memory.max" "KUBERNETES_JOB_PENDING_TIMEOUT" "pendingTimeout" "KUBERNETES_JOB_DEADLINE" "deadline" "KUBERNETES_JOB_TTL" "ttl" "KUBERNETES_JOB_QUEUE" "queueName" -}}
{{- range $name, $value := $jobs }}{{ $_ := set $own $name (printf "kubernetesJobs.%s" $value) }}{{ end -}}
{{- $secret := dict "API_KEYS" "apiKeys.existingSecret" "REDIS_PASSWORD" "externalRedis.existingSecret" "JOBS_REDIS_PASSWORD" "externalRedisJobs.existingSecret" "WEBHOOK_SECRET" "webhooks.existingSecret" -}}
{{- range $name, $value := .Values.config -}}
{{- $bare := trimPrefix "MESHGATE_" $name -}}
{{- if hasKey $own $bare -}}
{{- fail (printf "config.%s is a chart value: set %s" $name (get $own $bare)) -}}
{{- end -}}
{{- if hasKey $secret $bare -}}
{{- fail (printf "config.%s is a secret, and many can read values: set %s" $name (get $secret $bare)) -}}
{{- end -}}
{{- if has $bare (list "APP_ENV" "BIND_ADDRESS" "DATA_DIR" "SSL_CERT_DIR" "KUBERNETES_JOB_TEMPLATE" "KUBERNETES_JOB_PREFIX" "POD_NAME" "POD_NAMESPACE") -}}
{{- fail (printf "config.%s is set by the chart: remove it" $name) -}}
{{- end -}}
{{- if regexMatch "://.*:.*@" (toString $value) -}}
{{- fail (printf "config.%s holds a password, and many can read values: put it into a secret and use extraEnv" $name) -}}
{{- end -}}
{{- if and (regexMatch "(SECRET|PASSWORD|_KEY$|ACCESS_KEY_ID|SAS|TOKEN$|CONNECTION_STRING|_HEADERS$)" $name) (not (hasSuffix "_FILE" $name)) -}}
{{- fail (printf "config.%s is a secret, and many can read values: put it into a secret and set storage.existingSecret and storage.secretKeys, or extraEnv" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (hasPrefix "http://" (get .Values.config "AWS_ENDPOINT_URL" | toString)) (not (eq (get .Values.config "AWS_ALLOW_HTTP" | toString) "true")) -}}
{{- fail "config.AWS_ENDPOINT_URL has no TLS, which the server refuses: set it to https://…, or config.AWS_ALLOW_HTTP to true" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not (hasKey .Values.ingress.annotations "nginx.ingress.kubernetes.io/rewrite-target")) -}}
{{- range .Values.ingress.hosts -}}
{{- range .paths -}}
{{- if not (or (eq .path "/") (regexMatch "^/(convert|v1|apidocs|openapi[.]json|health)" .path)) -}}
{{- fail (printf "ingress.hosts: the server does not serve %s: set the path to /, or the annotation nginx.ingress.kubernetes.io/rewrite-target" .path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
