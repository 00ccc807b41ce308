{{- define "meshgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "meshgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "meshgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "meshgate.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What pods are selected by; never changes. Takes a list of the root and a component. */}}
{{- define "meshgate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "meshgate.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "meshgate.labels" -}}
{{- $root := index . 0 -}}
{{ include "meshgate.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "meshgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "meshgate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* An image by digest or tag. Takes a list of its values and the usual tag. */}}
{{- define "meshgate.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end }}

{{- define "meshgate.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end -}}
{{- end }}

{{/* A quantity in Mi. */}}
{{- define "meshgate.mebibytes" -}}
{{- if hasSuffix "Gi" . -}}
{{- mul (trimSuffix "Gi" . | int64) 1024 -}}
{{- else -}}
{{- trimSuffix "Mi" . | int64 -}}
{{- end -}}
{{- end }}

{{/* Whether pods share the claim for results. */}}
{{- define "meshgate.sharedClaim" -}}
{{- if and .Values.persistence.enabled (has "ReadWriteMany" .Values.persistence.accessModes) }}true{{ end -}}
{{- end }}

{{/* Whether results are on a claim. */}}
{{- define "meshgate.claimed" -}}
{{- if and .Values.persistence.enabled (not .Values.storage.url) }}true{{ end -}}
{{- end }}

{{/* The most pods that there may be. */}}
{{- define "meshgate.mostReplicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- .Values.autoscaling.maxReplicas -}}
{{- else if .Values.keda.enabled -}}
{{- .Values.keda.maxReplicas -}}
{{- else -}}
{{- .Values.replicaCount -}}
{{- end -}}
{{- end }}

{{/* "bundled", "external" or nothing. */}}
{{- define "meshgate.redis" -}}
{{- if or .Values.externalRedis.url .Values.externalRedis.host -}}
external
{{- else if .Values.redis.enabled -}}
bundled
{{- end -}}
{{- end }}

{{- define "meshgate.redisSecret" -}}
{{- default (printf "%s-redis" (include "meshgate.fullname" .)) .Values.redis.existingSecret -}}
{{- end }}

{{/* Seconds until a pod that stops is killed: what the server takes, and some to end. */}}
{{- define "meshgate.gracePeriod" -}}
{{- add .Values.shutdown.delay .Values.shutdown.grace 10 -}}
{{- end }}

{{/* Requests and limits of the server: what is set, and what follows from the other values. */}}
{{- define "meshgate.resources" -}}
{{- $worker := include "meshgate.mebibytes" .Values.workerMemoryLimit | int64 -}}
{{- $memory := printf "%dMi" (add (mul (int64 .Values.workers) $worker) 1024) -}}
{{- $room := printf "%dMi" (add (include "meshgate.mebibytes" .Values.workSizeLimit | int64) (include "meshgate.mebibytes" .Values.tmpSizeLimit | int64) 256) -}}
{{- $limits := dict "memory" $memory "ephemeral-storage" $room -}}
{{- if .Values.guaranteed }}{{ $_ := set $limits "cpu" (toString .Values.workers) }}{{ end -}}
{{- $limits = mergeOverwrite $limits (deepCopy (.Values.resources.limits | default dict)) -}}
{{- $requests := dict "cpu" "250m" "memory" "1536Mi" "ephemeral-storage" "1Gi" -}}
{{- if .Values.guaranteed }}{{ $requests = deepCopy $limits }}{{ end -}}
{{- $requests = mergeOverwrite $requests (deepCopy (.Values.resources.requests | default dict)) -}}
{{- toYaml (dict "requests" $requests "limits" $limits) -}}
{{- end }}
