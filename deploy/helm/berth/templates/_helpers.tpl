{{- define "berth.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "berth.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "berth.labels" -}}
{{ include "berth.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "berth.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "berth.name" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "berth.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{- /* The settings that follow from the values. Those in config win. */ -}}
{{- define "berth.config" -}}
{{- if regexMatch "^[a-z]+://[^/?@]*:[^/?]*@" .Values.database.url }}
{{- fail "database.url has a password, which a ConfigMap would show: name a secret in database.passwordSecret" }}
{{- end }}
{{- $c := dict
  "http" (dict "addr" "0.0.0.0:5000")
  "storage" (dict "bucket" .Values.bucket)
  "database" (dict "url" .Values.database.url)
  "log" (dict "format" "json")
  "shutdown" (dict
    "delay" (printf "%ds" (int .Values.shutdown.delay))
    "grace" (printf "%ds" (int .Values.shutdown.grace))
    "record" (printf "%ds" (int .Values.shutdown.record))) }}
{{- with .Values.database.passwordSecret.name }}
{{- $_ := set $c.database "password_file" "/etc/berth/database/password" }}
{{- end }}
{{- if .Values.policy }}
{{- $_ := set $c "auth" (dict "policy" "/etc/berth/config/policy.yaml") }}
{{- end }}
{{- if .Values.htpasswdSecret }}
{{- $_ := set $c "auth" (merge (dict "htpasswd" (list "/etc/berth/htpasswd/htpasswd")) (default dict $c.auth)) }}
{{- end }}
{{- if .Values.tlsSecret }}
{{- $_ := set $c "tls" (dict "certificate" "/etc/berth/tls/tls.crt" "key" "/etc/berth/tls/tls.key") }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $c "debug" (dict "addr" (printf "0.0.0.0:%d" (int .Values.metrics.port))) }}
{{- end }}
{{- toYaml (mergeOverwrite $c (deepCopy .Values.config)) }}
{{- end }}
