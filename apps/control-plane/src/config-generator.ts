import type { Diagnostic } from '@mizzen/core';
import { buildProxyView, type MeshSnapshot, type ProxyNode, type ProxyView, parseProxyNode } from '@mizzen/model';
import {
  type TranslatedResource,
  type TranslateResult,
  translateClusters,
  translateEndpoints,
  translateListeners,
  translateNameTable,
  translateRoutes,
  translateSecrets,
} from '@mizzen/translate';
import { TYPE_URL } from '@mizzen/xds-api';
import type { Node } from '@mizzen/xds-api/envoy/config/core/v3/base';
import {
  EncodedResource,
  type GenerateRequest,
  internResourceSet,
  type NameSet,
  type ResourceSet,
  type XdsGenerator,
} from '@mizzen/xds-server';
import type { Published } from './pipeline.ts';

/** Certificates of Gateways by credentialName, as the translator takes them. */
export type Credentials = Parameters<typeof translateSecrets>[2];

/** Those of all that a node may be given; undefined for one that may have none. Equal answers are the same object. */
export type CredentialsOf = (node: Node, all: Credentials) => Credentials | undefined;

interface CachedView {
  readonly snapshot: MeshSnapshot;
  readonly view: ProxyView;
}

interface CachedSet {
  readonly view: ProxyView;
  readonly credentials: Credentials | undefined;
  readonly names: NameSet | '*';
  readonly set: ResourceSet;
}

/** The sets made from one state of the endpoints, by cluster id. */
interface EndpointSets {
  readonly of: ProxyView['endpoints'];
  readonly sets: Map<string, WeakMap<NameSet, ResourceSet>>;
}

const ANY_NODE = parseProxyNode({ id: '' });
const NO_PORTS: ProxyView['gatewayPorts'] = { bound: new Map(), published: new Set() };

/**
 * Stages 5 to 7 of the pipeline: what a node may see → messages → bytes that are shared. Cached at every step: the view per node and
 * snapshot, what was translated inside libs/translate, the bytes per translated resource, the set by its content.
 */
export class ConfigGenerator implements XdsGenerator {
  readonly #published: () => Published;
  readonly #credentialsOf: CredentialsOf;
  readonly #proxies = new WeakMap<Node, ProxyNode>();
  readonly #views = new WeakMap<Node, CachedView>();
  readonly #sets = new WeakMap<Node, Map<string, CachedSet>>();
  readonly #encoded = new WeakMap<TranslatedResource, EncodedResource>();
  readonly #setsOfArrays = new WeakMap<readonly TranslatedResource[], ResourceSet>();
  readonly #endpointSets = new WeakMap<ProxyView['outboundScope'], EndpointSets>();
  readonly #diagnostics = new Map<string, readonly Diagnostic[]>();

  #hasNews = false;

  constructor(options: { published: () => Published; credentialsOf: CredentialsOf }) {
    this.#published = options.published;
    this.#credentialsOf = options.credentialsOf;
  }

