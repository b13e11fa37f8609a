/**
 * ConfigMap that every namespace has the trust bundle in, for pods to mount and for whoever joins from outside.
 * Source: istio pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go CACertNamespaceConfigMap (1.32).
 */
export const TRUST_BUNDLE_CONFIG_MAP = 'istio-ca-root-cert';

const KEY = 'root-cert.pem';

/** The ConfigMap of a namespace. `trustBundlePem`: every root, one after the other. */
export function trustBundleConfigMap(namespace: string, trustBundlePem: string) {
  const labels = { 'istio.io/config': 'true' };
  const metadata = { name: TRUST_BUNDLE_CONFIG_MAP, namespace, labels };
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { [KEY]: trustBundlePem } };
}

/** The trust bundle in a ConfigMap; '' where it holds none. */
export function trustBundleIn(configMap: { readonly [field: string]: unknown }): string {
  return String((configMap['data'] as Readonly<Record<string, unknown>> | undefined)?.[KEY] ?? '');
}
