{{/* The prefix of the names of Kubernetes Jobs: with 32 digits of a job, and five letters of a pod, a name has 63 characters at most. */}}
{{- define "meshgate.kubernetesJobPrefix" -}}
{{- include "meshgate.fullname" . | trunc 24 | trimSuffix "-" -}}
{{- end }}

{{/* The template of their pods, as JSON: the program adds its arguments, resources and the memory limit of the conversion. */}}
{{- define "meshgate.kubernetesJobTemplate" -}}
{{- include "meshgate.podTemplate" (list . "job") | fromYaml | toPrettyJson -}}
{{- end }}

{{/* The folder of that template in worker pods. */}}
{{- define "meshgate.kubernetesJobFolder" -}}
/etc/meshgate/kubernetes-job
{{- end }}

{{/* The settings of workers that create Kubernetes Jobs, and of the gateways before them. */}}
{{- define "meshgate.kubernetesJobSettings" -}}
{{- with .Values.kubernetesJobs }}
KUBERNETES_JOBS: {{ .mode }}
KUBERNETES_JOB_MIN_SIZE: {{ .minSize }}B
KUBERNETES_JOBS_MAX: {{ .max | quote }}
KUBERNETES_JOB_MEMORY_MIN: {{ .memory.min }}B
KUBERNETES_JOB_MEMORY_MAX: {{ .memory.max }}B
KUBERNETES_JOB_PENDING_TIMEOUT: {{ .pendingTimeout | quote }}
KUBERNETES_JOB_TTL: {{ .ttl | quote }}
{{- with .deadline }}
KUBERNETES_JOB_DEADLINE: {{ . | quote }}
{{- end }}
{{- with .queueName }}
KUBERNETES_JOB_QUEUE: {{ . | quote }}
{{- end }}
{{- end }}
KUBERNETES_JOB_TEMPLATE: {{ include "meshgate.kubernetesJobFolder" . }}/pod-template.json
KUBERNETES_JOB_PREFIX: {{ include "meshgate.kubernetesJobPrefix" . }}
{{- end }}

{{/* Refuses values with which Kubernetes Jobs would not run. */}}
{{- define "meshgate.kubernetesJobRefusals" -}}
{{- $mode := .Values.kubernetesJobs.mode -}}
{{- if not (include "meshgate.distributed" .) -}}
{{- fail (printf "kubernetesJobs.mode is %s, which gives pods rights in the namespace, and only workers may have them: set mode to distributed" $mode) -}}
{{- end -}}
{{- if not .Values.storage.url -}}
{{- fail (printf "kubernetesJobs.mode is %s, and pods on any node must reach the store, which a claim does not allow: set storage.url (s3://, gs:// or az://)" $mode) -}}
{{- end -}}
{{- if eq (include "meshgate.serviceAccountName" .) "default" -}}
{{- fail (printf "kubernetesJobs.mode is %s, which would give every pod with the service account default the right to create Jobs: set serviceAccount.create to true, or serviceAccount.name" $mode) -}}
{{- end -}}
{{- if eq (int .Values.revisionHistoryLimit) 0 -}}
{{- fail (printf "kubernetesJobs.mode is %s, and Kubernetes would remove running Jobs with the ReplicaSet of the worker that created them: set revisionHistoryLimit to 1 at least" $mode) -}}
{{- end -}}
{{- $memory := .Values.kubernetesJobs.memory -}}
{{- if lt (include "meshgate.mebibytes" $memory.max | int) 2560 -}}
{{- fail (printf "kubernetesJobs.memory.max is %s, and the pod of even the smallest model has more: set it to 2560Mi at least" $memory.max) -}}
{{- end -}}
{{- if lt (include "meshgate.mebibytes" $memory.max | int) (include "meshgate.mebibytes" $memory.min | int) -}}
{{- fail (printf "kubernetesJobs.memory.max is %s, less than kubernetesJobs.memory.min, which is %s" $memory.max $memory.min) -}}
{{- end -}}
{{- $deadline := .Values.kubernetesJobs.deadline -}}
{{- if and $deadline (le (int $deadline) (int .Values.conversionTimeout)) -}}
{{- fail (printf "kubernetesJobs.deadline is %d, and one conversion may take %d seconds after its pod has found a node: set it above conversionTimeout, or remove it" (int $deadline) (int .Values.conversionTimeout)) -}}
{{- end -}}
{{- end }}
