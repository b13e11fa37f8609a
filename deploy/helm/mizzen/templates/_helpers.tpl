{{/* "-canary" for the revision canary, nothing for the default one. */}}
{{- define "mizzen.revisionSuffix" -}}
{{- if ne .Values.revision "default" }}-{{ .Values.revision }}{{ end -}}
{{- end -}}

{{/* What the injector made of the failure policy of validation; Ignore before there is one. */}}
{{- define "mizzen.validationPolicy" -}}
{{- $name := ternary "istio-validator-istio-system" (printf "istio-validator-%s-%s" .Values.revision .Release.Namespace) (eq .Values.revision "default") }}
{{- $present := lookup "admissionregistration.k8s.io/v1" "ValidatingWebhookConfiguration" "" $name }}
{{- if $present }}{{ (first $present.webhooks).failurePolicy }}{{ else }}Ignore{{ end }}
{{- end -}}
