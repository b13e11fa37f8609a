import { HealthStatus } from '@mizzen/xds-api/envoy/config/core/v3/health_check';
import { ConfigError } from '../config/config-error.ts';
import type { Endpoint } from './endpoint.ts';

export type AskedHealth = 'healthy' | 'degraded' | 'draining' | 'unhealthy';

const BY_DEFAULT: ReadonlySet<AskedHealth> = new Set(['healthy', 'degraded']);
const MEANINGS: readonly (readonly [AskedHealth, readonly (keyof typeof HealthStatus)[]])[] = [
  ['healthy', ['UNKNOWN', 'HEALTHY']],
  ['degraded', ['DEGRADED']],
  ['draining', ['DRAINING']],
  ['unhealthy', ['UNHEALTHY', 'TIMEOUT']],
];

/** `common_lb_config.override_host_status`; without it all that are fit for requests. Throws ConfigError. */
export function compileAskedHealth(statuses: readonly HealthStatus[] | undefined): ReadonlySet<AskedHealth> {
  if (statuses === undefined || statuses.length === 0) return BY_DEFAULT;
  const asked = MEANINGS.filter(([, names]) => {
    const given = names.filter((name) => statuses.includes(HealthStatus[name]));
    if (given.length > 0 && given.length < names.length)
      throw new ConfigError('common_lb_config.override_host_status', `${names.join(' and ')} are one to this proxy: name both or none`);
    return given.length > 0;
  });
  return new Set(asked.map(([health]) => health));
}

/** The endpoints of a cluster by address, for requests that ask for one. Source: envoy HostUtility::selectOverrideHost (1.40). */
export class AskedEndpoints {
  readonly #health: ReadonlySet<AskedHealth>;
  #localities: unknown;
  #byAddress = new Map<string, Endpoint>();

  constructor(health: ReadonlySet<AskedHealth>) {
    this.#health = health;
  }

  /** undefined where it is not there, or not of a health that will do. */
  find(localities: readonly { readonly endpoints: readonly Endpoint[] }[], address: string): Endpoint | undefined {
    if (this.#localities !== localities) {
      this.#localities = localities;
      this.#byAddress = new Map(localities.flatMap(({ endpoints }) => endpoints.map((endpoint) => [endpoint.addressText, endpoint])));
    }
    const endpoint = this.#byAddress.get(address);
    return endpoint !== undefined && this.#health.has(healthOf(endpoint)) ? endpoint : undefined;
  }
}

/** Source: envoy HostImpl::healthStatus (1.40): checks first, then what the control plane says. */
function healthOf({ checkResult, isEjected, details, availability }: Endpoint): AskedHealth {
  const isFailed = checkResult === 'unhealthy' || checkResult === 'pending' || isEjected;
  return !isFailed && details.isDraining ? 'draining' : availability;
}