  /** What translation had to say for the nodes that are connected. */
  get diagnostics(): readonly Diagnostic[] {
    return [...new Set(this.#diagnostics.values())].flat();
  }

  /** Whether `diagnostics` may differ since this was asked last. */
  takeNews(): boolean {
    const hasNews = this.#hasNews;
    this.#hasNews = false;
    return hasNews;
  }

  proxyOf(node: Node): ProxyNode {
    const known = this.#proxies.get(node);
    if (known) return known;
    const proxy = parseProxyNode(node);
    this.#proxies.set(node, proxy);
    return proxy;
  }

  viewOf(node: Node): ProxyView {
    const { snapshot } = this.#published();
    const known = this.#views.get(node);
    if (known?.snapshot === snapshot) return known.view;
    const view = buildProxyView(snapshot, this.proxyOf(node));
    this.#views.set(node, { snapshot, view });
    return view;
  }

  generate({ node, typeUrl, names }: GenerateRequest): ResourceSet | undefined {
    const view = this.viewOf(node);
    const credentials = typeUrl === TYPE_URL.secret ? this.#credentialsOf(node, this.#published().credentials) : undefined;
    const sets = this.#sets.get(node) ?? new Map<string, CachedSet>();
    this.#sets.set(node, sets);
    const known = sets.get(typeUrl);
    if (known?.view === view && known.names === names && known.credentials === credentials) return known.set;
    const set = typeUrl === TYPE_URL.endpoint ? this.#endpointsOf(view, names) : this.#setOf({ node, typeUrl, names }, view, credentials);
    if (!set) return undefined;
    sets.set(typeUrl, { view, credentials, names, set });
    return set;
  }

  /** Drops what was kept about a node that is gone. */
  forget(node: Node): void {
    for (const typeUrl of this.#sets.get(node)?.keys() ?? []) this.#note(`${typeUrl} ${node.id}`, []);
  }

  #setOf(request: GenerateRequest, view: ProxyView, credentials: Credentials | undefined): ResourceSet | undefined {
    const result = this.#translate(request, view, credentials);
    if (!result) return undefined;
    this.#note(`${request.typeUrl} ${request.node.id}`, result.diagnostics);
    return this.#encode(request.typeUrl, result.resources);
  }

  /**
   * Endpoints change most often and are asked for by the thousand, so proxies share the whole answer. What it is cached by is all that
   * the translator is shown: a node that agrees in nothing but the cluster stands for all of them.
   */
  #endpointsOf({ outboundScope, endpoints, mesh, trustDomains, revision, node }: ProxyView, names: NameSet | '*'): ResourceSet | undefined {
    if (names === '*') return undefined;
    const { clusterId } = node;
    const present = this.#endpointSets.get(outboundScope);
    const cache = present?.of === endpoints ? present : { of: endpoints, sets: new Map<string, WeakMap<NameSet, ResourceSet>>() };
    this.#endpointSets.set(outboundScope, cache);
    const sets = cache.sets.get(clusterId) ?? new WeakMap<NameSet, ResourceSet>();
    cache.sets.set(clusterId, sets);
    const known = sets.get(names);
    if (known) return known;
    const view = {
      outboundScope,
      endpoints,
      mesh,
      trustDomains,
      revision,
      inbound: [],
      inboundPassthrough: [],
      gatewayPorts: NO_PORTS,
      rateLimits: [],
      node: { ...ANY_NODE, clusterId },
    };
    const set = this.#encode(TYPE_URL.endpoint, translateEndpoints(view, names).resources);
    sets.set(names, set);
    return set;
  }

  #translate({ typeUrl, names }: GenerateRequest, view: ProxyView, credentials: Credentials | undefined): TranslateResult | undefined {
    switch (typeUrl) {
      case TYPE_URL.cluster:
        return selected(translateClusters(view), names);
      case TYPE_URL.listener:
        return selected(translateListeners(view), names);
      case TYPE_URL.route:
        return names === '*' ? undefined : translateRoutes(view, names);
      case TYPE_URL.secret:
        return names === '*' || !credentials ? undefined : translateSecrets(view, names, credentials);
      // Whatever a client asks for, there is one.
      case TYPE_URL.nameTable:
        return translateNameTable(view);
      default:
        return undefined;
    }
  }

  #note(key: string, diagnostics: readonly Diagnostic[]): void {
    if (diagnostics.length > 0) this.#diagnostics.set(key, diagnostics);
    else if (!this.#diagnostics.delete(key)) return;
    this.#hasNews = true;
  }

  #encode(typeUrl: string, resources: readonly TranslatedResource[]): ResourceSet {
    const known = this.#setsOfArrays.get(resources);
    if (known) return known;
    const set = internResourceSet(
      typeUrl,
      resources.map((resource) => this.#encodedOf(typeUrl, resource)),
    );
    this.#setsOfArrays.set(resources, set);
    return set;
  }

  #encodedOf(typeUrl: string, resource: TranslatedResource): EncodedResource {
    const known = this.#encoded.get(resource);
    if (known) return known;
    const encoded = new EncodedResource({ name: resource.name, version: resource.version, typeUrl, value: resource.body.value });
    this.#encoded.set(resource, encoded);
    return encoded;
  }
}

function selected(result: TranslateResult, names: NameSet | '*'): TranslateResult {
  if (names === '*') return result;
  return { resources: result.resources.filter(({ name }) => names.has(name)), diagnostics: result.diagnostics };
}
