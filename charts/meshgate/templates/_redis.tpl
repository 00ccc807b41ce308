{{/*
A Redis: its secret, unless there is one, its service and its pod. Takes a dictionary: `root`; `component`, which is also
the end of its name; `values` of its own, beside which those of `redis` name image, user and nodes; `secret`, and the
`password` to generate it; `settings`, lines of its configuration; `persistence` if its data is on a claim.
*/}}
{{- define "meshgate.redisServer" -}}
{{- $root := .root -}}
{{- $redis := $root.Values.redis -}}
{{- $name := printf "%s-%s" (include "meshgate.fullname" $root) .component -}}
{{- $labels := list $root .component -}}
{{- $claimed := hasKey . "persistence" -}}
{{- $maxmemory := include "meshgate.mebibytes" (.values.maxmemory | lower | replace "mb" "Mi" | replace "gb" "Gi") | int64 -}}
{{- if not .values.existingSecret -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ $name }}
  labels:
    {{- include "meshgate.labels" $labels | nindent 4 }}
type: Opaque
data:
  # Generated once; upgrades reuse it.
  redis-password: {{ .password | b64enc }}
---
{{ end -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels:
    {{- include "meshgate.labels" $labels | nindent 4 }}
spec:
  selector:
    {{- include "meshgate.selector" $labels | nindent 4 }}
  ports:
    - name: redis
      port: 6379
      targetPort: redis
---
{{- $ping := `exec:
  command: [sh, -c, 'REDISCLI_AUTH=$(cat /run/secrets/redis/redis-password) redis-cli ping | grep -q PONG']` }}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  labels:
    {{- include "meshgate.labels" $labels | nindent 4 }}
spec:
  serviceName: {{ $name }}
  replicas: 1
  revisionHistoryLimit: {{ $root.Values.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "meshgate.selector" $labels | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "meshgate.selector" $labels | nindent 8 }}
        {{- with $root.Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        {{- if .values.existingSecret }}
        checksum/secret: {{ lookup "v1" "Secret" $root.Release.Namespace .secret | toJson | sha256sum }}
        {{- else }}
        checksum/secret: {{ .password | sha256sum }}
        {{- end }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ ternary 30 10 $claimed }}
      {{- with include "meshgate.imagePullSecrets" $root }}
      {{- . | nindent 6 }}
      {{- end }}
      securityContext:
        {{- toYaml $redis.podSecurityContext | nindent 8 }}
      containers:
        - name: redis
          image: {{ include "meshgate.image" (list $redis.image "7-bookworm") }}
          imagePullPolicy: {{ $redis.image.pullPolicy }}
          securityContext:
            {{- toYaml $root.Values.securityContext | nindent 12 }}
          # The password comes from standard input, so that process lists do not show it.
          command: [sh, -ec]
          args:
            - |
              password=$(sed 's/[\\"]/\\&/g' /run/secrets/redis/redis-password)
              exec redis-server - <<END
              requirepass "$password"
              protected-mode no
              maxmemory {{ .values.maxmemory }}
              {{- range .settings }}
              {{ . }}
              {{- end }}
              END
          ports:
            - name: redis
              containerPort: 6379
          {{- if $claimed }}
          # Reading a large file takes a while; no other probe may kill the pod until then.
          startupProbe:
            {{- $ping | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 60
          {{- end }}
          readinessProbe:
            {{- $ping | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          livenessProbe:
            {{- $ping | nindent 12 }}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources:
            {{- /* A copy of the process rewrites the file while changes go on. */}}
            {{- $memory := ternary (mul 2 $maxmemory) (div (mul 3 $maxmemory) 2) $claimed }}
            {{- $limits := dict "memory" (printf "%dMi" $memory) "ephemeral-storage" "64Mi" }}
            {{- $usual := dict "requests" (dict "cpu" "20m" "memory" "64Mi" "ephemeral-storage" "16Mi") "limits" $limits }}
            {{- toYaml (merge (deepCopy .values.resources) $usual) | nindent 12 }}
          volumeMounts:
            - name: {{ ternary "data" "tmp" $claimed }}
              mountPath: {{ ternary "/data" "/tmp" $claimed }}
            - name: password
              mountPath: /run/secrets/redis
              readOnly: true
      volumes:
        {{- if not $claimed }}
        - name: tmp
          emptyDir:
            sizeLimit: 16Mi
        {{- end }}
        - name: password
          secret:
            secretName: {{ .secret }}
            defaultMode: 0440
      {{- with $redis.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $redis.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $redis.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- with .persistence }}
  # Uninstalling keeps the claim: remove it by hand. It has no label that changes, since a template of claims cannot.
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "meshgate.selector" $labels | nindent 10 }}
        {{- with .annotations }}
        annotations:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with include "meshgate.storageClass" .storageClass }}
        {{- . | nindent 8 }}
        {{- end }}
        resources:
          requests:
            storage: {{ .size }}
  {{- end }}
{{- end }}

{{/* "bundled", "external" or nothing. */}}
{{- define "meshgate.redis" -}}
{{- if or .Values.externalRedis.url .Values.externalRedis.host -}}
external
{{- else if .Values.redis.enabled -}}
bundled
{{- end -}}
{{- end }}

{{/* Where jobs are: "bundled", "external", or nothing: in the pod. */}}
{{- define "meshgate.redisJobs" -}}
{{- if .Values.externalRedisJobs.url -}}
external
{{- else if .Values.redisJobs.enabled -}}
bundled
{{- end -}}
{{- end }}

{{- define "meshgate.redisSecret" -}}
{{- default (printf "%s-redis" (include "meshgate.fullname" .)) .Values.redis.existingSecret -}}
{{- end }}

{{- define "meshgate.redisJobsSecret" -}}
{{- default (printf "%s-redis-jobs" (include "meshgate.fullname" .)) .Values.redisJobs.existingSecret -}}
{{- end }}

{{- define "meshgate.redisPassword" -}}
{{- include "meshgate.generatedPassword" (list . .Values.redis (printf "%s-redis" (include "meshgate.fullname" .))) -}}
{{- end }}

{{- define "meshgate.redisJobsPassword" -}}
{{- include "meshgate.generatedPassword" (list . .Values.redisJobs (printf "%s-redis-jobs" (include "meshgate.fullname" .))) -}}
{{- end }}

{{/* The generated password of a bundled Redis. Upgrades reuse it, and it is the same throughout one rendering. Takes a
list of the root, the values of that Redis, which remember it, and the name of its secret. */}}
{{- define "meshgate.generatedPassword" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- if not (hasKey $values "made") -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 2) -}}
{{- $kept := ternary (index ($found.data | default dict) "redis-password" | default "" | b64dec) "" (not (empty $found)) -}}
{{- $_ := set $values "made" (default (randAlphaNum 32) $kept) -}}
{{- end -}}
{{- $values.made -}}
{{- end }}
