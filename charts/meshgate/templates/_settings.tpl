{{/* A component's settings; docs/CONFIGURATION.md lists each name. Secrets are files. Takes a list of the root and the
component. */}}
{{- define "meshgate.settings" -}}
{{- $component := index . 1 -}}
{{- $serves := has $component (list "server" "gateway") -}}
{{- with index . 0 -}}
APP_ENV: production
{{- /* A worker answers probes at METRICS_ADDRESS. */}}
BIND_ADDRESS: {{ ternary "0.0.0.0" "127.0.0.1" $serves }}:5000
METRICS_ADDRESS: {{ printf "0.0.0.0:%d" (int .Values.metrics.port) | quote }}
WORKERS: {{ get (dict "gateway" "0" "job" "1") $component | default .Values.workers | quote }}
WORKER_MEMORY_LIMIT: {{ .Values.workerMemoryLimit }}B
CONVERSION_TIMEOUT: {{ .Values.conversionTimeout | quote }}
MAX_FILE_SIZE: {{ .Values.maxFileSize }}B
{{- if $serves }}
SHUTDOWN_DELAY: {{ .Values.shutdown.delay | quote }}
SHUTDOWN_GRACE: {{ .Values.shutdown.grace | quote }}
{{- /* If anybody can reach the pods, trust only proxies that the values name. */}}
{{- $inside := and (eq .Values.service.type "ClusterIP") .Values.networkPolicy.enabled }}
{{- with default (ternary (list "10.0.0.0/8" "172.16.0.0/12" "192.168.0.0/16" "fc00::/7") list $inside) .Values.trustedProxies }}
TRUSTED_PROXIES: {{ join "," . | quote }}
{{- end }}
{{- else }}
SHUTDOWN_GRACE: {{ .Values.worker.shutdownGrace | quote }}
{{- end }}
DATA_DIR: /var/lib/meshgate
{{- $work := include "meshgate.mebibytes" .Values.workSizeLimit | int64 }}
{{- if not (hasKey .Values.config "MAX_UPLOADS_SIZE") }}
# Unfinished uploads take at most half of the work folder's space.
MAX_UPLOADS_SIZE: {{ min (mul 32 (include "meshgate.mebibytes" .Values.maxFileSize | int64)) (div $work 2) }}MiB
{{- end }}
{{- if not .Values.storage.url }}
{{- /* Results take half of the claim, or else a quarter of the disk space that they share with running conversions; models of
unfinished jobs take half as much. The rest is for the results of jobs. */}}
{{- $results := div $work 4 }}
{{- if include "meshgate.claimed" . }}{{ $results = div (include "meshgate.mebibytes" .Values.persistence.size | int64) 2 }}{{ end }}
{{- if not (hasKey .Values.config "DATA_MAX_SIZE") }}
DATA_MAX_SIZE: {{ $results }}MiB
{{- end }}
{{- if not (hasKey .Values.config "JOBS_MAX_SIZE") }}
JOBS_MAX_SIZE: {{ div $results 2 }}MiB
{{- end }}
{{- end }}
{{- if .Values.storage.url }}
STORAGE_URL: {{ .Values.storage.url | quote }}
{{- else if include "meshgate.claimed" . }}
CONVERSION_CACHE_DIR: /results/store
{{- end }}
{{- if .Values.storage.existingSecret }}
{{- range include "meshgate.storageKeys" . | fromJsonArray }}
{{ . }}_FILE: /run/secrets/meshgate/storage/{{ . }}
{{- end }}
{{- end }}
{{- if .Values.apiKeys.existingSecret }}
{{- if $serves }}
API_KEYS_FILE: /run/secrets/meshgate/api-keys/{{ .Values.apiKeys.key }}
{{- else if not (hasKey .Values.config "CACHE_SCOPE") }}
# The default of gateways with keys; only they have them.
CACHE_SCOPE: key
{{- end }}
{{- end }}
{{- if and .Values.webhooks.existingSecret (ne $component "job") }}
WEBHOOK_SECRET_FILE: /run/secrets/meshgate/webhooks/{{ .Values.webhooks.key }}
{{- end }}
{{- $redis := include "meshgate.redis" . }}
{{- if eq $redis "bundled" }}
REDIS_HOST: {{ include "meshgate.fullname" . }}-redis
REDIS_PASSWORD_FILE: /run/secrets/meshgate/redis/redis-password
{{- else if eq $redis "external" }}
{{- if .Values.externalRedis.url }}
REDIS_URL: {{ .Values.externalRedis.url | quote }}
{{- else }}
REDIS_HOST: {{ .Values.externalRedis.host | quote }}
REDIS_PORT: {{ .Values.externalRedis.port | quote }}
{{- end }}
{{- if .Values.externalRedis.existingSecret }}
REDIS_PASSWORD_FILE: /run/secrets/meshgate/redis/{{ .Values.externalRedis.passwordKey }}
{{- end }}
{{- end }}
{{- $jobs := include "meshgate.redisJobs" . }}
{{- if eq $jobs "bundled" }}
JOBS_REDIS_URL: redis://{{ include "meshgate.fullname" . }}-redis-jobs:6379/0
JOBS_REDIS_PASSWORD_FILE: /run/secrets/meshgate/redis-jobs/redis-password
{{- else if eq $jobs "external" }}
JOBS_REDIS_URL: {{ .Values.externalRedisJobs.url | quote }}
{{- if .Values.externalRedisJobs.existingSecret }}
JOBS_REDIS_PASSWORD_FILE: /run/secrets/meshgate/redis-jobs/{{ .Values.externalRedisJobs.passwordKey }}
{{- end }}
{{- end }}
{{- $authorities := list }}
{{- if .Values.externalRedis.caSecret }}{{ $authorities = append $authorities "/run/secrets/meshgate/redis-ca" }}{{ end }}
{{- if .Values.externalRedisJobs.caSecret }}{{ $authorities = append $authorities "/run/secrets/meshgate/redis-jobs-ca" }}{{ end }}
{{- with $authorities }}
SSL_CERT_DIR: {{ join ":" (prepend . "/etc/ssl/certs") }}
{{- end }}
{{- /* Gateways accept executor=kubernetes and take the census of heavy models; only workers create Kubernetes Jobs. */}}
{{- if and (has $component (list "gateway" "worker")) (include "meshgate.kubernetesJobs" .) }}
{{- include "meshgate.kubernetesJobSettings" . }}
{{- end }}
{{- range $name, $value := .Values.config }}
{{ $name }}: {{ include "meshgate.text" $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The keys of the store's secret, named like settings. */}}
{{- define "meshgate.storageKeys" -}}
{{- if .Values.storage.secretKeys -}}
{{- toJson .Values.storage.secretKeys -}}
{{- else if hasPrefix "gs://" .Values.storage.url -}}
["GOOGLE_SERVICE_ACCOUNT_KEY"]
{{- else if hasPrefix "az://" .Values.storage.url -}}
["AZURE_STORAGE_ACCOUNT_KEY"]
{{- else -}}
["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
{{- end -}}
{{- end }}

{{/* A component's mounted secrets: their names in the pod and in the cluster. Takes a list of the root and the component. */}}
{{- define "meshgate.secrets" -}}
{{- $component := index . 1 -}}
{{- with index . 0 -}}
{{- $redis := include "meshgate.redis" . -}}
{{- if eq $redis "bundled" }}
redis: {{ include "meshgate.redisSecret" . }}
{{- else if and (eq $redis "external") .Values.externalRedis.existingSecret }}
redis: {{ .Values.externalRedis.existingSecret }}
{{- end }}
{{- if and (eq $redis "external") .Values.externalRedis.caSecret }}
redis-ca: {{ .Values.externalRedis.caSecret }}
{{- end }}
{{- $jobs := include "meshgate.redisJobs" . -}}
{{- if eq $jobs "bundled" }}
redis-jobs: {{ include "meshgate.redisJobsSecret" . }}
{{- else if .Values.externalRedisJobs.existingSecret }}
redis-jobs: {{ .Values.externalRedisJobs.existingSecret }}
{{- end }}
{{- with .Values.externalRedisJobs.caSecret }}
redis-jobs-ca: {{ . }}
{{- end }}
{{- if and .Values.apiKeys.existingSecret (has $component (list "server" "gateway")) }}
api-keys: {{ .Values.apiKeys.existingSecret }}
{{- end }}
{{- if and .Values.webhooks.existingSecret (ne $component "job") }}
webhooks: {{ .Values.webhooks.existingSecret }}
{{- end }}
{{- with .Values.storage.existingSecret }}
storage: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The contents of a component's secrets, if they exist at rendering. Takes a list of the root and the component. */}}
{{- define "meshgate.secretsChecksum" -}}
{{- $secrets := include "meshgate.secrets" . | fromYaml -}}
{{- with index . 0 -}}
{{- /* Those of the chart, which do not exist yet at the first rendering. */ -}}
{{- $own := dict -}}
{{- $full := include "meshgate.fullname" . -}}
{{- if and (eq (include "meshgate.redis" .) "bundled") (not .Values.redis.existingSecret) }}{{ $_ := set $own (printf "%s-redis" $full) (include "meshgate.redisPassword" .) }}{{ end -}}
{{- if and (eq (include "meshgate.redisJobs" .) "bundled") (not .Values.redisJobs.existingSecret) }}{{ $_ := set $own (printf "%s-redis-jobs" $full) (include "meshgate.redisJobsPassword" .) }}{{ end -}}
{{- $namespace := .Release.Namespace -}}
{{- range $_, $name := $secrets -}}
{{- if hasKey $own $name -}}
{{ $name }}{{ get $own $name }}
{{ continue -}}
{{- end -}}
{{- $found := lookup "v1" "Secret" $namespace $name -}}
{{ $name }}{{ if $found }}{{ $found.data | toJson }}{{ end }}
{{ end -}}
{{- end -}}
{{- end }}
