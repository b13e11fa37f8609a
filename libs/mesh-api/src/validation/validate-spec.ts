import type { Kind, SpecOf } from '../kinds.ts';
import { validateDestinationRule } from './destination-rule.ts';
import { validateGateway } from './gateway.ts';
import {
  checkAttachment,
  validateAuthorizationPolicy,
  validateEnvoyFilter,
  validatePeerAuthentication,
  validateRequestAuthentication,
  validateTrafficExtension,
} from './policies.ts';
import { validateRateLimit } from './rate-limit.ts';
import type { SpecReport } from './report.ts';
import { validateServiceEntry } from './service-entry.ts';
import { validateSidecar } from './sidecar.ts';
import { validateVirtualService } from './virtual-service.ts';
import { validateWorkloadEntry, validateWorkloadGroup } from './workload.ts';

type Validators = { readonly [K in Kind]: (spec: SpecOf<K>, report: SpecReport) => void };

const VALIDATORS: Validators = {
  VirtualService: validateVirtualService,
  DestinationRule: validateDestinationRule,
  Gateway: validateGateway,
  ServiceEntry: validateServiceEntry,
  WorkloadEntry: validateWorkloadEntry,
  WorkloadGroup: validateWorkloadGroup,
  Sidecar: validateSidecar,
  EnvoyFilter: validateEnvoyFilter,
  ProxyConfig: () => {},
  PeerAuthentication: validatePeerAuthentication,
  RequestAuthentication: validateRequestAuthentication,
  AuthorizationPolicy: validateAuthorizationPolicy,
  Telemetry: checkAttachment,
  WasmPlugin: checkAttachment,
  TrafficExtension: validateTrafficExtension,
  RateLimit: validateRateLimit,
};

/** What a schema cannot say: fields that exclude or need each other, names, sums. The spec fits its schema already. */
export function validateSpec<K extends Kind>(kind: K, spec: SpecOf<K>, report: SpecReport): void {
  VALIDATORS[kind](spec, report);
}
