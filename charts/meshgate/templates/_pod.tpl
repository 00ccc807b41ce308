{{/*
The pods of a component: a `server` serves and converts, a `gateway` only serves, a `worker` takes jobs, and a `job` is the pod
of one Kubernetes Job. Takes a list of the root and the component.
*/}}
{{- define "meshgate.podTemplate" -}}
{{- $component := index . 1 -}}
{{- $selector := include "meshgate.selector" . -}}
{{- $settings := include "meshgate.settings" . | fromYaml -}}
{{- $secrets := include "meshgate.secrets" . | fromYaml -}}
{{- $checksum := include "meshgate.secretsChecksum" . | sha256sum -}}
{{- $grace := include "meshgate.gracePeriod" . -}}
{{- $isJob := eq $component "job" -}}
{{- $serves := has $component (list "server" "gateway") -}}
{{- with index . 0 -}}
{{- $createsJobs := and (eq $component "worker") (include "meshgate.kubernetesJobs" .) -}}
{{- $own := get (dict "server" .Values "gateway" .Values.gateway "worker" .Values.worker "job" .Values.kubernetesJobs) $component -}}
metadata:
  {{- /* Without the chart's version, which would replace pods although nothing else has changed. */}}
  labels:
    {{- $selector | nindent 4 }}
    {{- if and (include "meshgate.distributed" .) (not $isJob) }}
    meshgate.dev/metrics: "true"
    {{- end }}
    {{- with mergeOverwrite (deepCopy .Values.commonLabels) .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $annotations := dict }}
  {{- if not $isJob }}
  # Kubernetes updates mounted secrets by itself, but the server reads them once.
  {{- $_ := set $annotations "checksum/secrets" $checksum }}
  {{- if $createsJobs }}{{ $_ := set $annotations "checksum/job-template" (include "meshgate.kubernetesJobTemplate" . | sha256sum) }}{{ end }}
  {{- if .Values.metrics.annotations }}
  {{- $annotations = merge $annotations (dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString .Values.metrics.port) "prometheus.io/path" "/metrics") }}
  {{- end }}
  {{- end }}
  annotations:
    {{- toYaml (merge $annotations .Values.podAnnotations) | nindent 4 }}
spec:
  serviceAccountName: {{ include "meshgate.serviceAccountName" . }}
  automountServiceAccountToken: {{ if $createsJobs }}true{{ else }}false{{ end }}
  # Otherwise the variables that Kubernetes sets for services look like settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $grace }}
  {{- if $isJob }}
  restartPolicy: Never
  {{- with .Values.kubernetesJobs.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- end }}
  {{- with include "meshgate.imagePullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with default .Values.priorityClassName $own.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: meshgate
      image: {{ include "meshgate.image" (list .Values.image .Chart.AppVersion) }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- if eq $component "worker" }}
      args: [worker]
      {{- end }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      # Here and not in a ConfigMap, so that pods of an earlier revision keep their settings if a new one does not start.
      env:
        {{- $more := dict }}
        {{- range .Values.extraEnv }}{{ $_ := set $more .name true }}{{ end }}
        {{- range $name, $value := $settings }}
        {{- if not (hasKey $more $name) }}
        - name: {{ $name }}
          value: {{ $value | quote }}
        {{- end }}
        {{- end }}
        {{- if $createsJobs }}
        {{- range $name, $field := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" }}
        {{- if not (hasKey $more $name) }}
        - name: {{ $name }}
          valueFrom: {fieldRef: {fieldPath: {{ $field }}}}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if not $isJob }}
      ports:
        {{- if $serves }}
        - name: http
          containerPort: 5000
        {{- end }}
        - name: metrics
          containerPort: {{ .Values.metrics.port }}
      {{- if ne $component "gateway" }}
      # Blender may start slowly on a busy node; no other probe may kill the pod until then.
      {{- end }}
      startupProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources:
        {{- include "meshgate.resources" (list . $component) | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: work
          mountPath: /var/lib/meshgate
        - name: tmp
          mountPath: /tmp
        {{- if include "meshgate.claimed" . }}
        - name: results
          mountPath: /results
        {{- end }}
        {{- range $name, $_ := $secrets }}
        - name: secret-{{ $name }}
          mountPath: /run/secrets/meshgate/{{ $name }}
          readOnly: true
        {{- end }}
        {{- if $createsJobs }}
        - name: job-template
          mountPath: {{ include "meshgate.kubernetesJobFolder" . }}
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- if not $isJob }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  volumes:
    - name: work
      emptyDir:
        {{- /* That of a Job is as large as the program computes. */}}
        {{- if $isJob }} {}
        {{- else }}
        sizeLimit: {{ .Values.workSizeLimit }}
        {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ .Values.tmpSizeLimit }}
    {{- if include "meshgate.claimed" . }}
    - name: results
      persistentVolumeClaim:
        claimName: {{ default (include "meshgate.fullname" .) .Values.persistence.existingClaim }}
    {{- end }}
    {{- range $name, $secret := $secrets }}
    - name: secret-{{ $name }}
      secret:
        secretName: {{ $secret }}
        defaultMode: 0440
    {{- end }}
    {{- if $createsJobs }}
    - name: job-template
      configMap:
        name: {{ include "meshgate.fullname" . }}-job-template
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with default .Values.nodeSelector $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default .Values.affinity $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with default .Values.tolerations $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not $isJob }}
  topologySpreadConstraints:
    {{- with default .Values.topologySpreadConstraints $own.topologySpreadConstraints }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- $selector | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- end -}}
{{- end }}
