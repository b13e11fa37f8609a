/**
 * Whether nodes with these kubelets (`v1.34.2`) all keep init containers with `restartPolicy: Always` running for good: from 1.33 on. False
 * where no node is known. Source: istio pkg/kube/inject/webhook.go, ENABLE_NATIVE_SIDECARS=auto (1.32 dev).
 */
export function haveNativeSidecars(kubeletVersions: readonly string[]): boolean {
  return kubeletVersions.length > 0 && kubeletVersions.every(isNewEnough);
}

function isNewEnough(kubeletVersion: string): boolean {
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(kubeletVersion) ?? [];
  return Number(major) > 1 || (Number(major) === 1 && Number(minor) >= 33);
}
