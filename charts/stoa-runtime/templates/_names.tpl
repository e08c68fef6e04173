{{- define "stoa-runtime.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels that never change: a Deployment's selector is immutable. */ -}}
{{- define "stoa-runtime.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "stoa-runtime.labels" -}}
{{ include "stoa-runtime.selector" . }}
app.kubernetes.io/component: runtime
app.kubernetes.io/part-of: stoa
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The signature's ConfigMap, named by what it holds: a new one rolls the pods. */ -}}
{{- define "stoa-runtime.signature" -}}
{{- printf "stoa-signature-%s" (toJson .Values.signature | sha256sum | trunc 16) -}}
{{- end -}}
