{{- define "meshgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* Short enough for `-redis-jobs` and the suffix that Kubernetes adds to a StatefulSet's name: labels have 63 characters. */}}
{{- define "meshgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 41 | trimSuffix "-" -}}
{{- else if contains (include "meshgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 41 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "meshgate.name" .) | trunc 41 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The labels that select pods; never changes. Takes a list of the root and a component. */}}
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

{{/* Whether gateways and workers are apart. */}}
{{- define "meshgate.distributed" -}}
{{- if eq .Values.mode "distributed" }}true{{ end -}}
{{- end }}

{{/* The components that have a Deployment: a JSON list. Their values are at the top, or below their name. */}}
{{- define "meshgate.components" -}}
{{- if include "meshgate.distributed" . -}}
["gateway", "worker"]
{{- else -}}
["server"]
{{- end -}}
{{- end }}

{{/* The component that serves requests: the one behind the Service. */}}
{{- define "meshgate.front" -}}
{{- first (include "meshgate.components" . | fromJsonArray) -}}
{{- end }}

{{/* The name of a component's objects. Takes a list of the root and the component. */}}
{{- define "meshgate.componentName" -}}
{{- $name := include "meshgate.fullname" (index . 0) -}}
{{- if eq (index . 1) "server" }}{{ $name }}{{ else }}{{ $name }}-{{ index . 1 }}{{ end -}}
{{- end }}

{{/* Whether workers create Kubernetes Jobs. An unquoted `off` in a file of values is false. */}}
{{- define "meshgate.kubernetesJobs" -}}
{{- if not (has (toString .Values.kubernetesJobs.mode) (list "off" "false")) }}true{{ end -}}
{{- end }}

{{- define "meshgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "meshgate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* An image by digest or tag. Takes a list of its values and the default tag. */}}
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
  - name: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ .name }}{{ end }}
  {{- end }}
{{- end -}}
{{- end }}

{{/* A value as text: Helm reads large integers of a values file as floats. */}}
{{- define "meshgate.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end }}

{{/* A quantity in whole Mi. */}}
{{- define "meshgate.mebibytes" -}}
{{- $text := include "meshgate.text" . -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if not (hasKey $units $unit) }}{{ fail (printf "%s is not a quantity of bytes: write it like 512Mi or 4Gi" $text) }}{{ end -}}
{{- divf (mulf (regexFind "^[0-9.]+" $text | float64) (get $units $unit)) 1048576.0 | floor | int64 -}}
{{- end }}

{{/* A quantity of processor time in thousandths. */}}
{{- define "meshgate.millicores" -}}
{{- $text := include "meshgate.text" . -}}
{{- if hasSuffix "m" $text -}}
{{- trimSuffix "m" $text | int64 -}}
{{- else -}}
{{- mulf (float64 $text) 1000.0 | int64 -}}
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

{{/* Whether KEDA sets the number of a component's pods: it does for those that convert. */}}
{{- define "meshgate.keda" -}}
{{- if and (index . 0).Values.keda.enabled (ne (index . 1) "gateway") }}true{{ end -}}
{{- end }}

{{/* The highest possible number of a component's pods. Takes a list of the root and the component. */}}
{{- define "meshgate.mostReplicas" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := ternary $root.Values (get $root.Values $component) (eq $component "server") -}}
{{- if $values.autoscaling.enabled -}}
{{- $values.autoscaling.maxReplicas -}}
{{- else if include "meshgate.keda" . -}}
{{- $root.Values.keda.maxReplicas -}}
{{- else -}}
{{- ternary $root.Values.replicaCount $values.replicas (eq $component "server") -}}
{{- end -}}
{{- end }}

{{/* The field of a claim: nothing means the cluster's default, and `-` none. */}}
{{- define "meshgate.storageClass" -}}
{{- if . -}}
storageClassName: {{ if eq . "-" }}""{{ else }}{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{/* The namespaces that may reach the http port: those of the values, and those of the gateways. */}}
{{- define "meshgate.ingressNamespaces" -}}
{{- $names := .Values.networkPolicy.ingressNamespaces -}}
{{- if .Values.httpRoute.enabled -}}
{{- range .Values.httpRoute.parentRefs -}}
{{- $names = append $names (default $.Release.Namespace .namespace) -}}
{{- end -}}
{{- end -}}
{{- toJson ($names | uniq) -}}
{{- end }}

{{/* The ports of backends outside of the cluster or in other namespaces: a JSON list, possibly empty. Takes a list of the
root and the component. */}}
{{- define "meshgate.egressPorts" -}}
{{- $component := index . 1 -}}
{{- with index . 0 -}}
{{- $ports := list -}}
{{- $urls := list -}}
{{- if eq (include "meshgate.redis" .) "external" -}}
{{- if .Values.externalRedis.url }}{{ $urls = append $urls .Values.externalRedis.url }}{{ else }}{{ $ports = append $ports (int .Values.externalRedis.port) }}{{ end -}}
{{- end -}}
{{- with .Values.externalRedisJobs.url }}{{ $urls = append $urls . }}{{ end -}}
{{- if or .Values.storage.url .Values.webhooks.existingSecret }}{{ $ports = append $ports 443 }}{{ end -}}
{{- range $name, $value := .Values.config -}}
{{- if and (regexMatch "(ENDPOINT|_URL)" $name) (contains "://" (toString $value)) }}{{ $urls = append $urls (toString $value) }}{{ end -}}
{{- end -}}
{{- range $urls -}}
{{- $port := regexFind ":[0-9]+" (. | replace "://" "//") | trimPrefix ":" -}}
{{- $usual := ternary 6379 (ternary 80 443 (hasPrefix "http://" .)) (hasPrefix "redis" .) -}}
{{- $ports = append $ports (default $usual $port | int) -}}
{{- end -}}
{{- /* The Kubernetes API: of the Service, and where it usually is behind that. */ -}}
{{- if and (eq $component "worker") (include "meshgate.kubernetesJobs" .) }}{{ $ports = concat $ports (list 443 6443) }}{{ end -}}
{{- $ports = concat $ports .Values.networkPolicy.egressPorts -}}
{{- toJson ($ports | uniq) -}}
{{- end -}}
{{- end }}

{{/* Seconds that a proxy waits for the server. */}}
{{- define "meshgate.proxyTimeout" -}}
{{- max 90 (add .Values.conversionTimeout 30) -}}
{{- end }}

{{/* Seconds until a stopping pod is killed: those in which it may go on, and 10 more. Takes a list of the root and the
component. */}}
{{- define "meshgate.gracePeriod" -}}
{{- $values := (index . 0).Values -}}
{{- if has (index . 1) (list "worker" "job") -}}
{{- add $values.worker.shutdownGrace 10 -}}
{{- else -}}
{{- add $values.shutdown.delay $values.shutdown.grace 10 -}}
{{- end -}}
{{- end }}

{{/* Requests and limits of a component: those of the values, and computed ones. Takes a list of the root and the
component. */}}
{{- define "meshgate.resources" -}}
{{- $component := index . 1 -}}
{{- with index . 0 -}}
{{- $own := ternary .Values (get .Values $component) (eq $component "server") -}}
{{- $worker := include "meshgate.mebibytes" .Values.workerMemoryLimit | int64 -}}
{{- $memory := add (mul (int64 .Values.workers) $worker) 1024 -}}
{{- $cpu := toString .Values.workers -}}
{{- $least := dict "memory" 1536 "cpu" 250 -}}
{{- /* A gateway has no Blender. Idle, it takes 20 MB; it may hold 512 MiB of the JSON of models at a time. */ -}}
{{- if eq $component "gateway" -}}
{{- $memory = 1024 -}}
{{- $cpu = "1" -}}
{{- $least = dict "memory" 128 "cpu" 100 -}}
{{- end -}}
{{- $room := printf "%dMi" (add (include "meshgate.mebibytes" .Values.workSizeLimit | int64) (include "meshgate.mebibytes" .Values.tmpSizeLimit | int64) 256) -}}
{{- $limits := dict "memory" (printf "%dMi" $memory) "ephemeral-storage" $room -}}
{{- if .Values.guaranteed }}{{ $_ := set $limits "cpu" $cpu }}{{ end -}}
{{- $limits = mergeOverwrite $limits (deepCopy ($own.resources.limits | default dict)) -}}
{{- /* No request is above its limit. */ -}}
{{- $requests := dict -}}
{{- $_ := set $requests "memory" (printf "%dMi" (min $least.memory (include "meshgate.mebibytes" $limits.memory | int64))) -}}
{{- $_ := set $requests "ephemeral-storage" (printf "%dMi" (min 1024 (include "meshgate.mebibytes" (get $limits "ephemeral-storage") | int64))) -}}
{{- $_ := set $requests "cpu" (printf "%dm" (min $least.cpu (include "meshgate.millicores" ($limits.cpu | default "250m") | int64))) -}}
{{- if .Values.guaranteed }}{{ $requests = deepCopy $limits }}{{ end -}}
{{- $requests = mergeOverwrite $requests (deepCopy ($own.resources.requests | default dict)) -}}
{{- toYaml (dict "requests" $requests "limits" $limits) -}}
{{- end -}}
{{- end }}
