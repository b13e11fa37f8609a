import path from 'node:path';
import { Visitor } from '../bookinfo.ts';
import { until } from '../until.ts';
import { networkingFile, workspace } from '../workspace.ts';
import { kubectl, mizzen, nodePortUrl, rolledOut } from './cluster.ts';
import { ensureInstalled, labelDefaultNamespace } from './installation.ts';

export const BOOKINFO_DEPLOYMENTS = ['details-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3', 'productpage-v1'];

export function kubeFile(name: string): string {
  return path.join(workspace, 'deploy/samples/bookinfo/kube', `${name}.yaml`);
}

/** Bookinfo in the namespace `default` as its page says: label, manifests, gateway, destination rules. Returns the URL of the gateway. */
export async function ensureBookinfo(): Promise<string> {
  await ensureInstalled();
  await labelDefaultNamespace(true);
  await kubectl(['apply', '-n', 'default', '-f', kubeFile('bookinfo')]);
  for (const name of ['bookinfo-gateway', 'destination-rule-all']) await kubectl(['apply', '-n', 'default', '-f', networkingFile(name)]);
  await rolledOut('default', ...BOOKINFO_DEPLOYMENTS);
  await mizzen('wait', '--timeout', '60s');
  const url = await gatewayUrl();
  await until('Bookinfo answers', async () => ((await new Visitor(url).page()).status === 200 ? true : undefined), 60_000);
  return url;
}

export function gatewayUrl(): Promise<string> {
  return nodePortUrl({ namespace: 'istio-system', name: 'istio-ingressgateway', port: 80 });
}
