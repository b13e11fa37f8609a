import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { StructSchema, ValueSchema } from '@bufbuild/protobuf/wkt';
import type { PeerMetadata } from './stream-info.ts';

/** What a node tells of itself: the parts of its xDS metadata that make Istio's labels. */
export interface NodeDescription {
  readonly workload: string;
  readonly namespace: string;
  readonly clusterId: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Istio's rules for the canonical name and revision, and the app and version labels. Source: istio pkg/model/labels.go CanonicalServiceLabels (1.32). */
export function describePeerNode(node: NodeDescription): PeerMetadata {
  const { labels } = node;
  return {
    workload: node.workload,
    namespace: node.namespace,
    clusterId: node.clusterId,
    canonicalService: labels['service.istio.io/canonical-name'] || labels['app.kubernetes.io/name'] || labels['app'] || node.workload,
    canonicalRevision:
      labels['service.istio.io/canonical-revision'] || labels['app.kubernetes.io/version'] || labels['version'] || 'latest',
    app: labels['app'] ?? '',
    version: labels['version'] ?? '',
  };
}

// Keys of the Struct in x-envoy-peer-metadata. Source: istio/proxy extensions/common/metadata_object.cc (1.32).
const WORKLOAD = 'WORKLOAD_NAME';
const NAMESPACE = 'NAMESPACE';
const CLUSTER = 'CLUSTER_ID';
const LABELS = 'LABELS';
const CANONICAL_NAME = 'service.istio.io/canonical-name';
const CANONICAL_REVISION = 'service.istio.io/canonical-revision';

/** The value of x-envoy-peer-metadata: base64 of a protobuf Struct. */
export function encodePeerMetadata(peer: PeerMetadata): string {
  const labels = create(StructSchema, {
    fields: fieldsOf({
      app: peer.app,
      version: peer.version,
      [CANONICAL_NAME]: peer.canonicalService,
      [CANONICAL_REVISION]: peer.canonicalRevision,
    }),
  });
  const fields = fieldsOf({ [CLUSTER]: peer.clusterId, [NAMESPACE]: peer.namespace, [WORKLOAD]: peer.workload });
  fields[LABELS] = create(ValueSchema, { kind: { case: 'structValue', value: labels } });
  return Buffer.from(toBinary(StructSchema, create(StructSchema, { fields }))).toString('base64');
}

function fieldsOf(values: Readonly<Record<string, string>>): Record<string, ReturnType<typeof stringValue>> {
  return Object.fromEntries(
    Object.entries(values)
      .filter(([, value]) => value !== '')
      .map(([name, value]) => [name, stringValue(value)]),
  );
}

function stringValue(value: string) {
  return create(ValueSchema, { kind: { case: 'stringValue', value } });
}

const MAX_HEADER_LENGTH = 8192;
const MAX_CACHED = 2000;

/** A bounded memory of what texts mean. Cleared whole when full: the few peers of a proxy come back at once. */
class TextCache {
  readonly #values = new Map<string, PeerMetadata | undefined>();
  readonly #parse: (text: string) => PeerMetadata | undefined;

  constructor(parse: (text: string) => PeerMetadata | undefined) {
    this.#parse = parse;
  }

  get(text: string): PeerMetadata | undefined {
    const known = this.#values.get(text);
    if (known !== undefined || this.#values.has(text)) return known;
    if (this.#values.size >= MAX_CACHED) this.#values.clear();
    const value = this.#parse(text);
    this.#values.set(text, value);
    return value;
  }
}

const headers = new TextCache(parseHeader);
const workloads = new TextCache(parseWorkload);

/** Reads x-envoy-peer-metadata; the same text gives the same object. undefined for what is not one. */
export function decodePeerMetadata(header: string): PeerMetadata | undefined {
  return header.length > MAX_HEADER_LENGTH ? undefined : headers.get(header);
}

/** Reads Istio's endpoint metadata `name;namespace;canonical service;canonical revision;cluster id`; the same text gives the same object. */
export function peerOfWorkload(text: string): PeerMetadata | undefined {
  return workloads.get(text);
}

function parseHeader(header: string): PeerMetadata | undefined {
  try {
    const { fields } = fromBinary(StructSchema, Buffer.from(header, 'base64'));
    const labels = fields[LABELS]?.kind.case === 'structValue' ? fields[LABELS].kind.value.fields : {};
    const text = (from: typeof fields, name: string): string => (from[name]?.kind.case === 'stringValue' ? from[name].kind.value : '');
    return describePeerNode({
      workload: text(fields, WORKLOAD),
      namespace: text(fields, NAMESPACE),
      clusterId: text(fields, CLUSTER),
      labels: Object.fromEntries(Object.keys(labels).map((name) => [name, text(labels, name)])),
    });
  } catch {
    return undefined;
  }
}

function parseWorkload(text: string): PeerMetadata | undefined {
  const [workload = '', namespace = '', canonicalService = '', canonicalRevision = '', clusterId = ''] = text.split(';');
  if (workload === '' && canonicalService === '') return undefined;
  return {
    workload,
    namespace,
    clusterId,
    canonicalService: canonicalService || workload,
    canonicalRevision: canonicalRevision || 'latest',
    app: '',
    version: '',
  };
}
